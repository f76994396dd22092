"""Verify: pay for the attempt, compare, and let the right code win once."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec

from otp_service.core import charges, codes, events
from otp_service.core.challenge import Answer, ChallengeSecret, Status
from otp_service.core.errors import (
    ChallengeEnded,
    ChallengeExpired,
    ChallengeNotFound,
    IncorrectCode,
    MalformedCode,
    OtpError,
)
from otp_service.core.keys import joined
from otp_service.core.limits import Charge, Limit, Refusal
from otp_service.core.phone_number import known
from otp_service.core.policy import SECOND
from otp_service.core.ports import Commit, Done, GiveBack, Stored, Swap
from otp_service.schemas import VerifyRequest
from otp_service.service.context import Caller, Desk, Parts, Person, limit_of, refused
from otp_service.service.optimistic_commit import move, present
from otp_service.service.shared_limits import Ledger, Spent


REPEAT_WINDOW = 60 * SECOND
"""How long the winning call is answered again to whoever repeats it with its Idempotency-Key."""


class Claim(msgspec.Struct, frozen=True):
    """An attempt that has been paid for, and what it may be compared with."""

    stored: Stored
    secret: ChallengeSecret
    operation: str
    in_a_row: int


class Verifying:
    """One try at one challenge."""

    def __init__(self, parts: Parts, caller: Caller, stored: Stored, ask: VerifyRequest) -> None:
        assert stored.challenge  # the caller has looked
        self._parts = parts
        self._store = parts.store
        self._caller = caller
        self._ask = ask
        self._stored = stored
        self._first = stored.challenge
        self._ledger = Ledger(parts.store, parts.random)
        self._person = _person(stored, ask)
        partition = int(self._first.id[1:3])
        self._desk = Desk(parts, caller, self._person, partition, of=self._first)

    async def verify(self, key: str | None) -> Stored:
        """Return the verified challenge. Raises the OtpError that refuses the try."""
        answer = self._answer(key)
        if self._is_repeat(answer, self._stored):
            return await self._again(self._stored)
        try:
            self._first.check_pending(self._stored.now)
            if self._person.phone is None:
                raise ChallengeExpired
            code = codes.read(self._ask.code, self._parts.policy.digits)
        except (ChallengeEnded, MalformedCode) as error:
            await self._deny(error)
            raise
        with self._parts.hashing.enter(self._caller.tenant.name):
            return await self._attempt(code, answer)

    async def _attempt(self, code: str, answer: Answer | None) -> Stored:
        tenant, person = self._caller.tenant, self._person
        others = charges.failures_others(tenant, person.account, person.subject)
        spent, refusal = list[Spent](), None
        if others:
            claim, (spent, refusal) = await gathered(self._claim(), self._ledger.spend(others))
        else:
            claim = await self._claim()
        if isinstance(claim, OtpError):
            await self._ledger.give_back(spent)
            if isinstance(claim, ChallengeEnded | ChallengeNotFound):
                return await self._beaten(claim, answer)
            raise claim
        if refusal:
            await self._unclaim(claim, spent, refused(refusal))
            raise refused(refusal)
        if await self._is_right(code, claim):
            if not spent:
                return await self._win(claim, answer)
            stored, _ = await asyncio.gather(
                self._win(claim, answer), self._ledger.give_back(spent)
            )
            return stored
        await self._lose(claim)
        raise IncorrectCode(present(claim.stored).attempts_left)

    # ------------------------------------------------------------------ the claim

    async def _claim(self) -> Claim | OtpError:
        """Pay, on the newest state there is; the deadline and every limit are checked with it."""
        try:
            made = await move(self._store, self._stored, self._claimed)
        except (ChallengeEnded, ChallengeNotFound) as error:
            return error
        if not isinstance(made.outcome, Done):
            return refused(made.outcome)
        assert made.before.secret  # _claimed has looked
        row = made.outcome.in_a_row
        return Claim(made.after(), made.before.secret, made.commit.operation, row)

    def _claimed(self, current: Stored) -> Commit:
        new = present(current).claim(current.now)
        if current.secret is None:
            raise ChallengeExpired
        kept = msgspec.UNSET if new.attempts_left else None
        return self._desk.commit(
            swap=Swap(current.challenge, new, kept, before=new.deadline),
            charges=self._own(),
            events=(events.Attempted(**self._about(), attempts_left=new.attempts_left),),
            refusal=events.VerifyDenied(**self._about()),
            durable=True,
            label=new.masked,
        )

    async def _unclaim(self, claim: Claim, spent: list[Spent], error: OtpError) -> None:
        """Give an attempt back that another limit refused: nothing was compared."""
        await self._ledger.give_back(spent)
        back = tuple(GiveBack(charge, claim.operation) for charge in self._own())
        denial = events.VerifyDenied(**self._about(reason=error.reason), **limit_of(error))

        def unclaimed(current: Stored) -> Commit:
            challenge, secret = present(current), current.secret
            if challenge.state is Status.PENDING:
                secret = secret or claim.secret  # the last claim has dropped it
            swap = Swap(challenge, challenge.unclaim(), secret)
            return self._desk.commit(swap=swap, give_backs=back, denial=denial)

        with suppress(ChallengeNotFound):
            await move(self._store, claim.stored, unclaimed)

    # ------------------------------------------------------------------ the comparison

    async def _is_right(self, code: str, claim: Claim) -> bool:
        """Compare with every live code; one run of argon2, whatever else is wrong."""
        slow = await self._parts.hasher.slow(code, claim.secret.salt)
        now = claim.stored.now
        live = claim.secret.live(now, self._parts.policy.live_codes)
        matches = [self._matches(slow, one.pepper, one.hash, claim.secret) for one in live]
        return any(matches) and self._is_bound(claim)

    def _matches(
        self, slow: bytes, pepper_id: str, expected: bytes, secret: ChallengeSecret
    ) -> bool:
        pepper = self._parts.keys.pepper.get(pepper_id)
        if pepper is None:
            return False
        actual = codes.code_hash(
            pepper,
            slow,
            tenant=self._first.tenant,
            challenge=self._first.id,
            purpose=self._first.purpose,
            number=secret.number,
            deadline=self._first.deadline,
        )
        return codes.same(expected, actual)

    def _is_bound(self, claim: Claim) -> bool:
        """Whether what else was given is the challenge's."""
        ask = self._ask
        return (
            ask.purpose in {None, self._first.purpose}
            and ask.account in {None, self._first.account}
            and ask.phone_number in {None, claim.secret.number}
        )

    # ------------------------------------------------------------------ the outcome

    async def _win(self, claim: Claim, answer: Answer | None) -> Stored:
        """Verify, whatever claims came after; unless it was decided meanwhile."""
        row, *failures = self._own()
        back = tuple(GiveBack(charge, claim.operation) for charge in failures)
        told = (events.Verified(**self._about()),)

        def verified(current: Stored) -> Commit:
            new = present(current).verified(current.now, answer)
            swap = Swap(current.challenge, new, None)
            return self._desk.commit(
                swap=swap, give_backs=back, clear=(row.bucket,), events=told, durable=True
            )

        try:
            return (await move(self._store, claim.stored, verified)).after()
        except (ChallengeEnded, ChallengeNotFound) as error:
            return await self._beaten(error, answer, back)

    async def _beaten(
        self, error: OtpError, answer: Answer | None, back: tuple[GiveBack, ...] = ()
    ) -> Stored:
        """Answer whoever was not the first: as the first one, if it was the same call, or not.

        What a right code was charged is given back also if it came second.
        """
        if answer:
            newest = await self._store.fetch(self._first.tenant, self._first.id)
            if self._is_repeat(answer, newest):
                return await self._again(newest, back)
        await self._deny(error, back)
        raise error

    async def _lose(self, claim: Claim) -> None:
        """Tell that it was wrong, and what is locked by it."""
        assert claim.stored.challenge  # a claim is of a challenge
        left = claim.stored.challenge.attempts_left
        told: list[events.Event] = [
            events.Rejected(**self._about(reason="mismatch"), attempts_left=left)
        ]
        if left == 0:
            told.append(events.Locked(**self._about(reason="attempts_exhausted")))
        (row,) = self._caller.tenant.rates[Limit.ROW]
        if claim.in_a_row >= row.count:
            told.append(events.Locked(**self._about(reason="number_locked")))
        await self._store.commit(self._desk.commit(events=tuple(told)))

    async def _deny(self, error: OtpError, back: tuple[GiveBack, ...] = ()) -> None:
        """Record a refusal without an attempt; raises NumberLocked if that comes before it."""
        is_malformed = isinstance(error, MalformedCode)
        phone = self._person.phone if is_malformed else None
        looked = (charges.looked(self._caller.tenant, phone),) if phone else ()
        told = events.VerifyDenied(**self._about(reason=error.reason))
        commit = self._desk.commit(charges=looked, give_backs=back, refusal=told, denial=told)
        outcome = await self._store.commit(commit)
        if isinstance(outcome, Refusal):
            raise refused(outcome)

    # ------------------------------------------------------------------ the same call again

    def _answer(self, key: str | None) -> Answer | None:
        """Return what this call would be recognised by."""
        if key is None:
            return None
        mac = self._parts.keys.limit.current.mac
        typed = self._ask.code.replace(" ", "").replace("-", "")
        # The number is in it because it will be gone; purpose and account can be asked for again.
        tried = joined(typed.encode(), (self._ask.phone_number or "").encode())
        context = (self._first.tenant.encode(), self._first.id.encode())
        return Answer(
            mac("answer-key", *context, key.encode()), mac("answer-code", *context, tried)
        )

    def _is_repeat(self, answer: Answer | None, stored: Stored) -> bool:
        won = stored.challenge
        return (
            answer is not None
            and won is not None
            and won.verified_at is not None
            and won.answer is not None
            and stored.now < won.verified_at + REPEAT_WINDOW
            and codes.same(won.answer.key, answer.key)
            and codes.same(won.answer.code, answer.code)
            and self._ask.purpose in {None, won.purpose}
            and self._ask.account in {None, won.account}
        )

    async def _again(self, stored: Stored, back: tuple[GiveBack, ...] = ()) -> Stored:
        """Give the winning call's answer once more, and record that."""
        told = events.Verified(**self._about(), repeated=True)
        commit = self._desk.commit(events=(told,), give_backs=back, durable=True)
        await self._store.commit(commit)
        return stored

    def _own(self) -> tuple[Charge, ...]:
        if self._person.phone is None:
            return ()
        return charges.failures_own(self._caller.tenant, self._person.phone)

    def _about(self, **more: Any) -> dict[str, Any]:
        return self._desk.about(**more)


async def gathered(
    claim: Any, spending: Any
) -> tuple[Claim | OtpError, tuple[list[Spent], Refusal | None]]:
    """Await both; typed, which asyncio.gather is not for a union."""
    first, second = await asyncio.gather(claim, spending)
    return first, second


def _person(stored: Stored, ask: VerifyRequest) -> Person:
    """Return whom the challenge is about; the number is unknown once it has ended."""
    assert stored.challenge  # the caller has looked
    secret, country = stored.secret, stored.challenge.country
    phone = known(secret.number, country) if secret else None
    return Person.of(phone, stored.challenge.account, ask.client_ip)
