"""A store that fails during a call about an authenticator: what is refunded, and what is learned.

Design 8: what was charged before anything was compared is refunded. After the comparison nothing is,
and only the same call with the same Idempotency-Key can learn the result.
"""

from typing import Any

import msgspec
import pytest

from otp_service.core import errors
from otp_service.core.commit import Commit
from otp_service.service.authenticator_check import AuthenticatorAnswer
from otp_service.store.client import MAX_LOST_REPLIES
from tests.installation import Installation, gather_results
from tests.service.app_user import AppUser
from tests.service.test_commit_guards import lose_replicas
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


ADDRESS = "203.0.113.9"
FATES = [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST]


async def list_buckets(installation: Installation) -> list[bytes]:
    return await installation.list_keys("*:limit:*")


async def list_reasons(installation: Installation, event_type: str) -> list[str | None]:
    return [e.get("reason") for e in await installation.read_events() if e["type"] == event_type]


async def test_an_attempt_that_no_replica_has_is_refunded(installation: Installation) -> None:
    """R79: nothing was compared, so neither a right nor a wrong code costs anything."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    lose_replicas(installation)

    for tried in (code, await user.read_wrong_code()):
        with pytest.raises(errors.StoreUnavailable):
            await user.verify(tried, client_ip=ADDRESS)

    assert [] == await list_buckets(installation)
    denied = await list_reasons(installation, "authenticator.denied")
    assert ["store_unavailable"] * 2 == denied
    assert [] == await list_reasons(installation, "authenticator.rejected")
    installation.store.client = installation.script_client
    await user.verify(code, client_ip=ADDRESS)


async def test_a_success_that_no_replica_has_is_learned_by_the_same_call_alone(
    installation: Installation,
) -> None:
    """R79, R54: the code was compared and its step is used."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    lose_replicas(installation, 1)
    with pytest.raises(errors.StoreUnavailable):
        await user.verify(code, key="k")

    installation.store.client = installation.script_client
    for other in (None, "other"):
        with pytest.raises(errors.CodeAlreadyUsed):
            await user.verify(code, key=other)
    assert user.token == (await user.verify(code, key="k")).token


async def test_a_repeat_waits_for_replicas_too(installation: Installation) -> None:
    """R79: else a failover could accept the code again after it was reported as accepted."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    lose_replicas(installation, 1)

    for _ in range(2):
        with pytest.raises(errors.StoreUnavailable):
            await user.verify(code, key="k")


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("step", [b"FailuresPerClientAddress", b"authenticator.attempted"])
async def test_an_attempt_of_unknown_outcome_is_refunded_if_it_was_charged(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R83: the store knows whether the charge was applied; the refund asks it."""
    user = AppUser(remote)
    await user.enroll()
    code = await user.read_new_code()
    proxy.fail_next(fate, step, times=MAX_LOST_REPLIES)

    with pytest.raises(errors.StoreUnavailable):
        await user.verify(code, client_ip=ADDRESS)
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(remote)
    await user.verify(code, client_ip=ADDRESS)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("times", [1, MAX_LOST_REPLIES])
