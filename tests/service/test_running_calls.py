"""A repeat of a call about an account while its first call still runs.

Design, idempotency: the key is claimed before anything is charged, and a refusal frees it.
"""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from otp_service.core import errors
from otp_service.core.commit import Commit, CommitOutcome
from otp_service.core.limits import Limit
from otp_service.service.answer_slot import AnswerSlot, KeyRecord
from otp_service.service.context import CallContext, Subject
from otp_service.service.recovery_code_check import RecoveryAnswer
from tests.installation import HOUR_MS, Installation, gather_results
from tests.service.app_user import AppUser
from tests.service.test_recovery_sets import (
    ACCOUNT,
    WRONG_CODE,
    allow_failures,
    create,
    list_events,
    verify,
)
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


class HeldAcceptance:
    """Holds the first acceptance of an installation until it is released."""

    def __init__(self, installation: Installation) -> None:
        self.is_held, self._released = asyncio.Event(), asyncio.Event()
        self._commit = installation.store.commit
        installation.store.commit = self._hold  # type: ignore[method-assign,assignment]

    async def _hold(self, decision: Commit) -> CommitOutcome:
        is_acceptance = decision.record_swaps and not decision.charges
        if is_acceptance and not self.is_held.is_set():
            self.is_held.set()
            await asyncio.wait_for(self._released.wait(), 20)
        return await self._commit(decision)

    async def start(self, call: Any) -> Any:
        """Return the task of a call that has been charged and compared, and not accepted."""
        task = asyncio.create_task(call)
        await asyncio.wait_for(self.is_held.wait(), 20)
        return task

    def release(self) -> None:
        self._released.set()


