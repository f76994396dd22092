"""The inbox of tests: a provider that stores messages, for a person or a test to read.

It accepts every message, except where `inbox_outcomes` has another outcome for the number.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused, SubmissionReference
from otp_service.core.errors import OtpError
from otp_service.core.ports import InboxMessage, MessageInbox
from otp_service.core.pumping.prices import Money
from otp_service.core.timestamps import SECOND_MS
from otp_service.sms.providers.inbox_outcomes import (
    RECEIPT_DELAY_SECONDS,
    InboxOutcome,
    find_outcome,
)
from otp_service.sms.router import ProviderDependencies


class Inbox(msgspec.Struct, frozen=True, tag_field="type", tag="inbox", forbid_unknown_fields=True):
    """The settings of the inbox."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    prices: dict[str, Money] = {}
    """What one message would cost, by country."""

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> "InboxProvider":
        """Return the provider. Without `dependencies.inbox` it stores nothing, as in live mode."""
        return InboxProvider(name, dependencies, keep=self.keep)

    def find_errors(self) -> list[tuple[str, str]]:
        """Return nothing: `settings.mode_rules` decides where an inbox is allowed."""
        return []


class InboxProvider:
    """The inbox as a provider. Its messages contain codes, so no live service has one (R38)."""

    def __init__(
        self,
        name: str,
        dependencies: ProviderDependencies,
        *,
        keep: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self._inbox = dependencies.inbox
        self._now = dependencies.now
        self._on_receipt = dependencies.on_receipt
        self._keep = keep
        self._sleep = sleep
        self._receipt_tasks: set[asyncio.Task[None]] = set()

    async def send(self, message: Message) -> Accepted | Refused:
        """Store the message; the oldest is dropped when there are more than `keep`.

        Raises StoreUnavailable: the router then assumes that it may have been sent.
        """
        if self._inbox is None:
            return Accepted(message.reference)
        reference = SubmissionReference.parse(message.reference)
        outcome = find_outcome(message.to.e164, reference.send if reference else 1)
        if outcome.arrives:
            await self._store_message(self._inbox, message, outcome.arrival_seconds)
        if outcome.reply_seconds:
            await self._sleep(outcome.reply_seconds)
        self._start_receipt(message.reference, outcome)
        return outcome.refusal or Accepted(message.reference)

    async def aclose(self) -> None:
        """Drop the receipts that were not reported; the messages end by themselves."""
        for task in self._receipt_tasks:
            task.cancel()
        await asyncio.gather(*self._receipt_tasks, return_exceptions=True)

    async def _store_message(
        self, inbox: MessageInbox, message: Message, arrival_seconds: int
    ) -> None:
        """Store the message with the instant at which it arrives, from which the inbox lists it."""
        arrives_at = self._now() + arrival_seconds * SECOND_MS
        stored = InboxMessage(message.to.e164, message.text, self.name, message.tenant, arrives_at)
        await inbox.add(stored, max_messages=self._keep)

    def _start_receipt(self, reference: str, outcome: InboxOutcome) -> None:
        """Report the receipt of the outcome later, as a provider with a connection of its own does."""
        if outcome.receipt_status is None:
            return
        receipt = Receipt(outcome.receipt_status, reference, reason=outcome.receipt_reason)
        task = asyncio.create_task(self._report_receipt(receipt))
        self._receipt_tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._receipt_tasks.discard)

    async def _report_receipt(self, receipt: Receipt) -> None:
        await self._sleep(RECEIPT_DELAY_SECONDS)
        with suppress(OtpError):  # without Redis it is lost, as a provider's would be
            await self._on_receipt(self.name, receipt)
