"""After a send: store what the providers answered, and correct the bill."""

import asyncio

import msgspec

from otp_service.core import charges, delivery, events
from otp_service.core.challenge import Status
from otp_service.core.delivery import Submission, recipient_fault
from otp_service.core.errors import (
    ChallengeNotFound,
    DeliveryFailed,
    RateLimited,
    StoreUnavailable,
    Undeliverable,
)
from otp_service.core.limits import Charge
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import Commit, Done, GiveBack, Stored, Swap
from otp_service.service.context import Desk, refused
from otp_service.service.optimistic_commit import move, present
from otp_service.service.shared_limits import Ledger, Spent


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What one send has been charged, to be given back or added to."""

    own: tuple[Charge, ...]
    operation: str
    others: list[Spent]


class Settling:
    """The end of one send."""

    def __init__(self, desk: Desk, phone: PhoneNumber, ledger: Ledger) -> None:
        self._desk = desk
        self._phone = phone
        self._store = desk.parts.store
        self._ledger = ledger

    async def settle(
        self, stored: Stored, bill: Bill, submissions: tuple[Submission, ...], *, first: bool
    ) -> Stored:
        """Return the challenge with what became of it.

        Raises Undeliverable and DeliveryFailed; what the first one was charged stays charged.
        """
        challenge, billed = present(stored), delivery.billed(submissions)
        why = recipient_fault(submissions)
        result = Result(submissions, challenge.sends, taken=billed > 0, first=first, why=why)
        if billed == 1:
            return await self._note(stored, result)
        if billed:
            own = charges.further(bill.own, billed - 1)
            others = charges.further(tuple(s.charge for s in bill.others), billed - 1)
            noted, _ = await asyncio.gather(
                self._note(stored, result, charged=own), self._ledger.spend(others)
            )
            return noted
        if why is not None:
            await self._note(stored, result)
            raise Undeliverable(why)
        await self._forgive(stored, result, bill)
        raise DeliveryFailed(challenge.id)

    async def _forgive(self, stored: Stored, result: "Result", bill: Bill) -> None:
        """Give back what a send cost that nobody took, as often as that is allowed."""
        back = tuple(GiveBack(c, bill.operation) for c in charges.refundable(bill.own))
        price = (charges.give_back(self._desk.caller.tenant, self._phone),)
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

        def noted(current: Stored) -> Commit:
            swap, dropped = result.applied(current, self._desk.parts.policy.live_codes)
            told = self._told(result, swap, dropped)
            return self._desk.commit(swap=swap, charges=charged, give_backs=back, events=told)

        try:
            made = await move(self._store, stored, noted)
        except ChallengeNotFound as error:  # Redis has lost it since the message went out
            raise StoreUnavailable from error
        if not isinstance(made.outcome, Done):
            raise refused(made.outcome)
        return made.after()

    def _told(
        self, result: "Result", swap: Swap, dropped: tuple[int, ...]
    ) -> tuple[events.Event, ...]:
        told = [self._submitted(submission) for submission in result.submissions]
        told += [events.Superseded(**self._desk.about(), send=send) for send in dropped]
        if swap.old and swap.old.state != swap.new.state:
            told.append(events.Canceled(**self._desk.about(reason=result.why or "delivery_failed")))
        return tuple(told)

    def _submitted(self, submission: Submission) -> events.Event:
        """Return the event of one submission; `unknown` may have been sent, and says so."""
        about = self._desk.about(
            reason=submission.reason,
            provider=submission.provider,
            milliseconds=submission.milliseconds,
        )
        if submission.may_be_billed:
            outcome = "success" if submission.outcome == "accepted" else "unknown"
            return events.Sent(**about, outcome=outcome)
        return events.ProviderFailed(
            **about, fault=submission.fault or "", about=submission.about or ""
        )


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
        challenge, secret = present(stored), stored.secret
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
