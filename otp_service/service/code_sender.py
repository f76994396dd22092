"""Issue and resend: charge, hash, store, send, and store the result."""

from functools import partial
from typing import Any, Final

import msgspec

from otp_service.core import codes, errors, events
from otp_service.core.challenge import Challenge, ChallengeSecret, ChallengeStatus, LiveCode
from otp_service.core.commit import (
    ChallengeSnapshot,
    Commit,
    CompareAndSwap,
    PointerName,
    PointerSwap,
)
from otp_service.core.do_not_send import mark_submitting
from otp_service.core.known_addresses import KnownAddresses
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.prepared_codes import CodeReservation, HashedCode
from otp_service.core.risk import RiskAssessment, RiskCall
from otp_service.core.timestamps import SECOND_MS
from otp_service.core.verify_service import VerificationStart
from otp_service.service.context import CallContext, Dependencies, build_risk_fields
from otp_service.service.message_sender import MessageSender
from otp_service.service.optimistic_commit import commit_once, commit_with_retry
from otp_service.service.risk_check import RiskCheck
from otp_service.service.send_charger import SendCharger
from otp_service.service.send_charges import SendCharges


ADD_CODE_REFUSALS: Final = (
    errors.ChallengeEnded,
    errors.ChallengeNotFound,
    errors.NumberNotAllowed,
    errors.SendsExhausted,
)


class ChargedSend(msgspec.Struct, frozen=True):
    """A code that may be sent at the instant `now`, and what it was charged."""

    now: int
    send_charges: SendCharges
    hashed: HashedCode
    known_addresses: KnownAddresses
    risk: RiskAssessment | None
    """What the risk service answered; None if it was not asked."""

    def build_event_fields(self) -> dict[str, Any]:
        """Return the fields of the event of this send."""
        return {**build_risk_fields(self.risk), **self.send_charges.build_event_fields()}


