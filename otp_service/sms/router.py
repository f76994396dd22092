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
    Accepted,
    Fault,
    Message,
    Receipt,
    RefusalScope,
    Refused,
    Reply,
    Submission,
)
from otp_service.core.ports import MessageIdIndex
from otp_service.sms.provider_health import (
    LATE_DELIVERY_MS,
    HealthEvent,
    ProviderHealth,
    health_events_from_replies,
)
from otp_service.sms.routes import Routes, draw_provider_order


logger = logging.getLogger(__name__)

SEND_DEADLINE_SECONDS = 8.0
"""Seconds for one send, whatever its providers do; the caller's patience has to be longer."""
MIN_SUBMISSION_SECONDS = 0.1
"""Seconds that have to be left for another one: with fewer its silence would only be ours."""
MAX_SUBMISSIONS = 3
"""Each may be billed, so one send cannot become many messages (R26)."""


RECEIPT_SCORES = {"delivered": 1.0, "temporary-failure": 0.25, "technical-failure": 0.0}
"""What a receipt says of its provider. The number's own fault says nothing."""


class SmsProvider(Protocol):
    """A provider, ready to be used; one that raises is answered for by the router."""

    @property
    def name(self) -> str:
        """The name that the settings give it; it stands in events and callback addresses."""

    async def send(self, message: Message) -> Accepted | Refused:
        """Hand the message to the provider, and tell what became of it."""

    async def aclose(self) -> None:
        """Give up what this provider alone holds."""


async def _ignore_receipt(_: str, __: Receipt) -> None:
    """Do nothing: nobody wants to hear of receipts."""


class ProviderDependencies(msgspec.Struct, frozen=True):
    """What providers are given of the outside, the same for all of them."""

    transport: httpx.AsyncBaseTransport
    now: Callable[[], int]
    """Milliseconds since 1970."""
    on_receipt: Callable[[str, Receipt], Awaitable[None]] = _ignore_receipt
    """Takes what comes to the provider of this name over a connection of its own, and is trusted."""
    message_ids: MessageIdIndex | None = None
    """For such a provider, which knows only its own names; None where nobody waits for receipts."""


class RouterEnvironment(msgspec.Struct, frozen=True):
    """What the router is given of the world."""

    clock: Callable[[], float]
    """Seconds, monotonic."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    random_float: Callable[[], float]
    """From 0 to 1."""
    pseudonymize: Callable[[str], str]
    """What is remembered of a number, in place of the number."""
    build_callback_url: Callable[[str, str], str | None] = lambda *_: None
    """Where a provider is to bring the receipts for a reference, if anywhere."""


class LocalProviderHealth:
    """One process's view: what all have learnt until the last exchange, and it alone since then."""

    def __init__(self) -> None:
        self.health = ProviderHealth()
        self.unshared_events: list[HealthEvent] = []
        """What the others have not heard of yet."""

    def record_events(self, events: Sequence[HealthEvent]) -> None:
        """Remember at once, and tell the others at the next exchange; not that all is well."""
        for one in events:
            after, _ = self.health.apply_events([one])
            if after is not self.health:
                self.health = after
                self.unshared_events.append(one)

    def merge_shared_health(self, shared_health: ProviderHealth, shared_count: int) -> None:
        """Take over what all know now, in which the first `told` of what was new are."""
        del self.unshared_events[:shared_count]
        self.health, _ = shared_health.apply_events(self.unshared_events)


