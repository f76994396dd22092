"""Receipts: what a provider tells later of a submission. They verify, extend and unlock nothing."""

from otp_service.core import events
from otp_service.core.challenge import Challenge, partition_of
from otp_service.core.delivery import Receipt, Reference
from otp_service.core.errors import ChallengeNotFound
from otp_service.core.ports import Commit, Stored, Swap
from otp_service.service.moving import move, present
from otp_service.service.parts import Caller, Desk, Parts, Person


class Receiving:
    """One receipt about one submission."""

    def __init__(self, parts: Parts, caller: Caller, provider: str) -> None:
        self._parts = parts
        self._caller = caller
        self._provider = provider

    async def receive(self, reference: Reference, news: Receipt, *, trusted: bool) -> bool:
        """Note the news; False if it is about nothing that is known here (any more)."""
        stored = await self._parts.store.fetch(reference.tenant, reference.challenge)
        challenge = stored.challenge
        place = _place(challenge, reference, self._provider) if challenge else None
        if challenge is None or place is None:
            return False
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
            return False
        if made.commit.swap and trusted:
            submission = challenge.submissions[place]
            self._parts.router.received(submission, news, challenge.country, challenge.subject)
        return True

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
