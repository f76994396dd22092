"""Issue and resend: charge, hash, store, hand over, and account for what became of it."""

import asyncio
from typing import Any

import msgspec
from msgspec.structs import replace

from otp_service.core import charges, codes, delivery, events
from otp_service.core.challenge import Challenge, LiveCode, Secret, Status, new_id
from otp_service.core.delivery import Message, Submission, recipient_fault
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    DeliveryFailed,
    OtpError,
    RateLimited,
    SendsExhausted,
    StoreUnavailable,
    Undeliverable,
)
from otp_service.core.limits import Charge, Refusal
from otp_service.core.policy import SECOND
from otp_service.core.ports import Blocked, Commit, Done, GiveBack, Stored, Swap
from otp_service.core.pseudonym import pseudonym
from otp_service.service.ledger import Ledger, Spent
from otp_service.service.parts import Caller, Parts, Person, limit_of, refused, who
from otp_service.wire import IssueRequest


MOVES = 16
"""How often a change is made anew because somebody moved first; attempts bound it far below."""


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What one send has been charged, to be given back or added to."""

    own: tuple[Charge, ...]
    operation: str
    others: list[Spent]


class Sending:
    """One message on its way for one caller."""

    def __init__(self, parts: Parts, caller: Caller, person: Person) -> None:
        assert person.phone  # nobody sends to nobody
        self._parts = parts
        self._store = parts.store
        self._caller = caller
        self._person = person
        self._phone = person.phone
        self._partition = parts.store.partition_of(self._phone.collapsed)
        self._ledger = Ledger(parts.store, parts.random)
        self._named: dict[str, str] = {}

    def new_id(self) -> str:
        """Return an id for a challenge of this number."""
        return new_id(self._partition, self._parts.random.bytes(16))

    async def issue(self, ask: IssueRequest, locale: str | None, challenge_id: str) -> Stored:
        """Store a new challenge and send its code. Raises the OtpError that refuses it."""
        parts, tenant = self._parts, self._caller.tenant.name
        with parts.hashing.enter(tenant) as place, parts.sending.enter(tenant):
            self._named = {"purpose": ask.purpose, "challenge": challenge_id}
            now, bill, (code, salt, slow) = await self._pay(parts.random.bytes(codes.SALT_BYTES))
            place.leave()
            challenge = self._challenge(ask.purpose, challenge_id, now)
            secret = Secret(
                number=self._phone.e164,
                salt=salt,
                codes=(self._live(challenge, slow, settles_at=0),),
                client_ip=self._person.address,
                locale=locale,
            )
            done = await self._create(challenge, secret)
            stored = Stored(done.now, challenge, None)
            submissions = await self._hand_over(stored, secret, code)
            return await self._settle(stored, bill, submissions, first=True)

    async def resend(self, challenge: Challenge, secret: Secret) -> Stored:
        """Add a code to a challenge and send it. Raises the OtpError that refuses it."""
        parts, tenant = self._parts, self._caller.tenant.name
        with parts.hashing.enter(tenant) as place, parts.sending.enter(tenant):
            self._named = {"purpose": challenge.purpose, "challenge": challenge.id}
            _, bill, (code, _, slow) = await self._pay(secret.salt)
            place.leave()
            stored = await self._add_code(challenge.id, slow, bill)
            assert stored.secret  # _add_code has just stored it
            submissions = await self._hand_over(stored, stored.secret, code)
            return await self._settle(stored, bill, submissions, first=False)

    # ------------------------------------------------------------------ before anything is sent

    async def _pay(self, salt: bytes) -> tuple[int, Bill, tuple[str, bytes, bytes]]:
        """Charge the number, then everybody else beside argon2; give all back on a refusal."""
        parts, tenant = self._parts, self._caller.tenant
        own = charges.sends_own(tenant, self._phone)
        operation = parts.random.operation()
        outcome = await self._store.commit(
            Commit(
                partition=self._partition,
                operation=operation,
                guard=self._phone.collapsed,
                charges=own,
                refusal=events.IssueDenied(**self._about()),
            )
        )
        if isinstance(outcome, Refusal | Blocked):
            raise refused(outcome)
        code = codes.draw(parts.random.below, parts.policy.digits)
        others = charges.sends_others(
            tenant, self._phone, self._person.account, self._person.subject
        )
        slow, (spent, refusal) = await asyncio.gather(
            parts.hasher.slow(code, salt), self._ledger.spend(others)
        )
        bill = Bill(own=own, operation=operation, others=spent)
        if refusal:
            error = refused(refusal)
            await self._give_back(bill, own, error)
            raise error
        return outcome.now, bill, (code, salt, slow)

    async def _give_back(
        self, bill: Bill, own: tuple[Charge, ...], error: OtpError | None = None
    ) -> None:
        """Undo the bill, in the number's partition only these charges; tell why."""
        denial = None
        if error:
            denial = events.IssueDenied(**self._about(reason=error.reason), **limit_of(error))
        back = Commit(
            partition=self._partition,
            operation=f"undo-{bill.operation}",
            give_backs=tuple(GiveBack(charge, bill.operation) for charge in own if charge.cost),
            denial=denial,
        )
        await asyncio.gather(self._store.commit(back), self._ledger.give_back(bill.others))

    def _challenge(self, purpose: str, challenge_id: str, now: int) -> Challenge:
        policy, pseudonyms = self._parts.policy, self._parts.keys.pseudonym
        deadline = policy.deadline(now)
        return Challenge(
            tenant=self._caller.tenant.name,
            id=challenge_id,
            version=1,
            purpose=purpose,
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

    async def _create(self, challenge: Challenge, secret: Secret) -> Done:
        outcome = await self._store.commit(
            Commit(
                partition=self._partition,
                operation=self._parts.random.operation(),
                swap=Swap(None, challenge, secret),
                events=(events.Issued(**self._about()),),
                durable=True,
            )
        )
        if not isinstance(outcome, Done):
            raise StoreUnavailable  # 128 random bits met again: somebody plays with Redis
        return outcome

    async def _add_code(self, challenge_id: str, slow: bytes, bill: Bill) -> Stored:
        """Put the new code beside the others, unless the challenge ended meanwhile."""
        policy = self._parts.policy
        stored = await self._store.fetch(self._caller.tenant.name, challenge_id)
        for _ in range(MOVES):
            try:
                new, secret = self._with_code(stored, slow, policy.cooldown * SECOND)
            except (ChallengeEnded, ChallengeNotFound, SendsExhausted) as error:
                await self._give_back(bill, bill.own, error)
                raise
            outcome = await self._store.commit(
                Commit(
                    partition=self._partition,
                    operation=self._parts.random.operation(),
                    swap=Swap(stored.challenge, new, secret, before=new.deadline),
                    events=(events.Resent(**self._about(), send=new.sends),),
                    durable=True,
                )
            )
            if isinstance(outcome, Done):
                return Stored(outcome.now, new, secret)
            assert isinstance(outcome, Stored)  # nothing was charged
            stored = outcome
        raise StoreUnavailable

    def _with_code(self, stored: Stored, slow: bytes, cooldown: int) -> tuple[Challenge, Secret]:
        challenge, secret = stored.challenge, stored.secret
        if challenge is None:
            raise ChallengeNotFound
        new = challenge.resent(stored.now, cooldown)
        if secret is None:
            raise ChallengeExpired
        settles_at = stored.now + self._parts.patience
        return new, secret.with_code(self._live(new, slow, settles_at=settles_at))

    # ------------------------------------------------------------------ the message and after

    async def _hand_over(self, stored: Stored, secret: Secret, code: str) -> tuple[Submission, ...]:
        """Send the message; the instants of its submissions are by Redis's clock."""
        tenant, challenge, now = self._caller.tenant, stored.challenge, stored.now
        assert challenge  # it has just been stored
        minutes = self._parts.policy.minutes_left(challenge.deadline, now)
        message = Message(
            to=self._phone,
            text=self._parts.messages[tenant.name].render(code, minutes, secret.locale),
            reference=f"{challenge.id}-{challenge.sends}",
            valid_for=(challenge.deadline - now) // SECOND,
            sender=tenant.sender,
            tenant=tenant.name,
        )
        submissions = await self._parts.router.send(message)
        return tuple(replace(submission, at=now + submission.at) for submission in submissions)

    async def _settle(
        self, stored: Stored, bill: Bill, submissions: tuple[Submission, ...], *, first: bool
    ) -> Stored:
        """Store what the providers answered, correct the bill, and tell the caller."""
        assert stored.challenge  # it has just been stored
        send, billed = stored.challenge.sends, delivery.billed(submissions)
        result = Result(
            submissions, send, taken=billed > 0, first=first, why=recipient_fault(submissions)
        )
        if billed:
            charged = charges.further(bill.own, billed - 1) if billed > 1 else ()
            extra = charges.further(tuple(s.charge for s in bill.others), billed - 1)
            stored, _ = await asyncio.gather(
                self._note(stored, result, charged=charged),
                self._ledger.spend(extra if billed > 1 else ()),
            )
            return stored
        if result.why is not None:
            await self._note(stored, result)
            raise Undeliverable(result.why)
        await self._forgive(stored, result, bill)
        raise DeliveryFailed(self._named["challenge"])

    async def _forgive(self, stored: Stored, result: "Result", bill: Bill) -> None:
        """Give back what a send cost that nobody took, as often as that is allowed."""
        back = tuple(GiveBack(c, bill.operation) for c in charges.refundable(bill.own))
        price = (charges.give_back(self._caller.tenant, self._phone),)
        try:
            await self._note(stored, result, charged=price, back=back)
        except RateLimited:
            await self._note(stored, result)
        else:
            await self._ledger.give_back(bill.others)

    async def _note(
        self,
        stored: Stored,
        result: "Result",
        *,
        charged: tuple[Charge, ...] = (),
        back: tuple[GiveBack, ...] = (),
    ) -> Stored:
        """Write the result into the challenge, whoever moved meanwhile."""
        most = self._parts.policy.live_codes
        for _ in range(MOVES):
            if stored.challenge is None:
                break  # Redis has lost it meanwhile, and with it what could be answered
            swap, dropped = result.applied(stored, most)
            outcome = await self._store.commit(
                Commit(
                    partition=self._partition,
                    operation=self._parts.random.operation(),
                    swap=swap,
                    charges=charged,
                    give_backs=back,
                    events=self._told(result, swap, dropped),
                )
            )
            if isinstance(outcome, Refusal | Blocked):
                raise refused(outcome)
            if isinstance(outcome, Done):
                return Stored(outcome.now, swap.new, None)
            stored = outcome
        raise StoreUnavailable

    def _told(
        self, result: "Result", swap: Swap, dropped: tuple[int, ...]
    ) -> tuple[events.Event, ...]:
        told = [self._submitted(submission) for submission in result.submissions]
        told += [events.Superseded(**self._about(), send=send) for send in dropped]
        if swap.old and swap.old.state != swap.new.state:
            told.append(events.Canceled(**self._about(reason=result.why or "delivery_failed")))
        return tuple(told)

    def _submitted(self, submission: Submission) -> events.Event:
        """Return the event of one submission; `unknown` may have been sent, and says so."""
        about = self._about(
            reason=submission.reason,
            provider=submission.provider,
            milliseconds=submission.milliseconds,
        )
        if submission.may_be_billed:
            outcome = "success" if submission.outcome == "accepted" else "unknown"
            return events.Sent(**about, outcome=outcome)
        return events.ProviderFailed(**about, fault=submission.fault or "")

    def _about(self, **more: Any) -> dict[str, Any]:
        return who(self._parts, self._caller, self._person) | self._named | more


class Result(msgspec.Struct, frozen=True):
    """What the providers made of one send."""

    submissions: tuple[Submission, ...]
    send: int
    taken: bool
    first: bool
    """Whether it is the send of a new challenge, which makes no sense without it."""
    why: str | None
    """The reason, if the number itself was refused."""

    def applied(self, stored: Stored, most: int) -> tuple[Swap, tuple[int, ...]]:
        """Return the change to the challenge, and the sends whose codes it drives out."""
        challenge, secret = stored.challenge, stored.secret
        assert challenge  # the caller has looked
        new = challenge.submitted(self.submissions)
        if self.first:
            if self.taken:
                return Swap(challenge, new), ()
            pending = challenge.status(stored.now) is Status.PENDING
            return Swap(challenge, new.canceled(stored.now) if pending else new, None), ()
        if not self.taken and self.why is None:
            new = new.unsent()
        if secret is None:
            return Swap(challenge, new), ()
        settled = secret.settled(self.send, taken=self.taken, now=stored.now, most=most)
        kept = {code.send for code in settled.codes} | {self.send}
        dropped = tuple(code.send for code in secret.codes if code.send not in kept)
        return Swap(challenge, new, settled), dropped
