"""Walks the providers until one takes the message, within one deadline.

What comes back decides what is next:

    accepted           stop
    fault recipient    stop: every provider would refuse the number
    fault provider     nothing was sent: the next one
    fault unknown      it may have been sent: the next one, with the same text (R88, R89)
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import httpx
import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, Refused, Reply, Submission


logger = logging.getLogger(__name__)

DEADLINE = 8.0
"""Seconds for one send, whatever its providers do; the caller's patience has to be longer."""
MOST_SUBMISSIONS = 3
"""Each may be billed, so one send cannot become many messages (R26)."""


class Sender(Protocol):
    """A provider, ready to be used; one that raises is answered for by the router."""

    @property
    def name(self) -> str:
        """The name that the settings give it; it stands in events and callback addresses."""

    async def send(self, message: Message) -> Accepted | Refused:
        """Hand the message to the provider, and tell what became of it."""

    async def aclose(self) -> None:
        """Give up what this provider alone holds."""


class Tools(msgspec.Struct, frozen=True):
    """What providers are given of the outside, the same for all of them."""

    transport: httpx.AsyncBaseTransport
    now: Callable[[], int]
    """Milliseconds since 1970."""


class Router:
    """Sends a message through the first of its providers that takes it."""

    def __init__(
        self,
        senders: Sequence[Sender],
        *,
        clock: Callable[[], float],
        address: Callable[[str, str], str | None] = lambda *_: None,
        deadline: float = DEADLINE,
        most: int = MOST_SUBMISSIONS,
    ) -> None:
        """Take the providers in their order, a monotonic clock in seconds, and receipts' `address`.

        That is where a provider is to bring the receipts for a reference, if anywhere.
        """
        self._senders = {sender.name: sender for sender in senders}
        if not senders or len(self._senders) < len(senders):
            raise ValueError("name at least one SMS provider, and each name once")
        self._clock = clock
        self._address = address
        self._deadline = deadline
        self._most = most

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the providers, in their order."""
        return tuple(self._senders)

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Return every submission that was made, in order; the last decides."""
        began = self._clock()
        made: list[Submission] = []
        for place, sender in enumerate(list(self._senders.values())[: self._most], start=1):
            if made and self._clock() - began >= self._deadline:
                break
            made.append(await self._submit(sender, message, began, place))
            if made[-1].outcome == "accepted" or made[-1].fault is Fault.RECIPIENT:
                break
        return tuple(made)

    async def submit_one(self, name: str, message: Message) -> Submission:
        """Send through the provider of this name and no other; LookupError if there is none."""
        if name not in self._senders:
            raise LookupError(f"no SMS provider is called {name!r}; there is {self.names}")
        return await self._submit(self._senders[name], message, self._clock(), 1)

    async def aclose(self) -> None:
        """Close every provider."""
        for sender in self._senders.values():
            await sender.aclose()

    async def _submit(
        self, sender: Sender, message: Message, began: float, place: int
    ) -> Submission:
        started = self._clock()
        mine = message.at(place)
        mine = msgspec.structs.replace(mine, callback=self._address(sender.name, mine.reference))
        reply = await _bounded(sender, mine, self._deadline - (started - began))
        made = Submission.of(
            sender.name,
            reply,
            at=_milliseconds(started - began),
            milliseconds=_milliseconds(self._clock() - started),
        )
        return msgspec.structs.replace(made, place=place)


async def _bounded(sender: Sender, message: Message, seconds: float) -> Reply:
    """Return the provider's reply; one that never comes, or is an exception, is unknown."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await sender.send(message)
    except Exception as error:  # noqa: BLE001  # a provider's bug must not end the chain
        if limit.expired():
            return Refused(Fault.UNKNOWN, "deadline")
        # By its name only: the text of an exception may hold the number, the code or a key (R68).
        kind = type(error).__name__
        logger.error("provider %s raised %s", sender.name, kind)  # noqa: TRY400
        return Refused(Fault.UNKNOWN, "internal")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