async def fail(installation: Installation, token: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(errors.IncorrectCode):
            await verify(installation, token, WRONG_CODE)


async def test_a_repeat_of_a_running_call_is_refused_and_costs_nothing(
    installation: Installation,
) -> None:
    """Also when the first call has taken the last attempt: it is no 429 for an hour."""
    created = await create(installation)
    await fail(installation, created.token, 4)
    held, before = HeldAcceptance(installation), installation.hasher.hash_count
    call = {"key": "try-1", "client_ip": "203.0.113.9"}
    first = await held.start(verify(installation, created.token, created.codes[0], **call))

    for code in (created.codes[0], created.codes[0].lower(), created.codes[1]):
        with pytest.raises(errors.IdempotencyKeyInUse):
            await verify(installation, created.token, code, **call)
    with pytest.raises(errors.MalformedCode):
        await verify(installation, created.token, "12", **call)
    held.release()
    answer = await first

    assert answer == await verify(installation, created.token, created.codes[0], **call)
    assert before + 1 == installation.hasher.hash_count
    denied = [e["reason"] for e in await list_events(installation, "recovery.denied")]
    assert {"idempotency-key-in-use", "malformed"} == {*denied}
    assert [] == await installation.list_keys("*:limit:FailuresPerClientAddress:*")
    await fail(installation, answer.token, 1)
    with pytest.raises(errors.RateLimited) as caught:
        await verify(installation, answer.token, created.codes[1])
    assert Limit.RECOVERY_FAILURES == caught.value.limit


async def test_of_calls_that_arrive_at_once_no_repeat_is_limited(
    installation: Installation,
) -> None:
    """The commit that charges the account claims the key: there is no time between them."""
    created = await create(installation)
    await fail(installation, created.token, 4)

    answers = await gather_results(
        *(
            verify(
                installation, created.token, created.codes[0], key="try-1", client_ip="203.0.113.9"
            )
            for _ in range(8)
        )
    )

    kinds = {type(answer) for answer in answers}
    assert {RecoveryAnswer} <= kinds <= {RecoveryAnswer, errors.IdempotencyKeyInUse}, answers
    assert [] == await installation.list_keys("*:limit:FailuresPerClientAddress:*")


async def test_another_request_under_the_key_of_a_running_call_is_reused(
    installation: Installation,
) -> None:
    """Another token, account or purpose. The code is not compared: the claim does not have it."""
    user = AppUser(installation)
    await user.enroll()
    code, held = await user.read_new_code(), HeldAcceptance(installation)
    first = await held.start(user.verify(code, key="k"))

    with pytest.raises(errors.IdempotencyKeyReused):
        await user.verify(code, key="k", purpose="payment")
    with pytest.raises(errors.IdempotencyKeyInUse):
        await user.verify(code, key="k")
    held.release()

    assert await first == await user.verify(code, key="k")
    assert [] == await installation.list_keys("*:limit:*")


async def test_a_claim_has_no_trace_of_a_code_that_may_be_alive(
    installation: Installation,
) -> None:
    """Design 7: it is neither in the fingerprint nor beside it."""
    created = await create(installation)
    caller = installation.build_caller("shop")
    context = CallContext(installation.dependencies, caller, Subject(account=ACCOUNT))
    slot = AnswerSlot(
        installation.dependencies, context, "recovery-codes/verify", "try-1", ttl_ms=60_000
    )
    held = HeldAcceptance(installation)
    first = await held.start(verify(installation, created.token, created.codes[0], key="try-1"))
    _, running = await slot.read()
    held.release()
    await first
    _, answered = await slot.read()

    assert running
    assert answered
    claim = msgspec.msgpack.decode(running.body, type=KeyRecord)
    answer = msgspec.msgpack.decode(answered.body, type=KeyRecord)
    one, other = (slot.compute_prints(("id", ACCOUNT), code) for code in created.codes[:2])
    assert one.without_code == other.without_code
    assert one.with_code != other.with_code
    assert claim.answer is None
    assert answer.answer is not None
    assert claim.fingerprint != answer.fingerprint


@pytest.mark.parametrize("refusal", ["mismatch", "used"])
async def test_a_refused_code_frees_the_key_at_once(
    installation: Installation, refusal: str
) -> None:
    """Another code may be tried under the key."""
    created = await create(installation)
    await verify(installation, created.token, created.codes[0])
    code = {"mismatch": WRONG_CODE, "used": created.codes[0]}[refusal]
    for _ in range(2):
        with pytest.raises((errors.IncorrectCode, errors.CodeAlreadyUsed)):
            await verify(installation, created.token, code, key="try-1")

    assert [] == await installation.list_keys("*:answer:*")
    await verify(installation, created.token, created.codes[1], key="try-1")


async def test_a_code_that_comes_too_early_frees_the_key(installation: Installation) -> None:
    """After Redis has lost its data, the call is repeated with the next code."""
    user = AppUser(installation)
    await user.enroll()
    installation.advance_clock(HOUR_MS)
    for key in await installation.list_keys("*"):
        await installation.store.client.run_pipeline(key.decode(), [("DEL", key)])
    with pytest.raises(errors.RateLimited):
        await user.verify(await user.read_code(), key="k")

    assert [] == await installation.list_keys("*:answer:*")


async def test_a_limit_that_refuses_the_call_leaves_the_key_free(
    installation: Installation,
) -> None:
    created = await create(installation)
    await fail(installation, created.token, 5)

    with pytest.raises(errors.RateLimited):
        await verify(installation, created.token, created.codes[0], key="try-1")

    assert [] == await installation.list_keys("*:answer:*")


async def start_and_cancel(installation: Installation, token: str, code: str) -> None:
    """Start a call under the key `try-1` that ends as its process does."""
    held, commit = HeldAcceptance(installation), installation.store.commit
    first = await held.start(verify(installation, token, code, key="try-1"))
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    installation.store.commit = commit  # type: ignore[method-assign]


async def test_the_key_of_a_process_that_ended_is_free_after_the_lease(
    installation: Installation,
) -> None:
    created = await create(installation)
    await start_and_cancel(installation, created.token, created.codes[0])
    lease_ms = installation.dependencies.lease_ms
    with pytest.raises(errors.IdempotencyKeyInUse):
        await verify(installation, created.token, created.codes[0], key="try-1")
    installation.advance_clock(lease_ms - 2000)
    with pytest.raises(errors.IdempotencyKeyInUse):
        await verify(installation, created.token, created.codes[0], key="try-1")

    installation.advance_clock(2000)

    await verify(installation, created.token, created.codes[0], key="try-1")


async def test_a_lease_of_a_clock_that_was_ahead_is_over(installation: Installation) -> None:
    created = await create(installation)
    installation.advance_clock(HOUR_MS)
    await start_and_cancel(installation, created.token, created.codes[0])
    installation.advance_clock(-HOUR_MS)

    await verify(installation, created.token, created.codes[0], key="try-1")


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_call_that_outlives_its_lease_repeats_the_one_that_took_the_key(
    installation: Installation, *, is_deleted: bool
) -> None:
    """Both are the same request: one use, one answer, and no charge is left."""
    allow_failures(installation)
    created = await create(installation)
    held = HeldAcceptance(installation)
    first = await held.start(verify(installation, created.token, created.codes[0], key="try-1"))
    installation.advance_clock(installation.dependencies.lease_ms)
    if is_deleted:
        (name,) = await installation.list_keys("*:answer:*")
        await installation.store.client.run_pipeline(name.decode(), [("DEL", name)])

    second = await verify(installation, created.token, created.codes[0], key="try-1")
    held.release()

    assert second == await first
    assert [] == await installation.list_keys("*:limit:RecoveryFailuresPerAccount:*")
    used = [e for e in await list_events(installation, "recovery.used") if not e.get("repeated")]
    assert 1 == len(used)


async def test_a_wrong_code_after_the_lease_leaves_the_key_of_the_other_call(
    installation: Installation,
) -> None:
    """The refusal is recorded, and the answer of the other call stays."""
    created = await create(installation)
    held = HeldAcceptance(installation)
    first = await held.start(verify(installation, created.token, WRONG_CODE, key="try-1"))
    installation.advance_clock(installation.dependencies.lease_ms)
    second = await verify(installation, created.token, created.codes[0], key="try-1")
    held.release()

    with pytest.raises(errors.IncorrectCode):
        await first
    assert second == await verify(installation, created.token, created.codes[0], key="try-1")
    assert 1 == len(await list_events(installation, "recovery.rejected"))


async def test_another_request_that_took_the_key_refuses_the_late_one(
    installation: Installation,
) -> None:
    """The late call is refunded: its code still works under another key."""
    created = await create(installation)
    held = HeldAcceptance(installation)
    first = await held.start(verify(installation, created.token, created.codes[0], key="try-1"))
    installation.advance_clock(installation.dependencies.lease_ms)
    await verify(installation, created.token, created.codes[1], key="try-1")
    held.release()

    with pytest.raises(errors.IdempotencyKeyReused):
        await first
    assert [] == await installation.list_keys("*:limit:RecoveryFailuresPerAccount:*")
    await verify(installation, created.token, created.codes[0], key="try-2")


async def test_a_failure_of_the_store_before_the_comparison_frees_the_key(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R83: its outcome is unknown, so the refund asks the store, and frees the key with it."""
    created = await create(installation)
    commit, failures = installation.store.commit, iter([True])

    async def lose_reply(request: Commit) -> CommitOutcome:
        outcome = await commit(request)
        if request.record_swaps and request.charges and next(failures, False):
            raise errors.StoreUnavailable
        return outcome

    monkeypatch.setattr(installation.store, "commit", lose_reply)
    with pytest.raises(errors.StoreUnavailable):
        await verify(installation, created.token, created.codes[0], key="try-1")
    assert 0 == await installation.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)

    assert [] == await installation.list_keys("*:answer:*")
    await verify(installation, created.token, created.codes[0], key="try-1")
