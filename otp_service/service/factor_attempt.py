"""One attempt to verify a code of an account: what authenticators and recovery codes share.

    read the time and an earlier answer → open the token → check the form of the code
    → charge tenant and address
    → charge the account, claim the Idempotency-Key and read the state, in one commit
    → compare → accept by compare-and-swap, with event and answer | reject

A failure is charged before anything is compared, in the commit that also reads what Redis knows of
the token. The commit claims the key too, so a repeat of a call that still runs is refused and charged
nothing; what refuses a call frees its key. The accepting commit replaces exactly that state, so of
several uses of one code one wins; the others are decided again on the newer state. There is one
instant for the whole decision: that of the charge. What a factor decides is in `factor_check.py`.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from otp_service.core import charges, errors, events
from otp_service.core.commit import (
    Commit,
    Committed,
    RecordConflict,
    RecordSwap,
    Refund,
    StoredRecord,
)
from otp_service.service.answer_slot import AnswerSlot, build_release
from otp_service.service.context import Dependencies
from otp_service.service.factor_check import (
    Acceptance,
    Decision,
    Deferral,
    FactorCheck,
    FactorState,
    Rejection,
)
from otp_service.service.optimistic_commit import MAX_CONFLICTS, commit_once, commit_records
from otp_service.service.shared_limits import SharedLimits


class ChargedAttempt(msgspec.Struct, frozen=True):
    state: FactorState
    consecutive_failures: int
    refunds: tuple[Refund, ...]
    """Of the account: the consecutive failures, then the others."""
    key_record: StoredRecord | None
    """The claim of this call; None without an Idempotency-Key."""


class FactorAttempt:
    """Runs one call: `run()` returns the answer of the call that was accepted."""

    def __init__(self, dependencies: Dependencies, check: FactorCheck, slot: AnswerSlot) -> None:
        self._store = dependencies.store
        self._pending_refunds = dependencies.refunds
        self._shared_limits = SharedLimits(
            dependencies.store, dependencies.random, dependencies.refunds
        )
        self._check = check
        self._context = check.context
        self._slot = slot
        self._prints = slot.compute_prints(check.list_fingerprint_fields(), check.compared_code)
        self._charge_commit: Commit | None = None
        """Given to the store: it may have been applied."""
        self._caller_refunds: tuple[Refund, ...] = ()

    async def run(self, now: int, key_record: StoredRecord | None) -> bytes:
        """Return the answer. Raises the OtpError that refuses the call.

        `key_record` is what `AnswerSlot.read` returned before the token was opened.
        """
        answer = await self._find_earlier_answer(key_record, now)
        if answer is not None:
            return answer
        with self._check.acquire_slots():
            return await self._charge_and_compare(key_record, now)

    async def _charge_and_compare(self, key_record: StoredRecord | None, now: int) -> bytes:
        attempt = await self._charge(key_record, now)
        if isinstance(attempt, bytes):
            await self._shared_limits.refund_refused(self._caller_refunds)
            return attempt
        async with self._pending_refunds.refund_if_unavailable(self._free_key):
            decide = await self._check.compare(attempt.state.now)
            return await self._settle(attempt, decide)

    # ------------------------------------------------------------------------------------ charge

    async def _charge(self, key_record: StoredRecord | None, now: int) -> ChargedAttempt | bytes:
        """Charge the caller, then the account, or none of them.

        Returns the answer of a call with the same key that was accepted meanwhile. Raises
        AccountLocked, RateLimited, StoreUnavailable, and what refuses the key.
        """
        async with self._pending_refunds.refund_if_unavailable(self._refund_all):
            await self._charge_caller()
            charging = self._charge_account(key_record, now)
            return await self._shared_limits.await_or_refund(charging, self._caller_refunds)

    async def _charge_account(
        self, key_record: StoredRecord | None, now: int
    ) -> ChargedAttempt | bytes:
        """Charge the account and claim the key, or find the call that has it."""
        for _ in range(MAX_CONFLICTS):
            commit = self._charge_commit = self._build_charge_commit(key_record, now)
            outcome = await commit_records(self._store, commit)
            if isinstance(outcome, Committed):
                return _build_charged_attempt(commit, outcome)
            (key_record,), now = outcome.records, outcome.now
            answer = await self._find_earlier_answer(key_record, now)
            if answer is not None:
                return answer
        raise errors.StoreUnavailable

    async def _charge_caller(self) -> None:
        """Charge tenant and address, and record a refusal. Raises AccountLocked first."""
        named = charges.build_factor_caller_charges(
            self._context.caller.tenant, self._check.factor, self._context.subject.client_ip_key
        )
        self._caller_refunds = self._shared_limits.name_charges(named)
        try:
            await self._shared_limits.charge_caller(self._caller_refunds)
        except errors.RateLimited as error:
            await self._record_denial(error)
            raise

    def _build_charge_commit(self, key_record: StoredRecord | None, now: int) -> Commit:
        kinds, fields = self._check.event_kinds, self._context.build_event_fields
        return self._context.build_commit(
            charges=charges.build_factor_failure_charges(
                self._context.caller.tenant, self._check.factor, self._context.account
            ),
            reads=(self._check.record_name,),
            record_swaps=self._slot.build_claim(key_record, self._prints, now),
            events=(kinds.attempted(**fields()),),
            event_if_refused=kinds.denied(**fields()),
            durable=True,
        )

    async def _refund_all(self) -> None:
        """Reverse every charge of an attempt after which nothing was compared, and free its key."""
        if self._charge_commit:
            reason = errors.StoreUnavailable.audit_reason
            fields = self._context.build_event_fields(reason=reason)
            commit = self._context.build_commit(
                refunds=_list_refunds(self._charge_commit),
                only_with_refunds=True,
                foldable_event=self._check.event_kinds.denied(**fields),
            )
            await self._commit_and_free_key(commit)
        await self._shared_limits.refund(self._caller_refunds, durable=True)

    # --------------------------------------------------------------------------------------- key

    async def _commit_and_free_key(self, commit: Commit) -> None:
        """Apply a commit that no limit refuses, and free the key unless the lease is over.

        Without the charge of this call, a commit `only_with_refunds` leaves the key of another one.
        """
        swaps = self._build_release()
        outcome = await self._store.commit(replace(commit, record_swaps=swaps))
        if isinstance(outcome, RecordConflict):
            await self._store.commit(commit)

    async def _free_key(self) -> None:
        """Free the key, unless the code was accepted: then it has the answer."""
        swaps = self._build_release()
        if swaps:
            await self._store.commit(self._context.build_commit(record_swaps=swaps))

    def _build_release(self) -> tuple[RecordSwap, ...]:
        return build_release(self._charge_commit.record_swaps if self._charge_commit else ())

    # ------------------------------------------------------------------------------------ result

    async def _settle(
        self, attempt: ChargedAttempt, decide: Callable[[FactorState], Decision]
    ) -> bytes:
        """Apply the decision; after a conflict decide again. Returns the answer.

        Raises StoreUnavailable after MAX_CONFLICTS conflicts; nothing is refunded then, because the
        code was compared.
        """
        for _ in range(MAX_CONFLICTS):
            decision = decide(attempt.state)
            if not isinstance(decision, Acceptance):
                raise await self._refuse(attempt, decision)
            commit = self._build_accept_commit(attempt, decision)
            outcome = await commit_records(self._store, commit)
            if isinstance(outcome, Committed):
                await self._pending_refunds.apply(self._settle_caller)
                return decision.answer
            record, *key_records = outcome.records
            attempt = replace(
                attempt,
                state=replace(attempt.state, record=record),
                key_record=next(iter(key_records), None),
            )
            answer = await self._find_later_answer(attempt)
            if answer is not None:
                return answer
        raise errors.StoreUnavailable

    def _build_accept_commit(self, attempt: ChargedAttempt, decision: Acceptance) -> Commit:
        """Return the commit that replaces state and claim, and takes back the failure."""
        state = attempt.state
        version = state.record.version if state.record else 0
        swap = RecordSwap(self._check.record_name, version, decision.record, decision.expires_at)
        answers = self._slot.build_answer(
            attempt.key_record, self._prints, decision.answer, state.now
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
        """Take back what the caller was charged, at its address and tenant alone.

        It is not durable: it follows the success, so that a second WAIT would delay each login, and the
        failures of the account are in the commit of the success.
        """
        if self._check.is_login:
            await self._shared_limits.settle_success(self._caller_refunds)
        else:
            await self._shared_limits.refund(self._caller_refunds)

    async def _refuse(
        self, attempt: ChargedAttempt, decision: Rejection | Deferral
    ) -> errors.OtpError:
        """Record the refusal, and what it locks. Returns the error to raise."""
        if isinstance(decision, Deferral):
            await self._refund_denied(decision.error, attempt.refunds)
            return decision.error
        recorded = [decision.event]
        consecutive, _ = charges.FACTOR_LOCK_LIMITS[self._check.factor]
        (window,) = self._context.caller.tenant.limits[consecutive]
        if attempt.consecutive_failures >= window.count:
            reason = errors.AccountLocked.audit_reason
            fields = self._context.build_event_fields(reason=reason)
            recorded.append(self._check.event_kinds.locked(**fields))
        await self._commit_and_free_key(self._context.build_commit(events=tuple(recorded)))
        return decision.error

    async def _record_denial(self, error: errors.OtpError) -> None:
        """Record a refusal for which the account was not charged.

        Raises AccountLocked instead if the account is locked: that is checked first.
        """
        tenant, account = self._context.caller.tenant, self._context.account
        lock_check = charges.build_factor_lock_check(tenant, self._check.factor, account)
        denied = self._build_denied(error)
        commit = self._context.build_commit(
            charges=(lock_check,), event_if_refused=denied, foldable_event=denied
        )
        await commit_once(self._store, commit)

    async def _refund_denied(self, error: errors.OtpError, refunds: tuple[Refund, ...]) -> None:
        """Record a refusal that costs nothing, refund its charges, and free the key."""
        commit = self._context.build_commit(
            refunds=refunds, foldable_event=self._build_denied(error)
        )
        await self._commit_and_free_key(commit)
        await self._shared_limits.refund_refused(self._caller_refunds)

    def _build_denied(self, error: errors.OtpError) -> events.Event:
        return self._check.event_kinds.denied(**self._context.build_refusal_fields(error))

    # ------------------------------------------------------------------------------------ repeat

    async def _find_earlier_answer(self, key_record: StoredRecord | None, now: int) -> bytes | None:
        """Return the answer of a call with the same key that was accepted before this one's charge.

        Raises what refuses the call instead: 403, 400, 409 and 422, in this order.
        """
        answer = self._slot.find_answer(key_record, self._prints, now)
        if answer is not None:
            return await self._repeat(answer)
        try:
            self._check.check_request()
            self._slot.check_free(key_record, self._prints, now)
        except errors.OtpError as error:
            await self._record_denial(error)
            raise
        return None

    async def _find_later_answer(self, attempt: ChargedAttempt) -> bytes | None:
        """Return the answer of a call that took over the key when the lease of this one was over.

        The attempt is refunded: its code was that of the other call. Raises IdempotencyKeyReused
        if the other call is another request.
        """
        now = attempt.state.now
        answer = self._slot.find_answer(attempt.key_record, self._prints, now)
        if answer is not None:
            return await self._repeat(answer, attempt.refunds)
        try:
            self._slot.check_request(attempt.key_record, self._prints, now)
        except errors.IdempotencyKeyReused as error:
            await self._refund_denied(error, attempt.refunds)
            raise
        return None

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
            await self._shared_limits.refund_refused(self._caller_refunds)
        return answer


def _build_charged_attempt(commit: Commit, committed: Committed) -> ChargedAttempt:
    (record,) = committed.records
    claims = tuple(
        StoredRecord(claim.old_version + 1, claim.body, claim.expires_at)
        for claim in commit.record_swaps
    )
    return ChargedAttempt(
        FactorState(committed.now, committed.epoch, record),
        committed.consecutive_failures,
        _list_refunds(commit),
        next(iter(claims), None),
    )


def _list_refunds(commit: Commit) -> tuple[Refund, ...]:
    return tuple(Refund(charge, commit.operation_id) for charge in commit.charges)