class CodeSender:
    """Sends a code of one challenge to one number.

    The context has a ChallengeRef, even if the challenge was fetched: so the events of a send name
    the number under the pseudonym key in force, and not under that of the issue.
    """

    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        assert context.challenge.id
        assert context.challenge.purpose
        self._dependencies = dependencies
        self._store = dependencies.store
        self._context = context
        self._tenant = context.caller.tenant
        self._subject = context.subject
        self._challenge_id = context.challenge.id
        self._purpose = context.challenge.purpose
        self._phone = phone
        self._refunds = dependencies.refunds
        self._charger = SendCharger(dependencies, context, phone)
        self._risk_check = RiskCheck(dependencies, context, phone)
        self._message_sender = MessageSender(dependencies, context, phone)

    async def issue(
        self, locale: str | None, verification: VerificationStart | None = None
    ) -> ChallengeSnapshot:
        """Store a new challenge and send its code. Raises the OtpError that refuses it."""
        tenant, deps = self._tenant.name, self._dependencies
        prepared = self._reserve_prepared_code()
        with (
            prepared or deps.hash_slots.acquire(tenant) as hash_slot,
            deps.send_slots.acquire(tenant),
        ):
            salt = deps.random.token_bytes(codes.SALT_BYTES)
            charged = await self._charge("issue", salt, prepared)
            hash_slot.close()
            commit = self._build_issue_commit(charged, locale, verification)
            build_withdrawal = partial(self._build_issue_withdrawal, charged)
            withdraw = partial(self._charger.withdraw, charged.send_charges, build_withdrawal)
            async with self._refunds.refund_if_unavailable(withdraw):
                # A conflict is a pointer that another start has replaced meanwhile. Without a pointer
                # it would be a collision of 128 random bits: Redis was tampered with.
                snapshot = await self._store_challenge(commit, charged)
            return await self._send(charged, snapshot, locale, is_first_send=True)

    async def resend(
        self, secret: ChallengeSecret, failed_send: int | None = None
    ) -> ChallengeSnapshot:
        """Add a code to the challenge and send it. Raises the OtpError that refuses it.

        `failed_send` is the send whose failed delivery started this one, if none was requested.
        """
        tenant, deps = self._tenant.name, self._dependencies
        is_auto_resend = failed_send is not None
        with deps.hash_slots.acquire(tenant) as hash_slot, deps.send_slots.acquire(tenant):
            charged = await self._charge("auto-resend" if is_auto_resend else "resend", secret.salt)
            hash_slot.close()
            build_withdrawal = partial(
                self._build_resend_withdrawal, charged, is_auto_resend=is_auto_resend
            )
            withdraw = partial(self._charger.withdraw, charged.send_charges, build_withdrawal)
            async with self._refunds.refund_if_unavailable(withdraw):
                snapshot = await self._add_code(charged, failed_send)
            return await self._send(charged, snapshot, secret.locale, is_first_send=False)

    async def _store_challenge(self, commit: Commit, charged: ChargedSend) -> ChallengeSnapshot:
        """Store a new challenge; refund everything if a STOP arrived while its code was hashed."""
        try:
            return (await commit_once(self._store, commit)).to_snapshot()
        except errors.NumberNotAllowed as error:
            await self._charger.deny(charged.send_charges, error)
            raise

    async def _send(
        self,
        charged: ChargedSend,
        snapshot: ChallengeSnapshot,
        locale: str | None,
        *,
        is_first_send: bool,
    ) -> ChallengeSnapshot:
        return await self._message_sender.send(
            snapshot,
            charged.hashed.code,
            locale,
            charged.send_charges.without_repaid_range(),
            is_first_send=is_first_send,
        )

    async def _charge(
        self, call: RiskCall, salt: bytes, prepared: CodeReservation | None = None
    ) -> ChargedSend:
        """Charge the caller, the number, then what all share; ask about the risk; take or hash a code.

        A prepared code has a salt of its own. Whatever refuses, everything is refunded, and the error
        of the refusal is raised.
        """
        planned = self._charger.plan(
            is_auto_resend=call == "auto-resend", debts_apart=self._risk_check.is_asked
        )
        refund = partial(self._charger.refund, planned, durable=True)
        async with self._refunds.refund_if_unavailable(refund):
            applied = await self._charger.apply(planned, self._context.account_at_tenant)
            checked = await self._risk_check.check(call, applied.send_charges)
        refund = partial(self._charger.refund, checked.send_charges, durable=True)
        async with self._refunds.refund_if_unavailable(refund):
            hashed = (prepared and prepared.take()) or await self._hash_new_code(salt)
        return ChargedSend(
            applied.now, checked.send_charges, hashed, applied.known_addresses, checked.assessment
        )

    def _reserve_prepared_code(self) -> CodeReservation | None:
        """Return the right to a code of the stock; None if it is empty, or the number has a fixed code."""
        deps = self._dependencies
        if deps.fixed_codes.get_code(self._phone) is not None:
            return None
        return deps.prepared_codes.reserve(deps.policy.digits, deps.hasher.profile)

    async def _hash_new_code(self, salt: bytes) -> HashedCode:
        deps = self._dependencies
        code = deps.fixed_codes.get_code(self._phone)
        if code is None:
            code = codes.generate_code(deps.random.randbelow, deps.policy.digits)
        return HashedCode(code, salt, await deps.hasher.compute_argon2id(code, salt))

    def _build_issue_withdrawal(self, charged: ChargedSend, current: ChallengeSnapshot) -> Commit:
        """Return the commit that cancels the new challenge, if it is stored and pending.

        Under its id another call with the same Idempotency-Key may have stored one, with a salt of
        its own: that stays.
        """
        challenge, secret = current.challenge, current.secret
        is_own = secret is not None and secret.salt == charged.hashed.salt
        if (
            not challenge
            or not is_own
            or challenge.compute_status(current.now) is not ChallengeStatus.PENDING
        ):
            return self._context.build_commit()
        new = challenge.cancel_unsent(current.now)
        fields = self._context.build_event_fields(reason=errors.StoreUnavailable.audit_reason)
        return self._context.build_commit(
            swap=CompareAndSwap(challenge, new, None), events=(events.Canceled(**fields),)
        )

    def _build_resend_withdrawal(
        self, charged: ChargedSend, current: ChallengeSnapshot, *, is_auto_resend: bool
    ) -> Commit:
        """Return the commit that removes the new code, if it is stored."""
        challenge, secret = current.challenge, current.secret
        if challenge is None or secret is None:
            return self._context.build_commit()
        code = self._build_live_code(challenge, charged.hashed.argon2_hash, confirmed_at=0)

        def is_unsent(one: LiveCode) -> bool:
            # An earlier send may have had the same code by chance, and has it if the code is fixed.
            return one.code_hash == code.code_hash and one.confirmed_at > 0

        unsent = next((one for one in secret.codes if is_unsent(one)), None)
        if unsent is None:
            return self._context.build_commit()
        kept = tuple(one for one in secret.codes if one is not unsent)
        secret = secret.remove_debt(charged.send_charges.debt)
        new = challenge.withdraw_send(unsent.send, current.now, is_auto_resend=is_auto_resend)
        fields = self._context.build_event_fields(reason=errors.StoreUnavailable.audit_reason)
        swap = CompareAndSwap(challenge, new, msgspec.structs.replace(secret, codes=kept))
        return self._context.build_commit(swap=swap, foldable_event=events.IssueDenied(**fields))

    def _build_issue_commit(
        self, charged: ChargedSend, locale: str | None, verification: VerificationStart | None
    ) -> Commit:
        challenge = self._build_challenge(charged.now, verification)
        code = self._build_live_code(challenge, charged.hashed.argon2_hash, confirmed_at=0)
        secret = ChallengeSecret(
            self._phone.e164,
            charged.hashed.salt,
            (code,),
            self._subject.client_ip,
            locale,
            charged.known_addresses,
        ).add_debt(charged.send_charges.debt)
        fields = charged.build_event_fields()
        issued = self._context.build_started_event(self._phone, challenge.deadline, fields)
        swap = CompareAndSwap(None, challenge, secret)
        pointer_swap = verification and self._build_pointer_swap(challenge, verification)
        return self._context.build_commit(
            swap=swap,
            pointer_swap=pointer_swap,
            recipient=self._charger.recipient,
            submission_marks=(mark_submitting(self._phone.canonical, charged.now),),
            settlement=charged.send_charges.range_settlement,
            events=(issued,),
            durable=True,
        )

    def _build_pointer_swap(
        self, challenge: Challenge, verification: VerificationStart
    ) -> PointerSwap:
        name = PointerName(challenge.tenant, verification.service.sid, self._phone)
        return PointerSwap(
            name, verification.pointer_version, challenge.id, expires_at=challenge.deadline
        )

    def _build_challenge(self, now: int, verification: VerificationStart | None) -> Challenge:
        policy, pseudonym_key = self._dependencies.policy, self._dependencies.keys.pseudonym.current
        service = verification.service if verification else None
        deadline = now + (service or policy).lifetime * SECOND_MS
        return Challenge(
            tenant=self._tenant.name,
            id=self._challenge_id,
            version=1,
            purpose=self._purpose,
            account=self._subject.account,
            masked_number=self._phone.masked,
            number_pseudonym=pseudonym_key.derive_pseudonym("number", self._phone.canonical),
            country=self._phone.country,
            created_at=now,
            deadline=deadline,
            ends_at=deadline,
            resend_at=now + policy.cooldown * SECOND_MS,
            attempts_left=policy.attempts,
            sends_left=policy.sends - 1,
            verify_service=service.sid if service else None,
        )

    def _build_live_code(
        self, challenge: Challenge, argon2_hash: bytes, confirmed_at: int
    ) -> LiveCode:
        pepper = self._dependencies.keys.pepper.current
        code_hash = challenge.compute_code_hash(pepper, argon2_hash, self._phone.e164)
        return LiveCode(code_hash, pepper.id, challenge.sends, confirmed_at)

    async def _add_code(self, charged: ChargedSend, failed_send: int | None) -> ChallengeSnapshot:
        """Add the new code to the challenge; refund everything if it has ended, or a STOP arrived."""
        snapshot = await self._store.fetch_challenge(self._tenant.name, self._challenge_id)
        build_commit = partial(self._build_resend_commit, charged, failed_send)
        try:
            return (await commit_with_retry(self._store, snapshot, build_commit)).to_snapshot()
        except ADD_CODE_REFUSALS as error:
            await self._charger.deny(charged.send_charges, error)
            raise

    def _build_resend_commit(
        self, charged: ChargedSend, failed_send: int | None, current: ChallengeSnapshot
    ) -> Commit:
        policy, challenge = self._dependencies.policy, current.require_challenge()
        new = challenge.add_send(current.now, policy.cooldown * SECOND_MS)
        if current.secret is None:
            raise errors.ChallengeExpired
        if failed_send is not None:
            if not challenge.can_auto_resend(failed_send, policy.attempts, current.now):
                raise errors.SendsExhausted
            new = msgspec.structs.replace(new, auto_resent=True)
        confirmed_at = current.now + self._dependencies.issue_timeout_ms
        code = self._build_live_code(new, charged.hashed.argon2_hash, confirmed_at=confirmed_at)
        reason = None if failed_send is None else "delivery_failed"
        fields = self._context.build_event_fields(reason=reason, **charged.build_event_fields())
        resent = events.Resent(**fields, send=new.sends)
        secret = current.secret.add_code(code).add_debt(charged.send_charges.debt)
        swap = CompareAndSwap(challenge, new, secret, new.deadline)
        return self._context.build_commit(
            swap=swap,
            recipient=self._charger.recipient,
            submission_marks=(mark_submitting(self._phone.canonical, current.now),),
            settlement=charged.send_charges.range_settlement,
            events=(resent,),
            durable=True,
        )
