"""A delivery whose store or replicas fail: nothing is sent, or nothing is refunded, as on issue."""

from typing import Any

import pytest

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.errors import StoreTampered, StoreUnavailable
from otp_service.store.client import MAX_LOST_REPLIES
from tests.installation import PROVIDER_REFUSAL, SECOND_MS, Installation
from tests.service.test_commit_guards import lose_replicas
from tests.service.test_refunds_after_outages import PERSON, list_buckets
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


LOST = [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST]


async def test_a_delivery_that_no_replica_has_is_refunded_with_its_cooldown(
    installation: Installation,
) -> None:
    """R79: nothing was sent, so the next call need not wait, and GET does not know it."""
    lose_replicas(installation)

    for _ in range(12):
        with pytest.raises(StoreUnavailable):
            await installation.deliver(**PERSON)

    assert [] == installation.router.messages
    assert [] == await list_buckets(installation)
    events = await installation.read_events()
    denied = [event for event in events if event["type"] == "delivery.denied"]
    assert {"store_unavailable"} == {event["reason"] for event in denied}
    for record in await installation.list_keys("*:challenge:*"):
        with pytest.raises(LookupError):
            await _find_sent(installation, record.decode().rpartition(":")[2])
    installation.store.client = installation.script_client
    await installation.deliver(**PERSON)
    assert 1 == len(installation.router.messages)


async def _find_sent(installation: Installation, delivery_id: str) -> ChallengeSnapshot:
    """Return a delivery that GET knows. Raises LookupError for another one."""
    try:
        return await installation.service.get_delivery(installation.build_caller(), delivery_id)
    except Exception as error:
        raise LookupError from error


async def test_an_unsent_delivery_frees_its_key(installation: Installation) -> None:
    """R53: the same call with the same key sends, for another delivery."""
    lose_replicas(installation)
    with pytest.raises(StoreUnavailable):
        await installation.deliver(key="k", **PERSON)

    installation.store.client = installation.script_client
    sent = await installation.deliver(key="k", **PERSON)
    again = await installation.deliver(key="k", **PERSON)

    assert installation.get_challenge_id(sent) == installation.get_challenge_id(again)
    assert 1 == len(installation.router.messages)


async def test_an_unsent_delivery_whose_key_is_not_free_yet_runs_for_another_one(
    installation: Installation,
) -> None:
    """R53: the record still names the withdrawn delivery, of which nothing was sent."""
    lose_replicas(installation)
    swap = installation.store.swap_idempotency_record

    async def keep_record(*arguments: Any) -> bool:
        return arguments[3] is None or await swap(*arguments)

    installation.store.swap_idempotency_record = keep_record  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailable):
        await installation.deliver(key="k")

    installation.store.client = installation.script_client
    await installation.deliver(key="k")

    assert 1 == len(installation.router.messages)


@pytest.mark.parametrize("fate", LOST)
@pytest.mark.parametrize(
    "step",
    [b"SendsPerAccount", b"CooldownPerNumber", b"SendsOverall", b"delivery.created"],
    ids=bytes.decode,
)
async def test_a_delivery_of_unknown_outcome_is_refunded_if_it_was_charged(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R83: whichever commit is in doubt, nothing is sent; the key of the call is freed as well."""
    proxy.fail_next(fate, step, times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.deliver(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == remote.router.messages
    assert [] == await list_buckets(remote)
    await remote.deliver(key="k", **PERSON)
    assert 1 == len(remote.router.messages)


@pytest.mark.parametrize("fate", LOST)
async def test_a_delivery_that_no_provider_took_is_refunded_once_the_store_answers(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """R26: the store fails while the result is stored; the cooldown stays, as after each 502."""
    remote.router.queue_replies(PROVIDER_REFUSAL)
    proxy.fail_next(fate, b"delivery.provider_failed", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.deliver(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    names = {key.split(b":")[2] for key in await list_buckets(remote)}
    assert {b"CooldownPerNumber", b"RefundsPerNumber"} == names
    assert 1 == (await remote.list_event_types()).count("delivery.provider_failed")
    remote.advance_clock(31 * SECOND_MS)
    await remote.deliver(key="k", **PERSON)
    assert 1 == len(remote.router.messages)


async def test_a_message_of_which_the_store_knows_nothing_stays_charged(
    remote: Installation, proxy: FaultyProxy
) -> None:
    """R26: it may have been sent, so neither its charges nor its key are freed."""
    proxy.fail_next(ConnectionFailure.LOST_REQUEST, b"delivery.sent", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.deliver(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert 1 == len(remote.router.messages)
    assert 9 == len(await list_buckets(remote))
    remote.advance_clock(60 * SECOND_MS)
    await remote.deliver(key="k", **PERSON)
    assert 1 == len(remote.router.messages)


async def test_the_record_of_a_challenge_is_no_delivery(installation: Installation) -> None:
    """A record that an attacker copies to the name of a delivery has a wrong MAC: 503, and an event."""
    sent, issued = await installation.deliver(), await installation.issue("+447400993457")
    delivery_id, challenge_id = map(installation.get_challenge_id, (sent, issued))
    names = installation.store.key_names
    source = names.challenge_record_key(int(challenge_id[1:3]), "shop", challenge_id)
    target = names.challenge_record_key(int(delivery_id[1:3]), "shop", delivery_id)
    (record,) = await installation.script_client.read_each([source], "GET")
    await installation.script_client.run_pipeline(target, [("SET", target, record)])

    with pytest.raises(StoreTampered):
        await installation.service.get_delivery(installation.build_caller(), delivery_id)

    assert "store.tampered" in await installation.list_event_types()
