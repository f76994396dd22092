"""The router: tries providers until one accepts the message, within one deadline.

accepted           stop
fault recipient    stop: every provider would refuse the number, unless this one refuses every
                   number lately (recipient_refusals.py)
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
from otp_service.core.inbound import InboundMessage
from otp_service.core.ports import MessageIdIndex, MessageInbox
from otp_service.sms.provider_health import (
    LATE_DELIVERY_MS,
    HealthEvent,
    ProviderHealth,
    health_events_from_replies,
)
from otp_service.sms.recipient_refusals import is_number_refusal
from otp_service.sms.routes import Routes, draw_provider_order


logger = logging.getLogger(__name__)

SEND_DEADLINE_SECONDS = 8.0
"""For one send with all its providers; the timeout of the caller has to be longer."""
MIN_SUBMISSION_SECONDS = 0.1
"""The least time for another submission: with less, its silence would prove nothing."""
MAX_SUBMISSIONS = 3
"""Each may be billed, so one send cannot become many messages (R26)."""

RECEIPT_SCORES = {"delivered": 1.0, "temporary-failure": 0.25, "technical-failure": 0.0}
"""For the quality of its provider; a permanent failure, the number's fault, has no score."""


class SmsProvider(Protocol):
    """A provider; the router turns an exception of it into an unknown submission."""

    @property
    def name(self) -> str:
        """Its name in the settings, in events and in callback addresses."""

    async def send(self, message: Message) -> Accepted | Refused:
        """Submit the message, and return the reply."""

    async def aclose(self) -> None:
        """Release the resources of this provider alone."""


async def _ignore_part(_: str, __: Receipt | InboundMessage) -> None:
    """Drop a receipt or a message, where nothing handles them (`send-test`)."""


class ProviderDependencies(msgspec.Struct, frozen=True):
    """What every provider is built with."""

    transport: httpx.AsyncBaseTransport
    now: Callable[[], int]
    """Milliseconds since 1970."""
    on_receipt: Callable[[str, Receipt], Awaitable[None]] = _ignore_part
    """Handles a trusted receipt that came over the connection of the provider of this name."""
    on_inbound: Callable[[str, InboundMessage], Awaitable[None]] = _ignore_part
    """Handles a message from a phone that came over it."""
    message_ids: MessageIdIndex | None = None
    """For such a provider, whose receipts have only its own ids; None where receipts are ignored."""
    inbox: MessageInbox | None = None
    """For the provider `inbox`; None in live mode, and where messages are dropped (`send-test`)."""
    count_skipped_event: Callable[[str, str], None] = lambda *_: None
    """Counts what came over it instead of a receipt; see `telemetry.labels.CALLBACK_REASONS`."""