class ProviderRouter:
    """Sends a message through the first of its route's providers that takes it."""

    def __init__(  # noqa: PLR0913  # what it is made of, once
        self,
        providers: Sequence[SmsProvider],
        routes: Routes,
        health: LocalProviderHealth,
        *,
        environment: RouterEnvironment,
        deadline_seconds: float = SEND_DEADLINE_SECONDS,
        max_submissions: int = MAX_SUBMISSIONS,
    ) -> None:
        """Take the providers, the routes between them, and what is remembered of them."""
        self._providers = {sender.name: sender for sender in providers}
        self._routes = routes
        self._health = health
        self._environment = environment
        self._deadline_seconds = deadline_seconds
        self._max_submissions = max_submissions

    @property
    def provider_names(self) -> tuple[str, ...]:
        """The names of the providers."""
        return tuple(self._providers)

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Return every submission that was made, in order; the last decides."""
        outside, began = self._environment, self._environment.clock()
        walk: list[tuple[Submission, Reply]] = []
        for place, name in enumerate(
            self._order_providers(message)[: self._max_submissions], start=1
        ):
            if walk and self._deadline_seconds - (outside.clock() - began) < MIN_SUBMISSION_SECONDS:
                break
            walk.append(await self._submit_message(self._providers[name], message, began, place))
            made, _ = walk[-1]
            if made.outcome == "accepted" or made.fault is Fault.RECIPIENT:
                break
        self._record_replies(message, walk)
        return tuple(made for made, _ in walk)

    async def send_via(self, provider_name: str, message: Message) -> Submission:
        """Send through the provider of this name and no other; LookupError if there is none."""
        if provider_name not in self._providers:
            raise LookupError(
                f"no SMS provider is called {provider_name!r}; there is {self.provider_names}"
            )
        made, _ = await self._submit_message(
            self._providers[provider_name], message, self._environment.clock(), 1
        )
        return made

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        """Let a trusted receipt say how good its provider is; `number` is a pseudonym."""
        now = self._environment.now()
        seen = health_event_from_receipt(
            receipt, submission.provider, country, number_pseudonym, now - submission.at, now
        )
        self._health.record_events([seen] if seen else [])

    async def aclose(self) -> None:
        """Close every provider."""
        for sender in self._providers.values():
            await sender.aclose()

    def _order_providers(self, message: Message) -> Sequence[str]:
        """Return the providers to try: by route and shares, and who is not well at the end."""
        now, chance, memory = (
            self._environment.now(),
            self._environment.random_float,
            self._health.health,
        )
        route = self._routes.find_route(message.to)
        order = draw_provider_order(
            route, lambda name, share: memory.compute_weight(name, share, now), chance
        )
        well = memory.order_providers(order, message.to.country, now, chance())
        return demote(well, message.failed_providers)

    def _record_replies(self, message: Message, exchanges: list[tuple[Submission, Reply]]) -> None:
        number = self._environment.pseudonymize(message.to.canonical)
        replies = [(made.provider, reply) for made, reply in exchanges]
        country, now = message.to.country, self._environment.now()
        self._health.record_events(health_events_from_replies(replies, country, number, now))

    async def _submit_message(
        self, provider: SmsProvider, message: Message, began: float, index: int
    ) -> tuple[Submission, Reply]:
        started = self._environment.clock()
        mine = message.for_submission(index)
        callback = self._environment.build_callback_url(provider.name, mine.reference)
        mine = msgspec.structs.replace(mine, callback_url=callback)
        reply = await _send_with_deadline(
            provider, mine, self._deadline_seconds - (started - began)
        )
        made = Submission.from_reply(
            provider.name,
            reply,
            at=_to_milliseconds(started - began),
            milliseconds=_to_milliseconds(self._environment.clock() - started),
        )
        return msgspec.structs.replace(made, ordinal=index), reply


def demote(order: Sequence[str], failed_providers: Sequence[str]) -> Sequence[str]:
    """Return the order with those at the end whose message the person did not get.

    Whoever asks for another code has waited for the first in vain.
    """
    return sorted(order, key=lambda name: name in failed_providers)


def health_event_from_receipt(  # noqa: PLR0913, PLR0917  # what a receipt is about
    receipt: Receipt, provider: str, country: str, number_pseudonym: str, delay_ms: int, now: int
) -> HealthEvent | None:
    """Return what a trusted receipt, so many milliseconds after the message, says of its provider."""
    good = RECEIPT_SCORES.get(receipt.status)
    if good is None:
        return None
    if receipt.status == "delivered" and delay_ms > LATE_DELIVERY_MS:
        good /= 2
    return HealthEvent(provider, country, now, "receipt", number_pseudonym, score=good)


async def _send_with_deadline(provider: SmsProvider, message: Message, seconds: float) -> Reply:
    """Return the provider's reply; one that never comes, or is an exception, is unknown."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await provider.send(message)
    except Exception as error:  # noqa: BLE001  # a provider's bug must not end the chain
        if limit.expired():
            return Refused(Fault.UNKNOWN, "deadline", scope=RefusalScope.SILENCE)
        # By its name only: the text of an exception may hold the number, the code or a key (R68).
        kind = type(error).__name__
        logger.error("provider %s raised %s", provider.name, kind)  # noqa: TRY400
        return Refused(Fault.UNKNOWN, "internal")


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
