"""What a call was charged is refunded if the store failed before anything was compared or sent.

Design 8: then waiting for `Retry-After` is enough once the store has recovered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from otp_service.core.commit import ChallengeSnapshot, Commit
from otp_service.core.delivery import SubmissionReference
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    DeliveryFailed,
    IncorrectCode,
    StoreUnavailable,
)
from otp_service.core.phone_number import parse_number
from otp_service.service.code_sender import CodeSender
from otp_service.service.context import CallContext, ChallengeRef, Subject
from otp_service.store.client import MAX_LOST_REPLIES
from otp_service.store.redis_store import RedisStore
from tests.installation import (
    PROVIDER_REFUSAL,
    SECOND_MS,
    Installation,
    gather_results,
    make_wrong_code,
)
from tests.service.test_auto_resend import report_failure
from tests.service.test_commit_guards import lose_replicas
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


PERSON = {"account": "u-81", "client_ip": "203.0.113.9"}


async def list_buckets(installation: Installation) -> list[bytes]:
    """Return the names of the buckets; one that is empty is deleted."""
    return await installation.list_keys("*:limit:*")


async def fetch(installation: Installation, issued: ChallengeSnapshot) -> Any:
    """Return a challenge as it is stored."""
    stored = await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    return stored.require_challenge()


async def issue_and_forget_charges(
    installation: Installation, number: str = "+447400123456"
) -> tuple[ChallengeSnapshot, str]:
    """Issue a code, and delete what it was charged, so that only later charges are seen."""
    issued = await installation.issue(number, account="u-81")
    for key in await list_buckets(installation):
        await installation.store.client.run_pipeline(key.decode(), [("DEL", key)])
    return issued, installation.router.extract_code()


# ------------------------------------------------------------------------------ missing replicas


async def test_an_attempt_that_no_replica_has_is_refunded_everywhere(
    installation: Installation,
) -> None:
    """R79: nothing was compared. The timeline says why the attempt has no result."""
    issued, code = await issue_and_forget_charges(installation)
    lose_replicas(installation)

    for tried in (code, make_wrong_code(code)):
        with pytest.raises(StoreUnavailable):
            await installation.verify(issued, tried, client_ip="203.0.113.9")

    assert [] == await list_buckets(installation)
    assert 5 == (await fetch(installation, issued)).attempts_left
    assert 1 == installation.hasher.hash_count
    denied = [e for e in await installation.read_events() if e["type"] == "otp.verify_denied"]
    assert ["store_unavailable"] * 2 == [event["reason"] for event in denied]
    installation.store.client = installation.script_client
    await installation.verify(issued, code)


async def test_a_refund_is_repeated_until_the_replicas_have_it(
    installation: Installation,
) -> None:
    """R79: a failover keeps a charge that was replicated, and loses a refund that was not."""
    issued, code = await issue_and_forget_charges(installation)
    lose_replicas(installation)
    refunds = installation.dependencies.refunds

    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, **PERSON)
    with pytest.raises(StoreUnavailable):
        await installation.issue("+447400123457", **PERSON)
    assert 2 == await refunds.drain(0.5)
    installation.store.client = installation.script_client

    with pytest.raises(StoreUnavailable):  # any later refund begins another round
        async with refunds.refund_if_unavailable(partial(asyncio.sleep, 0)):
            raise StoreUnavailable
    assert 0 == await refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert [] == await list_buckets(installation)
    assert 5 == (await fetch(installation, issued)).attempts_left


async def test_the_last_attempt_is_refunded_with_the_secret_that_it_deleted(
    installation: Installation,
) -> None:
    """R14, R79: the charge of the last attempt deletes the code hashes."""
    issued, code = await issue_and_forget_charges(installation)
    for i in range(4):
        with pytest.raises(IncorrectCode):
            await installation.verify(issued, make_wrong_code(code, i + 1))
    lose_replicas(installation)

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await installation.verify(issued, code)

    installation.store.client = installation.script_client
    await installation.verify(issued, code)


async def test_an_issue_that_no_replica_has_is_canceled_and_refunded_with_its_cooldown(
    installation: Installation,
) -> None:
    """R79: nothing was sent, so the next issue need not wait for the cooldown."""
    lose_replicas(installation)

    for _ in range(12):
        with pytest.raises(StoreUnavailable):
            await installation.issue(**PERSON)

    assert [] == installation.router.messages
    assert [] == await list_buckets(installation)
    assert [] == await installation.list_keys("*:secret:*")
    canceled = [e for e in await installation.read_events() if e["type"] == "otp.canceled"]
    assert ["store_unavailable"] * 12 == [event["reason"] for event in canceled]
    installation.store.client = installation.script_client
    issued = await installation.issue(**PERSON)
    await installation.verify(issued, installation.router.extract_code())


async def test_a_resend_that_no_replica_has_leaves_the_challenge_as_it_was(
    installation: Installation,
) -> None:
    """R79: the earlier code verifies, and another resend is possible at once."""
    issued, code = await issue_and_forget_charges(installation)
    installation.advance_clock(31 * SECOND_MS)
    lose_replicas(installation)

    for _ in range(4):
        with pytest.raises(StoreUnavailable):
            await installation.resend(issued)

    assert 1 == len(installation.router.messages)
    assert [] == await list_buckets(installation)
    stored = await fetch(installation, issued)
    assert stored.resend_at <= issued.now + 60 * SECOND_MS
    assert (1, 2) == (stored.sends, stored.sends_left)
    snapshot = await installation.store.fetch_challenge("shop", stored.id)
    assert snapshot.secret
    assert 1 == len(snapshot.secret.codes)
    installation.store.client = installation.script_client
    await installation.resend(issued)
    await installation.verify(issued, code)


async def test_an_automatic_resend_that_no_replica_has_may_be_tried_again(
    installation: Installation,
) -> None:
    """R79: a challenge admits one, and this one was not sent."""
    issued, _ = await issue_and_forget_charges(installation)
    installation.advance_clock(31 * SECOND_MS)
    lose_replicas(installation)
    assert not await report_failure(installation, issued)

    installation.store.client = installation.script_client
    reference = SubmissionReference.parse(f"shop.{installation.get_challenge_id(issued)}.1.1")
    assert reference
    assert await installation.service.auto_resend(installation.build_caller(), "p1", reference)

    assert 2 == len(installation.router.messages)


async def test_a_success_that_no_replica_has_is_learned_by_the_same_call_alone(
    installation: Installation,
) -> None:
    """R79, R54: the code was compared, so the attempt is not returned."""
    issued, code = await issue_and_forget_charges(installation)
    lose_replicas(installation, 1)
    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, key="k")

    installation.store.client = installation.script_client
    assert 4 == (await fetch(installation, issued)).attempts_left
    for other in (None, "other"):
        with pytest.raises(ChallengeAlreadyVerified):
            await installation.verify(issued, code, key=other)
    await installation.verify(issued, code, key="k")


async def test_what_a_success_takes_back_is_repeated_until_the_replicas_have_it(
    installation: Installation,
) -> None:
    """R79: a failover that lost it would keep a failure of the account, which had none."""
    issued, code = await issue_and_forget_charges(installation)
    lose_replicas(installation, 1)  # of the attempt charge

    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code, **PERSON)
    assert 1 == len(installation.dependencies.refunds)
    installation.store.client = installation.script_client

    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert [] == await list_buckets(installation)


async def test_an_unsent_issue_frees_its_key(installation: Installation) -> None:
    """R53: the same call with the same key runs again, for another challenge."""
    lose_replicas(installation)
    with pytest.raises(StoreUnavailable):
        await installation.issue(key="k", **PERSON)

    installation.store.client = installation.script_client
    issued = await installation.issue(key="k", **PERSON)

    assert 1 == len(installation.router.messages)
    again = await installation.issue(key="k", **PERSON)
    assert installation.get_challenge_id(issued) == installation.get_challenge_id(again)
    await installation.verify(issued, installation.router.extract_code())


async def test_an_unsent_issue_whose_key_is_not_free_yet_runs_for_another_challenge(
    installation: Installation,
) -> None:
    """R53: the record still names the canceled challenge, of which no code was sent."""
    lose_replicas(installation)
    swap = installation.store.swap_idempotency_record

    async def keep_record(*arguments: Any) -> bool:
        return arguments[3] is None or await swap(*arguments)

    installation.store.swap_idempotency_record = keep_record  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailable):
        await installation.issue(key="k")

    installation.store.client = installation.script_client
    issued = await installation.issue(key="k")

    assert 1 == len(installation.router.messages)
    await installation.verify(issued, installation.router.extract_code())


# ---------------------------------------------------------------------------------- lost replies


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
@pytest.mark.parametrize("step", [b"FailuresPerAccount", b"otp.attempted"], ids=bytes.decode)
async def test_an_attempt_of_unknown_outcome_is_refunded_if_it_was_charged(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R83: the store knows whether the charge was applied; the refund asks it."""
    issued, code = await issue_and_forget_charges(remote)
    proxy.fail_next(fate, step, times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.verify(issued, code, client_ip="203.0.113.9")
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(remote)
    assert 5 == (await fetch(remote, issued)).attempts_left
    await remote.verify(issued, code, client_ip="203.0.113.9")


@pytest.mark.slow
async def test_attempts_that_share_a_bad_connection_are_all_refunded(
    remote: Installation, proxy: FaultyProxy
) -> None:
    """R83: 47 logins at once, of which none is told its result; then each right code verifies."""
    logins = [await issue_and_forget_charges(remote, f"+44740012{n:04d}") for n in range(47)]
    proxy.fail_next(ConnectionFailure.LOST_REPLY, b"otp.attempted", times=10**6)

    answers = await gather_results(*(remote.verify(*login) for login in logins))

    assert [StoreUnavailable] * 47 == [type(answer) for answer in answers]
    assert remote.hasher.hash_count == 47, "those of the issues"
    proxy.clear_failures()
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert {5} == {(await fetch(remote, issued)).attempts_left for issued, _ in logins}
    assert [] == await list_buckets(remote)
    for issued, code in logins:
        await remote.verify(issued, code)


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
@pytest.mark.parametrize(
    "step",
    [b"SendsPerAccount", b"CooldownPerNumber", b"SendsOverall", b"otp.issued"],
    ids=bytes.decode,
)
async def test_an_issue_of_unknown_outcome_is_refunded_if_it_was_charged(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R83: whichever commit is in doubt; the key of the call is freed as well."""
    proxy.fail_next(fate, step, times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.issue(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(remote)
    assert [] == await remote.list_keys("*:secret:*")
    issued = await remote.issue(key="k", **PERSON)
    assert 1 == len(remote.router.messages)
    await remote.verify(issued, remote.router.extract_code())


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
async def test_a_resend_of_unknown_outcome_is_withdrawn(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """R83: its code was never sent."""
    issued, code = await issue_and_forget_charges(remote)
    remote.advance_clock(31 * SECOND_MS)
    proxy.fail_next(fate, b"otp.resent", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.resend(issued)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(remote)
    assert 2 == (await fetch(remote, issued)).sends_left
    await remote.resend(issued)
    await remote.verify(issued, code)


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
async def test_a_send_that_no_provider_took_is_refunded_once_the_store_answers(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """R26: the store fails while the result is stored; the cooldown stays, as after each 502."""
    remote.router.queue_replies(PROVIDER_REFUSAL)
    proxy.fail_next(fate, b"otp.provider_failed", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.issue(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    names = {key.split(b":")[2] for key in await list_buckets(remote)}
    assert {b"CooldownPerNumber", b"RefundsPerNumber"} == names
    assert 1 == (await remote.list_event_types()).count("otp.provider_failed")
    remote.advance_clock(31 * SECOND_MS)
    await remote.issue(key="k", **PERSON)


async def test_a_message_of_which_the_store_knows_nothing_stays_charged(
    remote: Installation, proxy: FaultyProxy
) -> None:
    """R26: it may have been sent, so neither its charges nor its key are freed."""
    proxy.fail_next(ConnectionFailure.LOST_REQUEST, b"otp.sent", times=MAX_LOST_REPLIES)

    with pytest.raises(StoreUnavailable):
        await remote.issue(key="k", **PERSON)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert 1 == len(remote.router.messages)
    assert 9 == len(await list_buckets(remote))
    remote.advance_clock(60 * SECOND_MS)
    again = await remote.issue(key="k", **PERSON)
    assert 1 == len(remote.router.messages)
    await remote.verify(again, remote.router.extract_code())


# -------------------------------------------------------------------- a full log, a failing hash


async def test_a_full_log_charges_nobody(installation: Installation) -> None:
    """R73: the right code was 429 for six minutes after the archive could be written again."""
    issued, code = await issue_and_forget_charges(installation)
    limits, store = installation.store._log_limits, installation.store
    store._log_limits = msgspec.structs.replace(limits, max_stream_entries=1, has_archive=True)

    for _ in range(12):
        with pytest.raises(StoreUnavailable):
            await installation.verify(issued, code, client_ip="203.0.113.9")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await installation.issue(key="k", **PERSON)
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(installation)
    assert 1 == len(installation.router.messages)
    store._log_limits = limits
    await installation.verify(issued, code, client_ip="203.0.113.9")
    await installation.issue(key="k", **PERSON)


async def test_a_call_that_finds_its_challenge_stored_by_another_cancels_nothing(
    installation: Installation,
) -> None:
    """R53: two calls run under one key and so one id, because the first outlived its lease."""
    issued, code = await issue_and_forget_charges(installation)
    installation.advance_clock(31 * SECOND_MS)
    challenge = ChallengeRef(installation.get_challenge_id(issued), "login")
    phone = parse_number("+447400123456")
    context = CallContext(
        installation.dependencies, installation.build_caller(), Subject(phone), challenge
    )

    with pytest.raises(StoreUnavailable):
        await CodeSender(installation.dependencies, context, phone).issue(None)
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(installation)
    assert 1 == len(installation.router.messages)
    await installation.verify(issued, code)


@pytest.mark.parametrize("call", ["verify", "issue", "resend"])
async def test_a_call_whose_hash_fails_is_refunded(installation: Installation, call: str) -> None:
    """Design 8: nothing was compared and nothing was sent."""
    issued, code = await issue_and_forget_charges(installation)
    installation.advance_clock(31 * SECOND_MS)
    compute_argon2id = installation.hasher.compute_argon2id

    async def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("cannot schedule new futures after shutdown")

    installation.hasher.compute_argon2id = fail  # type: ignore[method-assign]
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "verify": lambda: installation.verify(issued, code, client_ip="203.0.113.9"),
        "issue": lambda: installation.issue(**PERSON),
        "resend": lambda: installation.resend(issued),
    }

    with pytest.raises(RuntimeError):
        await calls[call]()
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(installation)
    installation.hasher.compute_argon2id = compute_argon2id  # type: ignore[method-assign]
    await calls[call]()


async def test_an_attempt_is_refunded_once_also_if_its_refund_is_tried_often(
    installation: Installation,
) -> None:
    """A15: a refund that applied twice would be an attempt for nothing."""
    issued, code = await issue_and_forget_charges(installation)
    with pytest.raises(IncorrectCode):
        await installation.verify(issued, make_wrong_code(code))
    lose_replicas(installation)
    commit, refunds = installation.store.commit, []

    async def lose_reply_of_refund(decision: Commit) -> Any:
        outcome = await commit(decision)
        if decision.only_with_refunds:
            refunds.append(decision)
            if len(refunds) < 4:
                raise StoreUnavailable
        return outcome

    installation.store.commit = lose_reply_of_refund  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreUnavailable):
        await installation.verify(issued, code)
    installation.store.client = installation.script_client
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert 4 == len(refunds)
    assert 4 == (await fetch(installation, issued)).attempts_left


async def test_a_verified_call_is_reported_although_its_refund_waits(
    installation: Installation,
) -> None:
    """R4: the success is stored; the refund of the account's bucket is applied later."""
    issued, code = await issue_and_forget_charges(installation)
    commit_all = RedisStore.commit_all

    async def fail(*_: Any) -> Any:
        raise StoreUnavailable

    installation.store.commit_all = fail  # type: ignore[method-assign,assignment]
    await installation.verify(issued, code)

    installation.store.commit_all = (  # type: ignore[method-assign]
        lambda commits: commit_all(installation.store, commits)
    )
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert [] == await list_buckets(installation)


async def test_delivery_failures_are_reported_although_the_key_is_freed_later(
    installation: Installation,
) -> None:
    """R53: the refusal is the response of the first call."""
    swap = installation.store.swap_idempotency_record
    failures = iter([False, True])

    async def fail_to_free(*arguments: Any) -> bool:
        if next(failures, False):
            raise StoreUnavailable
        return await swap(*arguments)

    installation.store.swap_idempotency_record = fail_to_free  # type: ignore[method-assign,assignment]
    installation.router.queue_replies(PROVIDER_REFUSAL)
    with pytest.raises(DeliveryFailed):
        await installation.issue(key="k")
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    installation.advance_clock(31 * SECOND_MS)
    await asyncio.wait_for(installation.issue(key="k"), 5)
    assert 1 == len(installation.router.messages)