async def test_an_acceptance_of_unknown_outcome_is_learned_by_the_same_call(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: a lost reply is asked for again; after the last try the caller repeats its call."""
    user = AppUser(remote)
    await user.enroll()
    code = await user.read_new_code()
    proxy.fail_next(fate, b"authenticator.verified", times=times)

    if times == MAX_LOST_REPLIES:
        with pytest.raises(errors.StoreUnavailable):
            await user.verify(code, key="k")
        assert 0 == await remote.dependencies.refunds.drain(
            WAIT_TIMEOUT_SECONDS
        )  # the key is free, or has the answer
    first = await user.verify(code, key="k")

    assert first == await user.verify(code, key="k")
    assert 1 == (await remote.list_event_types()).count("authenticator.verified") - len(
        [e for e in await remote.read_events() if e.get("repeated")]
    )
    with pytest.raises(errors.CodeAlreadyUsed):
        await user.verify(code)


@pytest.mark.parametrize("fate", FATES)
async def test_a_confirmation_of_unknown_outcome_has_one_token(
    remote: Installation, proxy: FaultyProxy, fate: ConnectionFailure
) -> None:
    """The caller repeats the call, and gets the token that it can store."""
    user = AppUser(remote)
    await user.start_step()
    await user.create()
    code = await user.read_code()
    proxy.fail_next(fate, b"authenticator.confirmed", times=MAX_LOST_REPLIES)
    with pytest.raises(errors.StoreUnavailable):
        await user.confirm(code, key="k")
    assert 0 == await remote.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    first = await user.confirm(code, key="k")

    assert first == await user.confirm(code, key="k")
    user.token = first.token
    await user.verify(await user.read_new_code())


async def test_a_full_log_charges_nothing(installation: Installation) -> None:
    """R73: nothing is granted that cannot be recorded; an enrolment is a grant too."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    limits, store = installation.store._log_limits, installation.store
    store._log_limits = msgspec.structs.replace(limits, max_stream_entries=1, has_archive=True)

    for _ in range(7):
        with pytest.raises(errors.StoreUnavailable):
            await user.verify(code, client_ip=ADDRESS)
    with pytest.raises(errors.StoreUnavailable):
        await AppUser(installation).create()
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(installation)
    store._log_limits = limits
    await user.verify(code, client_ip=ADDRESS)


async def test_a_verified_code_is_reported_although_its_refund_waits(
    installation: Installation,
) -> None:
    """R4: the success is stored; the buckets of tenant and address are refunded later."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    commit = installation.store.commit
    failures = iter([True])

    async def fail_settlement(decision: Commit) -> Any:
        if decision.operation_id.startswith("undo-") and next(failures, False):
            raise errors.StoreUnavailable
        return await commit(decision)

    installation.store.commit = fail_settlement  # type: ignore[method-assign,assignment]
    await user.verify(code, client_ip=ADDRESS)
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await list_buckets(installation)


async def test_a_forged_state_is_reported_as_tampering(installation: Installation) -> None:
    """Design 7: 503, an event, and the code is not accepted."""
    user = AppUser(installation)
    await user.enroll()
    (name,) = [key.decode() for key in await installation.list_keys("*:authenticator:*")]
    await installation.store.client.run_pipeline(name, [("SET", name, b"00000001forged")])

    with pytest.raises(errors.StoreTampered):
        await user.verify(await user.read_new_code())

    assert "store.tampered" in await installation.list_event_types()
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert [] == await list_buckets(installation)


async def test_a_state_that_was_set_back_is_reported_as_tampering(
    installation: Installation,
) -> None:
    """An attacker with write access to Redis who restores it could use a code again."""
    user = AppUser(installation)
    await user.enroll()
    (name,) = [key.decode() for key in await installation.list_keys("*:authenticator:*")]
    client = installation.store.client
    (before,) = await client.run_pipeline(name, [("GET", name)])
    code = await user.read_new_code()
    await user.verify(code)
    await client.run_pipeline(name, [("SET", name, before)])

    with pytest.raises(errors.StoreTampered):
        await user.verify(code)


async def test_another_code_at_once_under_one_key_is_refused_and_refunded(
    installation: Installation,
) -> None:
    """All codes are right; the key belongs to the call that claims it."""
    user = AppUser(installation)
    await user.enroll()
    await user.start_step(3)
    codes = [await user.read_code(offset) for offset in (-1, 0, 1)]

    answers = await gather_results(*(user.verify(code, key="k") for code in codes))

    kinds = [type(answer) for answer in answers]
    refusals = {errors.IdempotencyKeyInUse, errors.IdempotencyKeyReused}
    assert 1 == kinds.count(AuthenticatorAnswer), answers
    assert refusals | {AuthenticatorAnswer} >= {*kinds}
    assert [] == await list_buckets(installation)


async def test_a_state_that_changes_all_the_time_is_given_up(installation: Installation) -> None:
    """R82: a conflict is decided again, a bounded number of times."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    commit, tried = installation.store.commit, []

    async def conflict(decision: Commit) -> Any:
        if not decision.record_swaps:
            return await commit(decision)
        tried.append(decision)
        swaps = tuple(msgspec.structs.replace(s, old_version=99) for s in decision.record_swaps)
        return await commit(msgspec.structs.replace(decision, record_swaps=swaps))

    installation.store.commit = conflict  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.StoreUnavailable):
        await user.verify(code)

    assert 1 < len(tried) <= 20
    installation.store.commit = commit  # type: ignore[method-assign]
    await user.verify(code)
