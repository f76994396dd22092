"""One attempt to verify a code of an account: what authenticators and recovery codes share.

    read the time and an earlier answer → open the token → check the form of the code
    → charge tenant and address → charge the account, and read its state in the same commit
    → compare → accept by compare-and-swap, with event and answer | reject

A failure is charged before anything is compared, in the commit that also reads what Redis knows of
the token. The accepting commit replaces exactly that state, so of several uses of one code one
wins; the others are decided again on the newer state. There is one instant for the whole decision:
that of the charge.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
from msgspec.structs import replace

from otp_service.core import charges, errors, events
from otp_service.core.factor import Factor
from otp_service.core.ports import (
    Commit,
    Committed,
    RecordConflict,
    RecordName,
    RecordSwap,
    Refund,
    StoredRecord,
)
from otp_service.service.answer_slot import AnswerSlot
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.optimistic_commit import MAX_CONFLICTS, commit_once
from otp_service.service.shared_limits import SharedLimits


class FactorEvents(msgspec.Struct, frozen=True):
    """The events of a factor that are the same for each of its calls."""

    attempted: type[events.AuthenticatorAttempted | events.RecoveryAttempted]
    denied: type[events.AuthenticatorDenied | events.RecoveryDenied]
    locked: type[events.AuthenticatorLocked | events.RecoveryLocked]


class FactorState(msgspec.Struct, frozen=True):
    """What Redis knows of a token and of the call, and the instant at which the call is decided."""

    now: int
    epoch: int
    """The instant since which Redis has lost nothing."""
    record: StoredRecord | None
    answer: StoredRecord | None


class Acceptance(msgspec.Struct, frozen=True):
    """The code is right and new: the next state, the events, and the answer to the caller."""

    record: bytes
    expires_at: int
    events: tuple[events.Event, ...]
    answer: bytes


class Rejection(msgspec.Struct, frozen=True):
    """The code was compared and refused; the attempt stays charged."""

    event: events.Event
    error: errors.OtpError


class Deferral(msgspec.Struct, frozen=True):
    """The code is right and cannot be accepted yet; the attempt is refunded."""

    error: errors.RateLimited


Decision = Acceptance | Rejection | Deferral


class FactorCheck(Protocol):
    """What one call of a factor decides; `FactorAttempt` charges, stores and records it."""

    factor: Factor
    event_kinds: FactorEvents
    is_login: bool
    """Whether an accepted code ends the failures in a row, and offsets one failure of the tenant. An
    enrolment does not: it is free, and its user has the secret."""
    context: CallContext
    record_name: RecordName
    """The state of the token in Redis."""

    def list_fingerprint_fields(self) -> tuple[str, ...]:
        """Return what a repeat has in common with its call, in addition to the key."""

    def check_request(self) -> None:
        """Raise what refuses the call before it is charged, after a lock: 400 and 409."""

    def acquire_slots(self) -> AbstractContextManager[object]:
        """Return the slots of argon2 that the comparison needs. Raises Overloaded."""

    async def compare(self, now: int) -> Callable[[FactorState], Decision]:
        """Compare the code with every candidate; return what decides on a state.

        The decision may be asked for again with a newer state, and compares nothing.
        """

    def build_repeat_event(self, answer: bytes) -> events.Event:
        """Return the event of a call that was answered again."""


class ChargedAttempt(msgspec.Struct, frozen=True):
    state: FactorState
    consecutive_failures: int
    refunds: tuple[Refund, ...]
    """Of the account: the consecutive failures, then the others."""


class FactorAttempt:
    """Runs one call: `run()` returns the answer of the call that was accepted."""

    def __init__(self, dependencies: Dependencies, check: FactorCheck, slot: AnswerSlot) -> None:
        self._store = dependencies.store
        self._pending_refunds = dependencies.refunds
        self._shared_limits = SharedLimits(dependencies.store, dependencies.random)
        self._check = check
        self._context = check.context
        self._slot = slot
        self._fingerprint = slot.compute_fingerprint(*check.list_fingerprint_fields())
        self._charge_commit: Commit | None = None
        """Given to the store: it may have been applied."""
        self._caller_refunds: tuple[Refund, ...] = ()

    async def run(self, now: int, earlier_answer: StoredRecord | None) -> bytes:
        """Return the answer. Raises the OtpError that refuses the call.

        `earlier_answer` is what `AnswerSlot.read` returned before the token was opened.
        """
        answer = self._slot.find_answer(earlier_answer, self._fingerprint, now)
        if answer is not None:
            return await self._repeat(answer)
        try:
            self._check.check_request()
            self._slot.check_free(earlier_answer, now)
        except errors.OtpError as error:
            await self._record_denial(error)
            raise
        with self._check.acquire_slots():
            return await self._charge_and_compare()

    async def _charge_and_compare(self) -> bytes:
        attempt = await self._charge()
        answer = await self._find_later_answer(attempt.state, attempt)
        if answer is not None:
            return answer
        decide = await self._check.compare(attempt.state.now)
        return await self._settle(attempt, decide)

    # ------------------------------------------------------------------------------------ charge

    async def _charge(self) -> ChargedAttempt:
        """Charge the caller, then the account, or none of them.

        Raises AccountLocked, RateLimited and StoreUnavailable.
        """
        async with self._pending_refunds.refund_if_unavailable(self._refund_all):
            await self._charge_caller()
            self._charge_commit = self._build_charge_commit()
            charging = commit_once(self._store, self._charge_commit)
            result = await self._shared_limits.await_or_refund(charging, self._caller_refunds)
        committed = result.committed
        record, answer = committed.records
        return ChargedAttempt(
            FactorState(committed.now, committed.epoch, record, answer),
            committed.consecutive_failures,
            _list_refunds(self._charge_commit),
        )

    async def _charge_caller(self) -> None:
        """Charge tenant and address, and record a refusal. Raises AccountLocked first."""
        named = charges.build_factor_caller_charges(
            self._context.caller.tenant, self._check.factor, self._context.subject.client_ip_key
        )
        self._caller_refunds = self._shared_limits.name_caller_charges(named)
        try:
            await self._shared_limits.charge_caller(self._caller_refunds)
        except errors.RateLimited as error:
            await self._record_denial(error)
            raise

    def _build_charge_commit(self) -> Commit:
        kinds, fields = self._check.event_kinds, self._context.build_event_fields
        return self._context.build_commit(
            charges=charges.build_factor_failure_charges(
                self._context.caller.tenant, self._check.factor, self._context.account
            ),
            reads=(self._check.record_name, self._slot.name),
            events=(kinds.attempted(**fields()),),
            event_if_refused=kinds.denied(**fields()),
            durable=True,
        )

    async def _refund_all(self) -> None:
        """Reverse every charge of an attempt after which nothing was compared."""
        if self._charge_commit:
            reason = errors.StoreUnavailable.audit_reason
            fields = self._context.build_event_fields(reason=reason)
            commit = self._context.build_commit(
                refunds=_list_refunds(self._charge_commit),
                only_with_refunds=True,
                foldable_event=self._check.event_kinds.denied(**fields),
            )
            await self._store.commit(commit)
        await self._shared_limits.refund(self._caller_refunds)

    # ------------------------------------------------------------------------------------ result

    async def _settle(
        self, attempt: ChargedAttempt, decide: Callable[[FactorState], Decision]
    ) -> bytes:
        """Apply the decision; after a conflict decide again. Returns the answer.

        Raises StoreUnavailable after MAX_CONFLICTS conflicts; nothing is refunded then, because the
        code was compared.
        """
        state = attempt.state
        for _ in range(MAX_CONFLICTS):
            decision = decide(state)
            if not isinstance(decision, Acceptance):
                raise await self._refuse(attempt, decision)
            outcome = await self._store.commit(self._build_accept_commit(attempt, state, decision))
            if isinstance(outcome, Committed):
                await self._pending_refunds.apply(self._settle_caller)
                return decision.answer
            assert isinstance(outcome, RecordConflict)  # it charges nothing
            record, *answers = outcome.records
            state = replace(state, record=record, answer=next(iter(answers), None))
            answer = await self._find_later_answer(state, attempt)
            if answer is not None:
                return answer
        raise errors.StoreUnavailable

    def _build_accept_commit(
        self, attempt: ChargedAttempt, state: FactorState, decision: Acceptance
    ) -> Commit:
        """Return the commit that replaces the state, and takes back the failure."""
        version = state.record.version if state.record else 0
        swap = RecordSwap(self._check.record_name, version, decision.record, decision.expires_at)
        answers = self._slot.build_swaps(
            state.answer, self._fingerprint, decision.answer, state.now
        )
        consecutive_failures, failures = attempt.refunds
        is_login = self._check.is_login
        return self._context.build_commit(
            record_swaps=(swap, *answers),
            refunds=(failures,) if is_login else attempt.refunds,
            reset_buckets=(consecutive_failures.charge.bucket,) if is_login else (),
            events=decision.events,
            durable=True,
        )

    async def _settle_caller(self) -> None:
        if self._check.is_login:
            await self._shared_limits.settle_success(self._caller_refunds)
        else:
            await self._shared_limits.refund(self._caller_refunds)

    async def _refuse(
        self, attempt: ChargedAttempt, decision: Rejection | Deferral
    ) -> errors.OtpError:
        """Record the refusal, and what it locks. Returns the error to raise."""
        if isinstance(decision, Deferral):
            await self._record_denial(decision.error, attempt.refunds)
            return decision.error
        recorded = [decision.event]
        consecutive, _ = charges.FACTOR_LOCK_LIMITS[self._check.factor]
        (window,) = self._context.caller.tenant.limits[consecutive]
        if attempt.consecutive_failures >= window.count:
            reason = errors.AccountLocked.audit_reason
            fields = self._context.build_event_fields(reason=reason)
            recorded.append(self._check.event_kinds.locked(**fields))
        await self._store.commit(self._context.build_commit(events=tuple(recorded)))
        return decision.error

    async def _record_denial(
        self, error: errors.OtpError, refunds: tuple[Refund, ...] = ()
    ) -> None:
        """Record a refusal that costs nothing, and refund what was charged for it.

        Raises AccountLocked instead if nothing was charged and the account is locked: that is
        checked first.
        """
        tenant, account = self._context.caller.tenant, self._context.account
        lock_check = charges.build_factor_lock_check(tenant, self._check.factor, account)
        denied = self._check.event_kinds.denied(**self._context.build_refusal_fields(error))
        commit = self._context.build_commit(
            charges=() if refunds else (lock_check,),
            refunds=refunds,
            event_if_refused=denied,
            foldable_event=denied,
        )
        await commit_once(self._store, commit)
        if refunds:
            await self._refund_caller()

    # ------------------------------------------------------------------------------------ repeat

    async def _find_later_answer(self, state: FactorState, attempt: ChargedAttempt) -> bytes | None:
        """Return the answer of a call with the same key that was accepted during this one.

        The attempt is refunded: nothing was compared, or the code was that of the other call.
        Raises IdempotencyKeyReused if the other call was another request.
        """
        answer = self._slot.find_answer(state.answer, self._fingerprint, state.now)
        if answer is None:
            try:
                self._slot.check_free(state.answer, state.now)
            except errors.IdempotencyKeyReused as error:
                await self._record_denial(error, attempt.refunds)
                raise
            return None
        return await self._repeat(answer, attempt.refunds)

    async def _repeat(self, answer: bytes, refunds: tuple[Refund, ...] = ()) -> bytes:
        """Return the answer of the call that was accepted, and record that it was repeated."""
        commit = self._context.build_commit(
            foldable_event=self._check.build_repeat_event(answer),
            refunds=refunds,
            durable=True,
            requires_log_capacity=True,
        )
        await commit_once(self._store, commit)
        if refunds:
            await self._refund_caller()
        return answer

    async def _refund_caller(self) -> None:
        await self._pending_refunds.apply(self._refund_caller_now)

    async def _refund_caller_now(self) -> None:
        await self._shared_limits.refund(self._caller_refunds)


def _list_refunds(commit: Commit) -> tuple[Refund, ...]:
    return tuple(Refund(charge, commit.operation_id) for charge in commit.charges)