class RouterEnvironment(msgspec.Struct, frozen=True):
    """The clocks, chance and key that the router needs."""

    clock: Callable[[], float]
    """Seconds, monotonic."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    random_float: Callable[[], float]
    """From 0 to 1."""
    pseudonymize: Callable[[str], str]
    """Returns what is stored in place of a number."""
    build_callback_url: Callable[[str, str], str | None] = lambda *_: None
    """Returns the address for receipts, from provider and reference; None without one."""


class LocalProviderHealth:
    """The health in one process: the shared value of the last exchange, and its own events since."""

    def __init__(self) -> None:
        self.health = ProviderHealth()
        self.unshared_events: list[HealthEvent] = []

    def record_events(self, events: Sequence[HealthEvent]) -> None:
        """Apply events at once and keep them for the next exchange, except without a change."""
        for event in events:
            after, _ = self.health.apply_events([event])
            if after is not self.health:
                self.health = after
                self.unshared_events.append(event)

    def merge_shared_health(self, shared_health: ProviderHealth, shared_count: int) -> None:
        """Replace the shared value, which includes the first `shared_count` events of this process."""
        del self.unshared_events[:shared_count]
        self.health, _ = shared_health.apply_events(self.unshared_events)


class ProviderRouter:
    """Sends a message through the first provider of its route that accepts it."""

    def __init__(  # noqa: PLR0913  # its collaborators, once
        self,
        providers: Sequence[SmsProvider],
        routes: Routes,
        health: LocalProviderHealth,
        *,
        environment: RouterEnvironment,
        deadline_seconds: float = SEND_DEADLINE_SECONDS,
        max_submissions: int = MAX_SUBMISSIONS,
    ) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._routes = routes
        self._health = health
        self._environment = environment
        self._deadline_seconds = deadline_seconds
        self._max_submissions = max_submissions

    @property
    def provider_names(self) -> tuple[str, ...]:
        return tuple(self._providers)

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Return all submissions in order; the last one decides."""
        clock, began = self._environment.clock, self._environment.clock()
        exchanges: list[tuple[Submission, Reply]] = []
        names = self._order_providers(message)[: self._max_submissions]
        for ordinal, name in enumerate(names, start=1):
            if exchanges and self._deadline_seconds - (clock() - began) < MIN_SUBMISSION_SECONDS:
                break
            provider = self._providers[name]
            submission, reply = await self._submit_message(provider, message, began, ordinal)
            if is_number_refusal(reply) and not self._is_believed(message, name, exchanges):
                blamed = {"fault": Fault.PROVIDER, "scope": RefusalScope.ACCOUNT}
                submission = msgspec.structs.replace(submission, **blamed)
            exchanges.append((submission, reply))
            if submission.outcome == "accepted" or submission.fault is Fault.RECIPIENT:
                break
        exchanges = confirm_number_refusals(exchanges)
        self._record_replies(message, exchanges)
        return tuple(submission for submission, _ in exchanges)

    async def send_via(self, name: str, message: Message) -> Submission:
        """Send through the provider of this name and no other. Raises LookupError."""
        if name not in self._providers:
            raise LookupError(f"no SMS provider is called {name!r}; there is {self.provider_names}")
        provider, began = self._providers[name], self._environment.clock()
        submission, _ = await self._submit_message(provider, message, began, 1)
        return submission

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        """Update the quality of the provider from a trusted receipt."""
        now = self._environment.now()
        event = health_event_from_receipt(
            receipt, submission.provider, country, number_pseudonym, now - submission.at, now
        )
        self._health.record_events([event] if event else [])

    async def aclose(self) -> None:
        for provider in self._providers.values():
            await provider.aclose()

    def _order_providers(self, message: Message) -> Sequence[str]:
        """Return the providers to try: by route and shares, unhealthy and failed ones last."""
        health, now = self._health.health, self._environment.now()
        random_float, route = self._environment.random_float, self._routes.find_route(message.to)

        def compute_weight(name: str, share: float) -> float:
            return health.compute_weight(name, share, now)

        order = draw_provider_order(route, compute_weight, random_float)
        healthy_first = health.order_providers(order, message.to.country, now, random_float())
        return demote(healthy_first, message.failed_providers)

    def _is_believed(
        self, message: Message, name: str, exchanges: Sequence[tuple[Submission, Reply]]
    ) -> bool:
        """Whether this provider is believed that the number is unreachable; two that agree are."""
        if any(is_number_refusal(reply) for _, reply in exchanges):
            return True
        number, country = self._environment.pseudonymize(message.to.canonical), message.to.country
        run, now = self._health.health.get_unreachable_run(name, country), self._environment.now()
        is_believed = run.is_believed(number, now)
        if not is_believed and not run.is_full(now):  # once a run
            logger.warning(
                "provider %s calls every number in %s unreachable, and is not believed: check its "
                "sender and its account",
                *(name, country),
            )
        return is_believed

    def _record_replies(self, message: Message, exchanges: list[tuple[Submission, Reply]]) -> None:
        number = self._environment.pseudonymize(message.to.canonical)
        country, now = message.to.country, self._environment.now()
        replies = [(each.provider, reply_as_judged(each, reply)) for each, reply in exchanges]
        unreachable = [
            HealthEvent(submission.provider, country, now, "unreachable", number)
            for submission, reply in exchanges
            if is_number_refusal(reply)
        ]
        events = health_events_from_replies(replies, country, number, now)
        self._health.record_events([*events, *unreachable])

    async def _submit_message(
        self, provider: SmsProvider, message: Message, began: float, ordinal: int
    ) -> tuple[Submission, Reply]:
        started = self._environment.clock()
        message = message.for_submission(ordinal)
        callback = self._environment.build_callback_url(provider.name, message.reference)
        message = msgspec.structs.replace(message, callback_url=callback)
        seconds = self._deadline_seconds - (started - began)
        reply = await _send_with_deadline(provider, message, seconds)
        submission = Submission.from_reply(
            provider.name,
            reply,
            at=_to_milliseconds(started - began),
            milliseconds=_to_milliseconds(self._environment.clock() - started),
        )
        return msgspec.structs.replace(submission, ordinal=ordinal), reply


def confirm_number_refusals(
    exchanges: list[tuple[Submission, Reply]],
) -> list[tuple[Submission, Reply]]:
    """Return the exchanges, with the recipient's fault of the first where another one agreed."""
    if sum(is_number_refusal(reply) for _, reply in exchanges) < 2:  # noqa: PLR2004  # two agree
        return exchanges
    recipient = {"fault": Fault.RECIPIENT, "scope": RefusalScope.MESSAGE}
    return [
        (msgspec.structs.replace(each, **recipient) if is_number_refusal(reply) else each, reply)
        for each, reply in exchanges
    ]


def reply_as_judged(submission: Submission, reply: Reply) -> Reply:
    """Return the reply with the fault of the submission.

    Its scope stays: it is a failure of the provider only if another one accepted the message.
    """
    if isinstance(reply, Refused) and submission.fault and submission.fault is not reply.fault:
        return msgspec.structs.replace(reply, fault=submission.fault)
    return reply


def demote(order: Sequence[str], failed_providers: Sequence[str]) -> Sequence[str]:
    """Return the order with the failed providers at the end.

    A person who asks for another code has not received the first.
    """
    return sorted(order, key=lambda name: name in failed_providers)


def health_event_from_receipt(  # noqa: PLR0913, PLR0917  # the data of a receipt
    receipt: Receipt, provider: str, country: str, number_pseudonym: str, delay_ms: int, now: int
) -> HealthEvent | None:
    """Return the event of a trusted receipt, `delay_ms` after its message; None without a score."""
    score = RECEIPT_SCORES.get(receipt.status)
    if score is None:
        return None
    if receipt.status == "delivered" and delay_ms > LATE_DELIVERY_MS:
        score /= 2
    return HealthEvent(provider, country, now, "receipt", number_pseudonym, score=score)


async def _send_with_deadline(provider: SmsProvider, message: Message, seconds: float) -> Reply:
    """Return the reply; unknown after the deadline or an exception."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await provider.send(message)
    except Exception as error:  # noqa: BLE001  # a provider's bug must not end the chain
        if limit.expired():
            return Refused(Fault.UNKNOWN, "deadline", scope=RefusalScope.SILENCE)
        # Its name only: the text of an exception may contain the number, the code or a key (R68).
        kind = type(error).__name__
        logger.error("provider %s raised %s", provider.name, kind)  # noqa: TRY400
        return Refused(Fault.UNKNOWN, "internal")


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
