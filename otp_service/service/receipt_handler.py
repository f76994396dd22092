"""Receipts: what a provider tells later of a submission. They verify, extend and unlock nothing.

One thing may follow from a receipt that nobody else can have brought: a message that failed for
good, and not for the number's sake, is sent once more, through somebody else and with a new code.
"""

from collections.abc import Awaitable, Callable

import msgspec

from otp_service.core import events
from otp_service.core.challenge import Challenge, partition_of
from otp_service.core.delivery import Receipt, Reference
from otp_service.core.errors import ChallengeNotFound, OtpError, RateLimited
from otp_service.core.limits import Limit
from otp_service.core.phone_number import known
from otp_service.core.ports import Commit, Stored, Swap
from otp_service.service.code_sender import Sending
from otp_service.service.context import Caller, Desk, Parts, Person
from otp_service.service.optimistic_commit import move, present


class Received(msgspec.Struct, frozen=True):
    """What became of a receipt."""

    known: bool
    """Whether it is about something that there is here."""
    rescue: Reference | None = None
    """What may be sent once more."""


class Receiving:
    """One receipt about one submission."""

    def __init__(self, parts: Parts, caller: Caller, provider: str) -> None:
        self._parts = parts
        self._caller = caller
        self._provider = provider

    async def receive(self, reference: Reference, news: Receipt, *, trusted: bool) -> Received:
        """Note the news."""
        stored = await self._parts.store.fetch(reference.tenant, reference.challenge)
        challenge = stored.challenge
        place = _place(challenge, reference, self._provider) if challenge else None
        if challenge is None or place is None:
            return Received(known=False)
        partition = partition_of(challenge.id)
        assert partition is not None  # the reference has been read
        desk = Desk(self._parts, self._caller, Person(), partition, of=challenge)

        def received(current: Stored) -> Commit:
            old = present(current)
            new = old.received(place, news)
            if new is old:
                return desk.commit()
            return desk.commit(
                swap=Swap(old, new), events=(self._told(desk, news, new, place, trusted=trusted),)
            )

        try:
            made = await move(self._parts.store, stored, received)
        except ChallengeNotFound:
            return Received(known=False)
        if not (made.commit.swap and trusted):
            return Received(known=True)
        submission, after = challenge.submissions[place], made.after()
        self._parts.router.received(submission, news, challenge.country, challenge.subject)
        rescue = self._can_be_rescued(after, reference.send)
        return Received(known=True, rescue=reference if rescue else None)

    async def rescue(self, reference: Reference, pause: Callable[[float], Awaitable[None]]) -> bool:
        """Send once more what has failed, if every limit allows it; False if that is not to be.

        While the number's cooldown lasts it waits, once, with `pause` (seconds).
        """
        try:
            return await self._send_again(reference)
        except RateLimited as error:
            if error.limit != Limit.COOLDOWN:
                return False
            await pause(error.retry_after)
        except OtpError:
            return False
        try:
            return await self._send_again(reference)
        except OtpError:
            return False

    async def _send_again(self, reference: Reference) -> bool:
        stored = await self._parts.store.fetch(reference.tenant, reference.challenge)
        challenge, secret = stored.challenge, stored.secret
        if not self._can_be_rescued(stored, reference.send):
            return False
        assert challenge  # or it could not be
        assert secret
        phone = known(secret.number, challenge.country)
        person = Person.of(phone, challenge.account, secret.client_ip)
        sending = Sending(
            self._parts, self._caller, person, challenge.purpose, challenge.id, reference.send
        )
        await sending.resend(secret)
        return True

    def _can_be_rescued(self, stored: Stored, send: int) -> bool:
        attempts, challenge = self._parts.policy.attempts, stored.challenge
        return challenge is not None and challenge.can_be_rescued(send, attempts, stored.now)

    def _told(
        self, desk: Desk, news: Receipt, challenge: Challenge, place: int, *, trusted: bool
    ) -> events.Delivery:
        failed = news.status.endswith("failure")
        return events.Delivery(
            **desk.about(reason=news.reason, outcome="failure" if failed else "success"),
            provider=self._provider,
            status=news.status,
            send=challenge.submissions[place].send,
            trusted=trusted,
        )


def _place(challenge: Challenge, reference: Reference, provider: str) -> int | None:
    """Return where the submission stands, if it was made through this provider."""
    for place, one in enumerate(challenge.submissions):
        if (one.send, one.place, one.provider) == (reference.send, reference.place, provider):
            return place
    return None
