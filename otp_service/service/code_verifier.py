"""Verify: charge the attempt, compare the code, and accept it once."""

import asyncio
from contextlib import suppress
from functools import partial

import msgspec

from otp_service.core import charges, codes, errors, events
from otp_service.core.challenge import Challenge, ChallengeSecret, ChallengeStatus, LiveCode
from otp_service.core.commit import (
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    CompareAndSwap,
    Refund,
    Undone,
)
from otp_service.core.ip_address import is_other_client_ip
from otp_service.core.known_addresses import NO_STANDINGS, Account, KnownAddresses
from otp_service.core.limits import Limit
from otp_service.core.ports import HashPriority
from otp_service.core.verify_replay import build_replay_key, is_replay
from otp_service.schemas import VerifyRequest
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.debt_settler import DebtSettler
from otp_service.service.expiry import record_expiry
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    require_all_committed,
)
from otp_service.service.pending_refunds import apply_all
from otp_service.service.shared_limits import SharedLimits


class ChargedAttempt(msgspec.Struct, frozen=True):
    """An attempt that was charged, and the secret that its code may be compared with."""

    snapshot: ChallengeSnapshot
    secret: ChallengeSecret
    consecutive_failures: int
    number_refunds: tuple[Refund, ...]
    caller_refunds: tuple[Refund, ...]
    account_failures: int
    """The consecutive failures of the account; 0 without an account."""


class AttemptCharge(msgspec.Struct, frozen=True):
    """An attempt charge that may have been applied, and the secret that it may have deleted."""

    commit: Commit
    secret: ChallengeSecret

    @property
    def refunds(self) -> tuple[Refund, ...]:
        return tuple(Refund(charge, self.commit.operation_id) for charge in self.commit.charges)


