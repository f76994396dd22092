"""Verify: pay for the attempt, compare, and let the right code win once."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from otp_service.core import charges, codes, events
from otp_service.core.challenge import ChallengeSecret, ChallengeStatus, VerifyReplayKey
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    IncorrectCode,
    MalformedCode,
    OtpError,
)
from otp_service.core.keys import join_length_prefixed
from otp_service.core.limits import Charge, Limit
from otp_service.core.phone_number import restore_number
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap, Refund
from otp_service.core.timestamps import SECOND_MS
from otp_service.schemas import VerifyRequest
from otp_service.service.context import (
    CallContext,
    Caller,
    Dependencies,
    Subject,
    build_limit_fields,
)
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    error_from_refusal,
    require_challenge,
)
from otp_service.service.shared_limits import SharedLimits, SpentCharge


REPLAY_WINDOW_MS = 60 * SECOND_MS
"""How long the winning call is answered again to whoever repeats it with its Idempotency-Key."""


class ChargedAttempt(msgspec.Struct, frozen=True):
    """An attempt that has been paid for, and what it may be compared with."""

    snapshot: ChallengeSnapshot
    secret: ChallengeSecret
    operation_id: str
    shared_charges: tuple[SpentCharge, ...]
    consecutive_failures: int


class CodeVerifier:
    """One try at one challenge."""

    def __init__(
        self,
        dependencies: Dependencies,
        caller: Caller,
        snapshot: ChallengeSnapshot,
        request: VerifyRequest,
    ) -> None:
        assert snapshot.challenge  # the caller has looked
        self._dependencies = dependencies
        self._store = dependencies.store
        self._caller = caller
        self._request = request
        self._snapshot = snapshot
        self._initial_challenge = snapshot.challenge
        self._shared_limits = SharedLimits(dependencies.store, dependencies.random)
        self._subject = _build_subject(snapshot, request)
        partition = int(self._initial_challenge.id[1:3])
        self._context = CallContext(
            dependencies, caller, self._subject, partition, existing=self._initial_challenge
        )

    async def verify(self, idempotency_key: str | None) -> ChallengeSnapshot:
        """Return the verified challenge. Raises the OtpError that refuses the try."""
        answer = self._build_replay_key(idempotency_key)
        if self._is_replay(answer, self._snapshot):
            return await self._replay(self._snapshot)
        try:
            self._initial_challenge.check_pending(self._snapshot.now)
            if self._subject.phone is None:
                raise ChallengeExpired
            code = codes.normalize_code(self._request.code, self._dependencies.policy.digits)
        except (ChallengeEnded, MalformedCode) as error:
            await self._record_denial(error)
            raise
        with self._dependencies.hash_slots.acquire(self._caller.tenant.name):
            return await self._run_attempt(code, answer)

    async def _run_attempt(
        self, code: str, replay_key: VerifyReplayKey | None
    ) -> ChallengeSnapshot:
        try:
            attempt = await self._charge_attempt()
        except (ChallengeEnded, ChallengeNotFound) as error:
            return await self._resolve_lost_race(error, replay_key)
        if not await self._is_correct_code(code, attempt):
            await self._reject(attempt)
            raise IncorrectCode(require_challenge(attempt.snapshot).attempts_left)
        accepted, _ = await asyncio.gather(
            self._accept(attempt, replay_key), self._shared_limits.refund(attempt.shared_charges)
        )
        return accepted

    # ------------------------------------------------------------------ the attempt charge

    async def _charge_attempt(self) -> ChargedAttempt:
        """Charge the attempt to the challenge and to every limit, or to none of them.

        Raises ChallengeEnded, ChallengeNotFound, NumberLocked and RateLimited.
        """
        shared_charges = charges.build_shared_failure_charges(
            self._caller.tenant, self._subject.account, self._subject.client_ip_key
        )
        charged, shared = await self._shared_limits.spend_alongside(
            shared_charges,
            commit_with_retry(self._store, self._snapshot, self._build_attempt_commit),
        )
        assert charged.previous_snapshot.secret  # _build_attempt_commit has checked it
        attempt = ChargedAttempt(
            charged.to_snapshot(),
            charged.previous_snapshot.secret,
            charged.commit.operation_id,
            shared.spent,
            charged.committed.consecutive_failures,
        )
        if shared.refusal:
            error = error_from_refusal(shared.refusal)
            await self._refund_attempt(attempt, error)
            raise error
        return attempt

    def _build_attempt_commit(self, current: ChallengeSnapshot) -> Commit:
        new = require_challenge(current).charge_attempt(current.now)
        if current.secret is None:
            raise ChallengeExpired
        kept = msgspec.UNSET if new.attempts_left else None
        return self._context.build_commit(
            swap=CompareAndSwap(current.challenge, new, kept, not_after=new.deadline),
            charges=self._build_number_charges(),
            events=(
                events.Attempted(**self._build_event_fields(), attempts_left=new.attempts_left),
            ),
            event_if_refused=events.VerifyDenied(**self._build_event_fields()),
            durable=True,
            masked_number=new.masked_number,
        )

    async def _refund_attempt(self, attempt: ChargedAttempt, error: OtpError) -> None:
        """Refund an attempt that a shared limit refused: nothing was compared."""
        await self._shared_limits.refund(attempt.shared_charges)
        back = tuple(
            Refund(charge, attempt.operation_id) for charge in self._build_number_charges()
        )
        denial = events.VerifyDenied(
            **self._build_event_fields(reason=error.reason), **build_limit_fields(error)
        )

        def build_refund_commit(current: ChallengeSnapshot) -> Commit:
            challenge, secret = require_challenge(current), current.secret
            if challenge.stored_status is ChallengeStatus.PENDING:
                secret = secret or attempt.secret  # the last claim has dropped it
            swap = CompareAndSwap(challenge, challenge.refund_attempt(), secret)
            return self._context.build_commit(swap=swap, refunds=back, foldable_event=denial)

        with suppress(ChallengeNotFound):
            await commit_with_retry(self._store, attempt.snapshot, build_refund_commit)

    # ------------------------------------------------------------------ the comparison

    async def _is_correct_code(self, code: str, attempt: ChargedAttempt) -> bool:
        """Compare with every live code; one run of argon2, whatever else is wrong."""
        slow = await self._dependencies.hasher.compute_argon2id(code, attempt.secret.salt)
        now = attempt.snapshot.now
        live = attempt.secret.select_live_codes(now, self._dependencies.policy.live_codes)
        matches = [
            self._is_hash_match(slow, one.pepper_id, one.code_hash, attempt.secret) for one in live
        ]
        return any(matches) and self._is_bound(attempt)

    def _is_hash_match(
        self, argon2_hash: bytes, pepper_id: str, expected: bytes, secret: ChallengeSecret
    ) -> bool:
        pepper = self._dependencies.keys.pepper.get(pepper_id)
        if pepper is None:
            return False
        actual = codes.hash_code(
            pepper,
            argon2_hash,
            tenant=self._initial_challenge.tenant,
            challenge=self._initial_challenge.id,
            purpose=self._initial_challenge.purpose,
            number=secret.number,
            deadline=self._initial_challenge.deadline,
        )
        return codes.constant_time_equal(expected, actual)

    def _is_bound(self, attempt: ChargedAttempt) -> bool:
        """Whether what else was given is the challenge's."""
        ask = self._request
        return (
            ask.purpose in {None, self._initial_challenge.purpose}
            and ask.account in {None, self._initial_challenge.account}
            and ask.phone_number in {None, attempt.secret.number}
        )

    # ------------------------------------------------------------------ the outcome

    async def _accept(
        self, attempt: ChargedAttempt, replay_key: VerifyReplayKey | None
    ) -> ChallengeSnapshot:
        """Verify, whatever claims came after; unless it was decided meanwhile."""
        row, *failures = self._build_number_charges()
        back = tuple(Refund(charge, attempt.operation_id) for charge in failures)
        told = (events.Verified(**self._build_event_fields()),)

        def build_accept_commit(current: ChallengeSnapshot) -> Commit:
            new = require_challenge(current).mark_verified(current.now, replay_key)
            swap = CompareAndSwap(current.challenge, new, None)
            return self._context.build_commit(
                swap=swap, refunds=back, reset_buckets=(row.bucket,), events=told, durable=True
            )

        try:
            return (
                await commit_with_retry(self._store, attempt.snapshot, build_accept_commit)
            ).to_snapshot()
        except (ChallengeEnded, ChallengeNotFound) as error:
            return await self._resolve_lost_race(error, replay_key, back)

    async def _resolve_lost_race(
        self, error: OtpError, replay_key: VerifyReplayKey | None, refunds: tuple[Refund, ...] = ()
    ) -> ChallengeSnapshot:
        """Answer whoever was not the first: as the first one, if it was the same call, or not.

        What a right code was charged is given back also if it came second.
        """
        if replay_key:
            newest = await self._store.fetch_challenge(
                self._initial_challenge.tenant, self._initial_challenge.id
            )
            if self._is_replay(replay_key, newest):
                return await self._replay(newest, refunds)
        await self._record_denial(error, refunds)
        raise error

    async def _reject(self, attempt: ChargedAttempt) -> None:
        """Tell that it was wrong, and what is locked by it."""
        assert attempt.snapshot.challenge  # a claim is of a challenge
        left = attempt.snapshot.challenge.attempts_left
        told: list[events.Event] = [
            events.Rejected(**self._build_event_fields(reason="mismatch"), attempts_left=left)
        ]
        if left == 0:
            told.append(events.Locked(**self._build_event_fields(reason="attempts_exhausted")))
        (row,) = self._caller.tenant.limits[Limit.CONSECUTIVE_FAILURES]
        if attempt.consecutive_failures >= row.count:
            told.append(events.Locked(**self._build_event_fields(reason="number_locked")))
        await self._store.commit(self._context.build_commit(events=tuple(told)))

    async def _record_denial(self, error: OtpError, refunds: tuple[Refund, ...] = ()) -> None:
        """Record a refusal without an attempt; raises NumberLocked if that comes before it."""
        is_malformed = isinstance(error, MalformedCode)
        phone = self._subject.phone if is_malformed else None
        looked = (charges.build_lock_check(self._caller.tenant, phone),) if phone else ()
        told = events.VerifyDenied(**self._build_event_fields(reason=error.reason))
        commit = self._context.build_commit(
            charges=looked, refunds=refunds, event_if_refused=told, foldable_event=told
        )
        await commit_once(self._store, commit)

    # ------------------------------------------------------------------ the same call again

    def _build_replay_key(self, idempotency_key: str | None) -> VerifyReplayKey | None:
        """Return what this call would be recognised by."""
        if idempotency_key is None:
            return None
        mac = self._dependencies.keys.limit.current.compute_mac
        typed = self._request.code.replace(" ", "").replace("-", "")
        # The number is in it because it will be gone; purpose and account can be asked for again.
        tried = join_length_prefixed(typed.encode(), (self._request.phone_number or "").encode())
        context = (self._initial_challenge.tenant.encode(), self._initial_challenge.id.encode())
        return VerifyReplayKey(
            mac("answer-key", *context, idempotency_key.encode()),
            mac("answer-code", *context, tried),
        )

    def _is_replay(self, replay_key: VerifyReplayKey | None, snapshot: ChallengeSnapshot) -> bool:
        won = snapshot.challenge
        return (
            replay_key is not None
            and won is not None
            and won.verified_at is not None
            and won.replay_key is not None
            and snapshot.now < won.verified_at + REPLAY_WINDOW_MS
            and codes.constant_time_equal(won.replay_key.key_mac, replay_key.key_mac)
            and codes.constant_time_equal(won.replay_key.code_mac, replay_key.code_mac)
            and self._request.purpose in {None, won.purpose}
            and self._request.account in {None, won.account}
        )

    async def _replay(
        self, snapshot: ChallengeSnapshot, refunds: tuple[Refund, ...] = ()
    ) -> ChallengeSnapshot:
        """Give the winning call's answer once more, and record that."""
        told = events.Verified(**self._build_event_fields(), repeated=True)
        commit = self._context.build_commit(events=(told,), refunds=refunds, durable=True)
        await self._store.commit(commit)
        return snapshot

    def _build_number_charges(self) -> tuple[Charge, ...]:
        if self._subject.phone is None:
            return ()
        return charges.build_number_failure_charges(self._caller.tenant, self._subject.phone)

    def _build_event_fields(self, **fields: Any) -> dict[str, Any]:
        return self._context.build_event_fields(**fields)


def _build_subject(snapshot: ChallengeSnapshot, request: VerifyRequest) -> Subject:
    """Return whom the challenge is about; the number is unknown once it has ended."""
    assert snapshot.challenge  # the caller has looked
    secret, country = snapshot.secret, snapshot.challenge.country
    phone = restore_number(secret.number, country) if secret else None
    return Subject.from_request(phone, snapshot.challenge.account, request.client_ip)
