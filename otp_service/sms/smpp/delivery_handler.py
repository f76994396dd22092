"""Handles what an SMSC brings to the session of one provider: receipts, and messages from phones.

| deliver_sm or data_sm | handled as | otherwise |
|---|---|---|
| typed as a receipt, or with the text of one | a receipt with our reference | `unreadable` without an id or a state |
| of the default type | a message from a phone, once all its parts are there | `unreadable`; `incomplete` |
| of any other type | | `other` |

A receipt of an unknown message has no reference, is counted as `unknown`, and logged with the reason. Of
all of them the log has the form alone: never a text, a number or an id.
"""

import asyncio
import logging
from typing import Final

from msgspec.structs import replace

from otp_service.core.delivery import Receipt
from otp_service.sms.provider_callbacks import SkippedEvent
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.smpp.delivery_receipts import SmppReceipt, parse_receipt
from otp_service.sms.smpp.inbound_messages import MessagePart, parse_message_part
from otp_service.sms.smpp.message_ids import ReceiptMatcher
from otp_service.sms.smpp.message_parts import PartJoiner
from otp_service.sms.smpp.pdu_bodies import ShortMessage


logger = logging.getLogger(__name__)

EARLY_RECEIPT_SECONDS: Final = 1.0
"""How long to wait for the id of a receipt's message, in the answer or from another process."""


class SmppDeliveryHandler:
    """The receipts and messages of one provider in one process. Used in one event loop only."""

    def __init__(
        self, provider: str, dependencies: ProviderDependencies, matcher: ReceiptMatcher
    ) -> None:
        self._provider = provider
        self._on_receipt = dependencies.on_receipt
        self._on_inbound = dependencies.on_inbound
        self._count_skipped_event = dependencies.count_skipped_event
        self._matcher = matcher
        self._joiner = PartJoiner()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._message_lock = asyncio.Lock()
        """Keeps messages in order: an SMSC that had no session brings a STOP and the START after it at once."""

    async def handle_delivery(self, short_message: ShortMessage | None) -> None:
        """Handle a deliver_sm or data_sm; None is one with an invalid body.

        Raises what the service raises: the SMSC has to repeat it.
        """
        delivery = _parse_delivery(short_message) if short_message else SkippedEvent.UNREADABLE
        match delivery:
            case SmppReceipt():
                await self._handle_receipt(delivery)
            case MessagePart():
                await self._handle_message(delivery)
            case SkippedEvent():
                self._count_skipped_event(self._provider, delivery)
                _log_skipped_event(self._provider, delivery, short_message)

    def close(self) -> None:
        """Drop incomplete messages: the rest of them would come to another process."""
        if self._expiry_timer:
            self._expiry_timer.cancel()
            self._expiry_timer = None
        self._count_dropped(self._joiner.drop_expired(float("inf")))

    async def _handle_receipt(self, smpp_receipt: SmppReceipt) -> None:
        match = await self._matcher.match_receipt(smpp_receipt)
        if match.mismatch:
            await asyncio.sleep(EARLY_RECEIPT_SECONDS)
            match = await self._matcher.match_receipt(smpp_receipt)
        if match.mismatch:
            text = "provider %s: a receipt of an unknown message: %s, status %s"
            status = smpp_receipt.receipt.status
            logger.warning(text, self._provider, match.mismatch, status)
        receipt: Receipt = replace(smpp_receipt.receipt, reference=match.reference)
        await self._on_receipt(self._provider, receipt)

    async def _handle_message(self, part: MessagePart) -> None:
        """Handle a message; a part is only stored, unless it is the last one."""
        joined = self._joiner.add_part(part, asyncio.get_running_loop().time())
        self._count_dropped(joined.dropped_count)
        self._schedule_expiry()
        if joined.text is not None:
            message = replace(part.message, text=joined.text)
            async with self._message_lock:
                await self._on_inbound(self._provider, message)
            self._joiner.discard_message(part)

    def _schedule_expiry(self) -> None:
        """Drop the oldest message when its time is over, also if no other one arrives."""
        deadline = self._joiner.next_deadline
        if deadline is not None and self._expiry_timer is None:
            loop = asyncio.get_running_loop()
            self._expiry_timer = loop.call_at(deadline, self._drop_expired)

    def _drop_expired(self) -> None:
        self._expiry_timer = None
        self._count_dropped(self._joiner.drop_expired(asyncio.get_running_loop().time()))
        self._schedule_expiry()

    def _count_dropped(self, count: int) -> None:
        for _ in range(count):
            self._count_skipped_event(self._provider, SkippedEvent.INCOMPLETE)
        if count:
            text = "provider %s: long messages whose parts did not all arrive were dropped: %d"
            logger.info(text, self._provider, count)


def _parse_delivery(short_message: ShortMessage) -> SmppReceipt | MessagePart | SkippedEvent:
    """Return the receipt or the message; a receipt of any type is recognized first."""
    receipt = parse_receipt(short_message)
    return parse_message_part(short_message) if receipt is SkippedEvent.OTHER else receipt


def _log_skipped_event(
    name: str, skipped: SkippedEvent, short_message: ShortMessage | None
) -> None:
    """Log the form of what was skipped, and nothing of its text or its number."""
    if short_message is None:
        logger.warning("provider %s: a deliver_sm or data_sm has an invalid body", name)
        return
    level = logging.INFO if skipped is SkippedEvent.OTHER else logging.WARNING
    form = (short_message.esm_class, short_message.data_coding, sorted(short_message.tlvs)[:20])
    text = "provider %s: skipped as %s: esm_class %#04x, data_coding %#04x, optional parameters %s"
    logger.log(level, text, name, skipped, *form)
