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
    StoreUnavailable,
)
from otp_service.core.limits import Refusal
from otp_service.core.policy import SECOND
from otp_service.core.ports import Blocked, Commit, Done, GiveBack, Stored, Swap
from otp_service.core.pseudonym import pseudonym
from otp_service.service.context import Caller, Desk, Parts, Person, limit_of, refused
from otp_service.service.optimistic_commit import Move, move, present
from otp_service.service.send_result import Bill, Settling
from otp_service.service.shared_limits import Ledger


class Paid(msgspec.Struct, frozen=True):
    """A code that may be sent now, and what that was charged."""

    now: int
    bill: Bill
    code: str
    salt: bytes
    slow: bytes


class Sending:
    """One message on its way: of this challenge, to this person's phone."""

    def __init__(  # noqa: PLR0913, PLR0917  # who, to whom, why, and which challenge
        self,
        parts: Parts,
        caller: Caller,
        person: Person,
        purpose: str,
        id_: str,
        rescues: int = 0,
    ) -> None:
        """Take whom it is about; `rescues` is the send whose failure has started this one."""
        phone = person.phone
        assert phone  # nobody sends to nobody
        self._parts = parts
        self._store = parts.store
        self._tenant = caller.tenant
        self._person = person
        self._phone = phone
        self._purpose = purpose
        self._id = id_
        self._rescues = rescues
        partition = int(id_[1:3])  # the number's, or what it was when the challenge was issued
        self._desk = Desk(parts, caller, person, partition, purpose=purpose, challenge=id_)
        self._ledger = Ledger(parts.store, parts.random)
        self._settling = Settling(self._desk, phone, self._ledger)

    async def issue(self, locale: str | None) -> Stored:
        """Store a new challenge and send its code. Raises the OtpError that refuses it."""
        parts, tenant = self._parts, self._tenant.name
        with parts.hashing.enter(tenant) as place, parts.sending.enter(tenant):
            paid = await self._pay(parts.random.bytes(codes.SALT_BYTES))
            place.leave()
            challenge = self._challenge(paid.now)
            code = self._live(challenge, paid.slow, settles_at=0)
            secret = ChallengeSecret(
                self._phone.e164, paid.salt, (code,), self._person.address, locale
            )
            stored = await self._create(challenge, secret)
            submissions = await self._hand_over(stored, paid.code, locale)
            return await self._settling.settle(stored, paid.bill, submissions, first=True)

    async def resend(self, secret: ChallengeSecret) -> Stored:
        """Add a code to the challenge and send it. Raises the OtpError that refuses it."""
        parts, tenant = self._parts, self._tenant.name
        with parts.hashing.enter(tenant) as place, parts.sending.enter(tenant):
            paid = await self._pay(secret.salt)
            place.leave()
            stored = await self._add_code(paid)
            submissions = await self._hand_over(stored, paid.code, secret.locale)
            return await self._settling.settle(stored, paid.bill, submissions, first=False)

    async def _pay(self, salt: bytes) -> Paid:
        """Charge the number, then everybody else beside argon2; give all back on a refusal."""
        parts, person = self._parts, self._person
        own = charges.sends_own(self._tenant, self._phone)
        commit = self._desk.commit(
            guard=self._phone.collapsed,
            charges=own,
            refusal=events.IssueDenied(**self._desk.about()),
            grants=True,
        )
        outcome = await self._store.commit(commit)
        if isinstance(outcome, Refusal | Blocked):
            raise refused(outcome)
        code = codes.draw(parts.random.below, parts.policy.digits)
        others = charges.sends_others(self._tenant, self._phone, person.account, person.subject)
        if self._rescues:
            others = (charges.rescue(self._tenant, self._phone), *others)
        slow, (spent, refusal) = await asyncio.gather(
            parts.hasher.slow(code, salt), self._ledger.spend(others)
        )
        bill = Bill(own=own, operation=commit.operation, others=spent)
        if refusal:
            error = refused(refusal)
            await self._give_back(bill, error)
            raise error
        return Paid(outcome.now, bill, code, salt, slow)

    async def _give_back(self, bill: Bill, error: OtpError) -> None:
        """Undo the bill, and tell why."""
        told = self._desk.about(reason=error.reason) | limit_of(error)
        back = self._desk.commit(
            operation=f"undo-{bill.operation}",
            give_backs=tuple(GiveBack(c, bill.operation) for c in bill.own if c.cost),
            denial=events.IssueDenied(**told),
        )
        await asyncio.gather(self._store.commit(back), self._ledger.give_back(bill.others))

    def _challenge(self, now: int) -> Challenge:
        policy, pseudonyms = self._parts.policy, self._parts.keys.pseudonym
        deadline = policy.deadline(now)
        return Challenge(
            tenant=self._tenant.name,
            id=self._id,
            version=1,
            purpose=self._purpose,
            account=self._person.account,
            masked=self._phone.masked,
            subject=pseudonym(pseudonyms.current, "number", self._phone.collapsed),
            country=self._phone.country,
            created_at=now,
            deadline=deadline,
            ends_at=deadline,
            resend_at=now + policy.cooldown * SECOND,
            attempts_left=policy.attempts,
            sends_left=policy.sends - 1,
        )

    def _live(self, challenge: Challenge, slow: bytes, *, settles_at: int) -> LiveCode:
        pepper = self._parts.keys.pepper.current
        hashed = codes.code_hash(
            pepper,
            slow,
            tenant=challenge.tenant,
            challenge=challenge.id,
            purpose=challenge.purpose,
            number=self._phone.e164,
            deadline=challenge.deadline,
        )
        return LiveCode(hashed, pepper.id, challenge.sends, settles_at)

    async def _create(self, challenge: Challenge, secret: ChallengeSecret) -> Stored:
        issued = events.Issued(**self._desk.about(), phone_metadata=phonenumbers.__version__)
        swap = Swap(None, challenge, secret)
        commit = self._desk.commit(swap=swap, events=(issued,), durable=True)
        outcome = await self._store.commit(commit)
        if not isinstance(outcome, Done):
            raise StoreUnavailable  # 128 random bits met again: somebody plays with Redis
        return Move(Stored(0, None, None), commit, outcome).after()

    async def _add_code(self, paid: Paid) -> Stored:
        """Put the new code beside the others, unless the challenge ended meanwhile."""
        cooldown, patience = self._parts.policy.cooldown * SECOND, self._parts.patience

        def with_code(current: Stored) -> Commit:
            new = present(current).resent(current.now, cooldown)
            if current.secret is None:
                raise ChallengeExpired
            if self._rescues:
                attempts = self._parts.policy.attempts
                if not present(current).can_be_rescued(self._rescues, attempts, current.now):
                    raise SendsExhausted
                new = msgspec.structs.replace(new, rescued=True)
            code = self._live(new, paid.slow, settles_at=current.now + patience)
            why = "delivery_failed" if self._rescues else None
            resent = events.Resent(**self._desk.about(reason=why), send=new.sends)
            swap = Swap(current.challenge, new, current.secret.with_code(code), new.deadline)
            return self._desk.commit(swap=swap, events=(resent,), durable=True)

        stored = await self._store.fetch(self._tenant.name, self._id)
        try:
            return (await move(self._store, stored, with_code)).after()
        except (ChallengeEnded, ChallengeNotFound, SendsExhausted) as error:
            await self._give_back(paid.bill, error)
            raise

    async def _hand_over(
        self, stored: Stored, code: str, locale: str | None
    ) -> tuple[Submission, ...]:
        """Send the message; the instants of its submissions are by Redis's clock."""
        challenge, now, tenant = present(stored), stored.now, self._tenant
        minutes = self._parts.policy.minutes_left(challenge.deadline, now)
        message = Message(
            to=self._phone,
            text=self._parts.messages[tenant.name].render(code, minutes, locale),
            reference=f"{tenant.name}.{challenge.id}.{challenge.sends}",
            valid_for=(challenge.deadline - now) // SECOND,
            sender=tenant.sender,
            tenant=tenant.name,
            tried=tuple(one.provider for one in challenge.submissions if one.may_be_billed),
        )
        submissions = await self._parts.router.send(message)
        return tuple(
            msgspec.structs.replace(one, at=now + one.at, send=challenge.sends)
            for one in submissions
        )
