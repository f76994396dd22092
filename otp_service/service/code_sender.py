"""Issue and resend: charge, hash, store, hand over."""

import asyncio

import msgspec
import phonenumbers

from otp_service.core import charges, codes, events
from otp_service.core.challenge import Challenge, ChallengeSecret, LiveCode
from otp_service.core.delivery import Message, Submission
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    OtpError,
    SendsExhausted,
)
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap, Refund
from otp_service.core.pseudonym import derive_pseudonym
from otp_service.core.timestamps import SECOND_MS
from otp_service.service.context import (
    CallContext,
    Caller,
    Dependencies,
    Subject,
    build_limit_fields,
)
from otp_service.service.optimistic_commit import (
    build_snapshot,
    commit_once,
    commit_with_retry,
    error_from_refusal,
    require_challenge,
)
from otp_service.service.send_result import SendCharges, SendRecorder
from otp_service.service.shared_limits import SharedLimits


class ChargedSend(msgspec.Struct, frozen=True):
    """A code that may be sent now, and what that was charged."""

    now: int
    send_charges: SendCharges
    code: str
    salt: bytes
    argon2_hash: bytes


class CodeSender:
    """One message on its way: of this challenge, to this person's phone."""

    def __init__(  # noqa: PLR0913, PLR0917  # who, to whom, why, and which challenge
        self,
        dependencies: Dependencies,
        caller: Caller,
        subject: Subject,
        purpose: str,
        challenge_id: str,
        failed_send: int = 0,
    ) -> None:
        """Take whom it is about; `rescues` is the send whose failure has started this one."""
        phone = subject.phone
        assert phone  # nobody sends to nobody
        self._dependencies = dependencies
        self._store = dependencies.store
        self._tenant = caller.tenant
        self._subject = subject
        self._phone = phone
        self._purpose = purpose
        self._challenge_id = challenge_id
        self._failed_send = failed_send
        partition = int(
            challenge_id[1:3]
        )  # the number's, or what it was when the challenge was issued
        self._context = CallContext(
            dependencies, caller, subject, partition, purpose=purpose, challenge=challenge_id
        )
        self._shared_limits = SharedLimits(dependencies.store, dependencies.random)
        self._recorder = SendRecorder(self._context, phone, self._shared_limits)

    async def issue(self, locale: str | None) -> ChallengeSnapshot:
        """Store a new challenge and send its code. Raises the OtpError that refuses it."""
        parts, tenant = self._dependencies, self._tenant.name
        with parts.hash_slots.acquire(tenant) as place, parts.send_slots.acquire(tenant):
            paid = await self._charge(parts.random.token_bytes(codes.SALT_BYTES))
            place.release()
            challenge = self._build_challenge(paid.now)
            code = self._build_live_code(challenge, paid.argon2_hash, confirmed_at=0)
            secret = ChallengeSecret(
                self._phone.e164, paid.salt, (code,), self._subject.client_ip, locale
            )
            stored = await self._store_challenge(challenge, secret)
            submissions = await self._submit(stored, paid.code, locale)
            return await self._recorder.record(
                stored, paid.send_charges, submissions, is_first_send=True
            )

    async def resend(self, secret: ChallengeSecret) -> ChallengeSnapshot:
        """Add a code to the challenge and send it. Raises the OtpError that refuses it."""
        parts, tenant = self._dependencies, self._tenant.name
        with parts.hash_slots.acquire(tenant) as place, parts.send_slots.acquire(tenant):
            paid = await self._charge(secret.salt)
            place.release()
            stored = await self._add_code(paid)
            submissions = await self._submit(stored, paid.code, secret.locale)
            return await self._recorder.record(
                stored, paid.send_charges, submissions, is_first_send=False
            )

    async def _charge(self, salt: bytes) -> ChargedSend:
        """Charge the number, then everybody else beside argon2; give all back on a refusal."""
        parts, person = self._dependencies, self._subject
        own = charges.build_number_send_charges(self._tenant, self._phone)
        commit = self._context.build_commit(
            unless_blocked=self._phone.canonical,
            charges=own,
            event_if_refused=events.IssueDenied(**self._context.build_event_fields()),
            requires_log_capacity=True,
        )
        committed = await commit_once(self._store, commit)
        code = codes.generate_code(parts.random.randbelow, parts.policy.digits)
        others = charges.build_shared_send_charges(
            self._tenant, self._phone, person.account, person.client_ip_key
        )
        if self._failed_send:
            others = (charges.build_auto_resend_charge(self._tenant, self._phone), *others)
        argon2_hash, shared = await asyncio.gather(
            parts.hasher.compute_argon2id(code, salt), self._shared_limits.spend(others)
        )
        bill = SendCharges(
            number_charges=own, operation_id=commit.operation_id, shared_charges=shared.spent
        )
        if shared.refusal:
            error = error_from_refusal(shared.refusal)
            await self._refund(bill, error)
            raise error
        return ChargedSend(committed.now, bill, code, salt, argon2_hash)

    async def _refund(self, send_charges: SendCharges, error: OtpError) -> None:
        """Undo the bill, and tell why."""
        told = self._context.build_event_fields(reason=error.reason) | build_limit_fields(error)
        back = self._context.build_commit(
            operation_id=f"undo-{send_charges.operation_id}",
            refunds=tuple(
                Refund(c, send_charges.operation_id) for c in send_charges.number_charges if c.cost
            ),
            foldable_event=events.IssueDenied(**told),
        )
        await asyncio.gather(
            self._store.commit(back), self._shared_limits.refund(send_charges.shared_charges)
        )

    def _build_challenge(self, now: int) -> Challenge:
        policy, pseudonyms = self._dependencies.policy, self._dependencies.keys.pseudonym
        deadline = policy.compute_deadline(now)
        return Challenge(
            tenant=self._tenant.name,
            id=self._challenge_id,
            version=1,
            purpose=self._purpose,
            account=self._subject.account,
            masked_number=self._phone.masked,
            number_pseudonym=derive_pseudonym(pseudonyms.current, "number", self._phone.canonical),
            country=self._phone.country,
            created_at=now,
            deadline=deadline,
            ends_at=deadline,
            resend_at=now + policy.cooldown * SECOND_MS,
            attempts_left=policy.attempts,
            sends_left=policy.sends - 1,
        )

    def _build_live_code(
        self, challenge: Challenge, argon2_hash: bytes, *, confirmed_at: int
    ) -> LiveCode:
        pepper = self._dependencies.keys.pepper.current
        hashed = codes.hash_code(
            pepper,
            argon2_hash,
            tenant=challenge.tenant,
            challenge=challenge.id,
            purpose=challenge.purpose,
            number=self._phone.e164,
            deadline=challenge.deadline,
        )
        return LiveCode(hashed, pepper.id, challenge.sends, confirmed_at)

    async def _store_challenge(
        self, challenge: Challenge, secret: ChallengeSecret
    ) -> ChallengeSnapshot:
        issued = events.Issued(
            **self._context.build_event_fields(), phone_metadata=phonenumbers.__version__
        )
        swap = CompareAndSwap(None, challenge, secret)
        commit = self._context.build_commit(swap=swap, events=(issued,), durable=True)
        # A conflict means that 128 random bits occurred twice: Redis is being tampered with.
        return build_snapshot(commit, await commit_once(self._store, commit))

    async def _add_code(self, charged_send: ChargedSend) -> ChallengeSnapshot:
        """Put the new code beside the others, unless the challenge ended meanwhile."""
        cooldown, patience = (
            self._dependencies.policy.cooldown * SECOND_MS,
            self._dependencies.issue_timeout_ms,
        )

        def build_resend_commit(current: ChallengeSnapshot) -> Commit:
            new = require_challenge(current).add_send(current.now, cooldown)
            if current.secret is None:
                raise ChallengeExpired
            if self._failed_send:
                attempts = self._dependencies.policy.attempts
                if not require_challenge(current).can_auto_resend(
                    self._failed_send, attempts, current.now
                ):
                    raise SendsExhausted
                new = msgspec.structs.replace(new, auto_resent=True)
            code = self._build_live_code(
                new, charged_send.argon2_hash, confirmed_at=current.now + patience
            )
            why = "delivery_failed" if self._failed_send else None
            resent = events.Resent(**self._context.build_event_fields(reason=why), send=new.sends)
            swap = CompareAndSwap(
                current.challenge, new, current.secret.add_code(code), new.deadline
            )
            return self._context.build_commit(swap=swap, events=(resent,), durable=True)

        stored = await self._store.fetch_challenge(self._tenant.name, self._challenge_id)
        try:
            return (await commit_with_retry(self._store, stored, build_resend_commit)).to_snapshot()
        except (ChallengeEnded, ChallengeNotFound, SendsExhausted) as error:
            await self._refund(charged_send.send_charges, error)
            raise

    async def _submit(
        self, snapshot: ChallengeSnapshot, code: str, locale: str | None
    ) -> tuple[Submission, ...]:
        """Send the message; the instants of its submissions are by Redis's clock."""
        challenge, now, tenant = require_challenge(snapshot), snapshot.now, self._tenant
        minutes = self._dependencies.policy.count_minutes_left(challenge.deadline, now)
        message = Message(
            to=self._phone,
            text=self._dependencies.message_renderers[tenant.name].render(code, minutes, locale),
            reference=f"{tenant.name}.{challenge.id}.{challenge.sends}",
            validity_seconds=(challenge.deadline - now) // SECOND_MS,
            sender=tenant.sender,
            tenant=tenant.name,
            failed_providers=tuple(
                one.provider for one in challenge.submissions if one.may_be_billed
            ),
        )
        submissions = await self._dependencies.router.send(message)
        return tuple(
            msgspec.structs.replace(one, at=now + one.at, send=challenge.sends)
            for one in submissions
        )
