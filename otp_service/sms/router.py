"""Walks the providers until one takes the message, within one deadline.

What comes back decides what is next:

    accepted           stop
    fault recipient    stop: every provider would refuse the number
    fault provider     nothing was sent: the next one
    fault unknown      it may have been sent: the next one, with the same text (R88, R89)
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import httpx
import msgspec

from otp_service.core.delivery import (
    About,
    Accepted,
    Fault,
    Message,
    Receipt,
    Refused,
    Reply,
    Submission,
)
from otp_service.core.ports import Submissions
from otp_service.sms.provider_health import SLOW, Memory, Observation, observations
from otp_service.sms.routes import Routes, drawn


logger = logging.getLogger(__name__)

DEADLINE = 8.0
"""Seconds for one send, whatever its providers do; the caller's patience has to be longer."""
SHORTEST = 0.1
"""Seconds that have to be left for another one: with fewer its silence would only be ours."""
MOST_SUBMISSIONS = 3
"""Each may be billed, so one send cannot become many messages (R26)."""


GOOD = {"delivered": 1.0, "temporary-failure": 0.25, "technical-failure": 0.0}
"""What a receipt says of its provider. The number's own fault says nothing."""


class Sender(Protocol):
    """A provider, ready to be used; one that raises is answered for by the router."""

    @property
    def name(self) -> str:
        """The name that the settings give it; it stands in events and callback addresses."""

    async def send(self, message: Message) -> Accepted | Refused:
        """Hand the message to the provider, and tell what became of it."""

    async def aclose(self) -> None:
        """Give up what this provider alone holds."""


async def _unheard(_: str, __: Receipt) -> None:
    """Do nothing: nobody wants to hear of receipts."""


class Tools(msgspec.Struct, frozen=True):
    """What providers are given of the outside, the same for all of them."""

    transport: httpx.AsyncBaseTransport
    now: Callable[[], int]
    """Milliseconds since 1970."""
    received: Callable[[str, Receipt], Awaitable[None]] = _unheard
    """Takes what comes to the provider of this name over a connection of its own, and is trusted."""
    submissions: Submissions | None = None
    """For such a provider, which knows only its own names; None where nobody waits for receipts."""


class Outside(msgspec.Struct, frozen=True):
    """What the router is given of the world."""

    clock: Callable[[], float]
    """Seconds, monotonic."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    chance: Callable[[], float]
    """From 0 to 1."""
    pseudonym: Callable[[str], str]
    """What is remembered of a number, in place of the number."""
    address: Callable[[str, str], str | None] = lambda *_: None
    """Where a provider is to bring the receipts for a reference, if anywhere."""


class Remembered:
    """One process's view: what all have learnt until the last exchange, and it alone since then."""

    def __init__(self) -> None:
        self.known = Memory()
        self.new: list[Observation] = []
        """What the others have not heard of yet."""

    def learn(self, observed: Sequence[Observation]) -> None:
        """Remember at once, and tell the others at the next exchange; not that all is well."""
        for one in observed:
            after, _ = self.known.after([one])
            if after is not self.known:
                self.known = after
                self.new.append(one)

    def exchanged(self, known: Memory, told: int) -> None:
        """Take over what all know now, in which the first `told` of what was new are."""
        del self.new[:told]
        self.known, _ = known.after(self.new)