class CodeVerifier:
    def __init__(
        self,
        dependencies: Dependencies,
        context: CallContext,
        challenge: Challenge,
        request: VerifyRequest,
        idempotency_key: str | None,
    ) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._context = context
        self._tenant = context.caller.tenant
        self._subject = context.subject
        self._phone = context.subject.phone
        self._challenge = challenge
        self._request = request
        self._shared_limits = SharedLimits(
            dependencies.store, dependencies.random, dependencies.refunds
        )
        self._refunds = dependencies.refunds
        self._debt_settler = (
            DebtSettler(dependencies, challenge.tenant, self._phone) if self._phone else None
        )
        self._attempt_charge: AttemptCharge | None = None
        """The newest that was given to the store; those before it were not applied."""
        self._caller_refunds: tuple[Refund, ...] = ()
        self._account_failures = 0
        self._standings = NO_STANDINGS
        self._replay_key = None
        if idempotency_key is not None:
            mac_key = dependencies.keys.limit.current
            self._replay_key = build_replay_key(
                mac_key, challenge, idempotency_key, request.code, request.phone_number
            )

    async def verify(self, snapshot: ChallengeSnapshot) -> ChallengeSnapshot:
        """Return the verified challenge. Raises the OtpError that refuses the attempt."""
        if self._is_replay(snapshot):
            return await self._replay(snapshot)
        try:
            code = self._check_request(snapshot.now)
        except (errors.ChallengeEnded, errors.MalformedCode) as error:
            if isinstance(error, errors.MalformedCode):
                await self._check_account_lock()
            await self._record_verify_denial(error)
            raise
        with self._dependencies.verify_slots.acquire(self._tenant.name):
            try:
                async with self._refunds.refund_if_unavailable(self._refund_attempt):
                    attempt = await self._charge_attempt(snapshot)
                    argon2_hash = await self._compute_hash(code, attempt)
            except (errors.ChallengeEnded, errors.ChallengeNotFound) as error:
                return await self._resolve_lost_race(error)
            if not self._is_correct_code(argon2_hash, attempt):
                await self._reject(attempt)
                raise errors.IncorrectCode(attempt.snapshot.require_challenge().attempts_left)
            settle = partial(
                self._shared_limits.settle_success,
                attempt.caller_refunds,
                self._add_known_address(attempt),
                durable=True,  # in the batch of the success, whose WAIT answers both
            )
            accepted, _ = await asyncio.gather(
                self._accept(attempt), self._refunds.apply(settle), return_exceptions=True
            )
            if isinstance(accepted, BaseException):
                raise accepted
            return accepted

    async def _check_account_lock(self) -> None:
        """Raise AccountLocked, which is checked before the form of a code."""
        try:
            await self._shared_limits.check_account_lock(self._tenant, self._subject.account)
        except errors.AccountLocked as error:
            await self._record_verify_denial(error)
            raise

    def _check_request(self, now: int) -> str:
        """Return the normalized code. Raises ChallengeEnded and MalformedCode."""
        self._challenge.check_pending(now)
        if self._phone is None:
            raise errors.ChallengeExpired
        return codes.normalize_code(self._request.code, self._dependencies.policy.digits)

    async def _charge_attempt(self, snapshot: ChallengeSnapshot) -> ChargedAttempt:
        """Charge the attempt to the caller, the challenge and its number, or to none of them.

        Its commit checks the deadline and the number's limits on the newest state. Raises
        ChallengeEnded, ChallengeNotFound, NumberLocked, AccountLocked and RateLimited.
        """
        if snapshot.secret:
            known = snapshot.secret.known_addresses
            self._standings = known.determine_standings(self._context.address_tags, snapshot.now)
        self._caller_refunds = self._name_caller_charges()
        try:
            charged = await commit_with_retry(
                self._store, snapshot, self._build_attempt_commit, self._charge_with_caller
            )
        except errors.StoreUnavailable:
            raise
        except errors.OtpError:
            await self._shared_limits.refund_refused(self._caller_refunds)
            raise
        assert self._attempt_charge  # by _build_attempt_commit
        return ChargedAttempt(
            charged.to_snapshot(),
            self._attempt_charge.secret,
            charged.committed.consecutive_failures,
            self._attempt_charge.refunds,
            self._caller_refunds,
            self._account_failures,
        )

    def _name_caller_charges(self) -> tuple[Refund, ...]:
        """Return the charges of an attempt to the caller's own buckets."""
        account, client_ip_key = self._subject.account, self._subject.client_ip_key
        return self._shared_limits.name_charges(
            charges.build_caller_failure_charges(
                self._tenant, account, client_ip_key, self._standings.account
            )
        )

    async def _charge_with_caller(self, attempt: Commit) -> CommitOutcome:
        """Apply the commit of the attempt, with the charges of the caller; return its outcome.

        A refusal of the caller's buckets is recorded. Raises NumberLocked first.
        """
        charge = self._shared_limits.build_charge_commit(self._caller_refunds)
        caller, outcome = await self._store.commit_together((charge, attempt))
        try:
            charged = require_all_committed((caller,))
        except (errors.AccountLocked, errors.RateLimited) as error:
            self._caller_refunds, self._attempt_charge = (), None
            await self._record_verify_denial(error)
            raise
        if charged:
            self._account_failures = charged[0].consecutive_failures
        assert not isinstance(outcome, Undone)  # the caller was not refused
        return outcome

    def _add_known_address(self, attempt: ChargedAttempt) -> tuple[Account, KnownAddresses] | None:
        """Return the known addresses after a correct code; None if they stay as they are."""
        account, tags = self._context.account_at_tenant, self._context.address_tags
        if account is None or tags is None:
            return None
        return account, attempt.secret.known_addresses.add(tags, attempt.snapshot.now)

    def _build_attempt_commit(self, current: ChallengeSnapshot) -> Commit:
        new = current.require_challenge().charge_attempt(current.now)
        if current.secret is None or self._phone is None:
            raise errors.ChallengeExpired
        secret = msgspec.UNSET if new.attempts_left else None
        fields = self._context.build_event_fields()
        commit = self._context.build_commit(
            swap=CompareAndSwap(current.challenge, new, secret, deadline=new.deadline),
            charges=charges.build_number_failure_charges(
                self._tenant, self._phone, self._standings.number
            ),
            events=(events.Attempted(**fields, attempts_left=new.attempts_left),),
            event_if_refused=events.VerifyDenied(**self._context.build_event_fields()),
            durable=True,
        )
        self._attempt_charge = AttemptCharge(commit, current.secret)
        return commit

    async def _refund_attempt(self) -> None:
        """Reverse every charge of an attempt after which nothing was compared."""
        await apply_all(
            self._refund_attempt_charge(),
            self._shared_limits.refund(self._caller_refunds, durable=True),
        )

    async def _refund_attempt_charge(self) -> None:
        """Reverse the charges to the challenge and its number."""
        if self._attempt_charge:
            store, challenge = self._store, self._challenge
            snapshot = await store.fetch_challenge(challenge.tenant, challenge.id)
            build_commit = partial(self._build_attempt_refund, self._attempt_charge)
            with suppress(errors.ChallengeNotFound):
                await commit_with_retry(store, snapshot, build_commit)

    def _build_attempt_refund(self, charge: AttemptCharge, current: ChallengeSnapshot) -> Commit:
        """Return the commit that reverses an attempt charge, once, if it was applied."""
        challenge, secret = current.challenge, None
        if challenge is None:
            return self._context.build_commit(refunds=charge.refunds, durable=True)
        refunded = challenge.refund_attempt()
        if refunded.compute_status(current.now) is ChallengeStatus.PENDING:
            secret = current.secret or charge.secret  # the last attempt has deleted it
        reason = errors.StoreUnavailable.audit_reason
        return self._context.build_commit(
            swap=CompareAndSwap(challenge, refunded, secret),
            refunds=charge.refunds,
            only_with_refunds=True,
            durable=True,
            foldable_event=events.VerifyDenied(**self._context.build_event_fields(reason=reason)),
        )

    async def _compute_hash(self, code: str, attempt: ChargedAttempt) -> bytes:
        hasher, salt = self._dependencies.hasher, attempt.secret.salt
        return await hasher.compute_argon2id(code, salt, priority=HashPriority.VERIFY)

    def _is_correct_code(self, argon2_hash: bytes, attempt: ChargedAttempt) -> bool:
        """Compare with every live code, also if something else is wrong."""
        now, max_live_codes = attempt.snapshot.now, self._dependencies.policy.live_codes
        live_codes = attempt.secret.select_live_codes(now, max_live_codes)
        matches = [self._is_match(live, argon2_hash, attempt.secret.number) for live in live_codes]
        is_same_number = self._request.phone_number in {None, attempt.secret.number}
        return any(matches) and is_same_number and self._is_for_challenge()

    def _is_match(self, live: LiveCode, argon2_hash: bytes, number: str) -> bool:
        pepper = self._dependencies.keys.pepper.get(live.pepper_id)
        return pepper is not None and codes.constant_time_equal(
            live.code_hash, self._challenge.compute_code_hash(pepper, argon2_hash, number)
        )

    def _is_for_challenge(self) -> bool:
        """Whether the optional purpose and account of the request match the challenge."""
        request, challenge = self._request, self._challenge
        is_same_purpose = request.purpose in {None, challenge.purpose}
        return is_same_purpose and request.account in {None, challenge.account}

    async def _accept(self, attempt: ChargedAttempt) -> ChallengeSnapshot:
        """Mark the challenge verified, unless it was verified or canceled meanwhile.

        Attempts that were charged later do not prevent it.
        """
        # The count of consecutive failures is reset, the other charge is refunded.
        consecutive_failures, *refunds = attempt.number_refunds
        verified = events.Verified(
            **self._context.build_event_fields(),
            client_ip_changed=self._is_other_client_ip(attempt),
        )

        settler = self._debt_settler
        assert settler  # without a number nothing was compared

        def build_accept_commit(current: ChallengeSnapshot) -> Commit:
            new = current.require_challenge().mark_verified(current.now, self._replay_key)
            return self._context.build_commit(
                swap=CompareAndSwap(current.challenge, new, None),
                settlement=settler.build_number_settlement(current.secret or attempt.secret),
                refunds=tuple(refunds),
                reset_buckets=(consecutive_failures.charge.bucket,),
                events=(verified,),
                durable=True,
            )

        try:
            accepted = await commit_with_retry(self._store, attempt.snapshot, build_accept_commit)
        except (errors.ChallengeEnded, errors.ChallengeNotFound) as error:
            return await self._resolve_lost_race(error, tuple(refunds))
        assert accepted.previous_snapshot
        # A resend since the attempt has added a debt; the last attempt has deleted the secret.
        settler.settle_shared(accepted.previous_snapshot.secret or attempt.secret, accepted)
        return accepted.to_snapshot()

    async def _resolve_lost_race(
        self, error: errors.OtpError, refunds: tuple[Refund, ...] = ()
    ) -> ChallengeSnapshot:
        """Return the result of the call that won if this one repeats it; else raise the error.

        The charges of a correct code are refunded in both cases.
        """
        if isinstance(error, errors.ChallengeExpired):
            challenge = self._challenge
            newest = await self._store.fetch_challenge(challenge.tenant, challenge.id)
            await record_expiry(self._store, self._context, newest)
        if self._replay_key:
            newest = await self._store.fetch_challenge(self._challenge.tenant, self._challenge.id)
            if self._is_replay(newest):
                return await self._replay(newest, refunds)
        await self._record_verify_denial(error, refunds)
        raise error

    async def _reject(self, attempt: ChargedAttempt) -> None:
        """Record that the code was wrong, and what this locks."""
        fields = self._context.build_event_fields
        left = attempt.snapshot.require_challenge().attempts_left
        changed = self._is_other_client_ip(attempt)
        recorded: list[events.Event] = [
            events.Rejected(
                **fields(reason="mismatch"), attempts_left=left, client_ip_changed=changed
            )
        ]
        if left == 0:
            recorded.append(events.Locked(**fields(reason="attempts_exhausted")))
        (window,) = self._tenant.limits[Limit.CONSECUTIVE_FAILURES]
        if attempt.consecutive_failures >= window.count:
            recorded.append(events.Locked(**fields(reason=errors.NumberLocked.audit_reason)))
        (window,) = self._tenant.limits[Limit.CONSECUTIVE_FAILURES_ACCOUNT]
        if attempt.account_failures >= window.count:
            recorded.append(events.Locked(**fields(reason=errors.AccountLocked.audit_reason)))
        await self._store.commit(self._context.build_commit(events=tuple(recorded)))

    def _is_other_client_ip(self, attempt: ChargedAttempt) -> bool | None:
        return is_other_client_ip(attempt.secret.client_ip, self._subject.client_ip)

    async def _record_verify_denial(
        self, error: errors.OtpError, refunds: tuple[Refund, ...] = ()
    ) -> None:
        """Record a refusal that costs no attempt.

        Raises NumberLocked for a malformed code or a limit of the caller if the number is locked:
        that is checked first.
        """
        is_after_lock = isinstance(error, errors.MalformedCode | errors.RateLimited)
        phone = self._phone if is_after_lock else None
        lock_check = (charges.build_lock_check(self._tenant, phone),) if phone else ()
        denied = events.VerifyDenied(**self._context.build_refusal_fields(error))
        commit = self._context.build_commit(
            charges=lock_check, refunds=refunds, event_if_refused=denied, foldable_event=denied
        )
        await commit_once(self._store, commit)

    def _is_replay(self, snapshot: ChallengeSnapshot) -> bool:
        return (
            self._replay_key is not None
            and snapshot.challenge is not None
            and is_replay(self._replay_key, snapshot.challenge, snapshot.now)
            and self._is_for_challenge()
        )

    async def _replay(
        self, snapshot: ChallengeSnapshot, refunds: tuple[Refund, ...] = ()
    ) -> ChallengeSnapshot:
        """Return the result of the call that won, and record that it was repeated."""
        repeated = events.Verified(**self._context.build_event_fields(), repeated=True)
        commit = self._context.build_commit(
            foldable_event=repeated, refunds=refunds, durable=True, requires_log_capacity=True
        )
        await self._store.commit(commit)
        return snapshot