class Router:
    """Sends a message through the first of its route's providers that takes it."""

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        senders: Sequence[Sender],
        routes: Routes,
        memory: Remembered,
        *,
        outside: Outside,
        deadline: float = DEADLINE,
        most: int = MOST_SUBMISSIONS,
    ) -> None:
        """Take the providers, the routes between them, and what is remembered of them."""
        self._senders = {sender.name: sender for sender in senders}
        self._routes = routes
        self._memory = memory
        self._outside = outside
        self._deadline = deadline
        self._most = most

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the providers."""
        return tuple(self._senders)

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Return every submission that was made, in order; the last decides."""
        outside, began = self._outside, self._outside.clock()
        walk: list[tuple[Submission, Reply]] = []
        for place, name in enumerate(self._order(message)[: self._most], start=1):
            if walk and self._deadline - (outside.clock() - began) < SHORTEST:
                break
            walk.append(await self._submit(self._senders[name], message, began, place))
            made, _ = walk[-1]
            if made.outcome == "accepted" or made.fault is Fault.RECIPIENT:
                break
        self._learn(message, walk)
        return tuple(made for made, _ in walk)

    async def submit_one(self, name: str, message: Message) -> Submission:
        """Send through the provider of this name and no other; LookupError if there is none."""
        if name not in self._senders:
            raise LookupError(f"no SMS provider is called {name!r}; there is {self.names}")
        made, _ = await self._submit(self._senders[name], message, self._outside.clock(), 1)
        return made

    def received(self, made: Submission, news: Receipt, country: str, number: str) -> None:
        """Let a trusted receipt say how good its provider is; `number` is a pseudonym."""
        now = self._outside.now()
        seen = learnt_from(news, made.provider, country, number, now - made.at, now)
        self._memory.learn([seen] if seen else [])

    async def aclose(self) -> None:
        """Close every provider."""
        for sender in self._senders.values():
            await sender.aclose()

    def _order(self, message: Message) -> Sequence[str]:
        """Return the providers to try: by route and shares, and who is not well at the end."""
        now, chance, memory = self._outside.now(), self._outside.chance, self._memory.known
        route = self._routes.to(message.to)
        order = drawn(route, lambda name, share: memory.weight(name, share, now), chance)
        well = memory.order(order, message.to.country, now, chance())
        return put_off(well, message.tried)

    def _learn(self, message: Message, walk: list[tuple[Submission, Reply]]) -> None:
        number = self._outside.pseudonym(message.to.collapsed)
        replies = [(made.provider, reply) for made, reply in walk]
        country, now = message.to.country, self._outside.now()
        self._memory.learn(observations(replies, country, number, now))

    async def _submit(
        self, sender: Sender, message: Message, began: float, place: int
    ) -> tuple[Submission, Reply]:
        started = self._outside.clock()
        mine = message.at(place)
        callback = self._outside.address(sender.name, mine.reference)
        mine = msgspec.structs.replace(mine, callback=callback)
        reply = await _bounded(sender, mine, self._deadline - (started - began))
        made = Submission.of(
            sender.name,
            reply,
            at=_milliseconds(started - began),
            milliseconds=_milliseconds(self._outside.clock() - started),
        )
        return msgspec.structs.replace(made, place=place), reply


def put_off(order: Sequence[str], tried: Sequence[str]) -> Sequence[str]:
    """Return the order with those at the end whose message the person did not get.

    Whoever asks for another code has waited for the first in vain.
    """
    return sorted(order, key=lambda name: name in tried)


def learnt_from(  # noqa: PLR0913, PLR0917  # what a receipt is about
    news: Receipt, provider: str, country: str, number: str, late: int, now: int
) -> Observation | None:
    """Return what a trusted receipt, so many milliseconds after the message, says of its provider."""
    good = GOOD.get(news.status)
    if good is None:
        return None
    if news.status == "delivered" and late > SLOW:
        good /= 2
    return Observation(provider, country, now, "receipt", number, good=good)


async def _bounded(sender: Sender, message: Message, seconds: float) -> Reply:
    """Return the provider's reply; one that never comes, or is an exception, is unknown."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await sender.send(message)
    except Exception as error:  # noqa: BLE001  # a provider's bug must not end the chain
        if limit.expired():
            return Refused(Fault.UNKNOWN, "deadline", about=About.SILENCE)
        # By its name only: the text of an exception may hold the number, the code or a key (R68).
        kind = type(error).__name__
        logger.error("provider %s raised %s", sender.name, kind)  # noqa: TRY400
        return Refused(Fault.UNKNOWN, "internal")


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
