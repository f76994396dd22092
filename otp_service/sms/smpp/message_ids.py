"""The message of a receipt: an SMSC knows only its own ids, and writes them in two ways.

Many give an id in hexadecimal in the response and in decimal in the receipt, or the reverse. An id
that matches only in the other base counts only if the number matches too: the decimal 16 of one
message is the hexadecimal 10 of another. The same goes for a receipt that its text alone shows to be
one, which a person could have written.

A process knows its own messages at once. An SMSC sends a receipt over any of our sessions, also
after a restart, so all processes share their ids (core.ports.MessageIdIndex).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from otp_service.core.ports import MessageIdIndex, MessageIdRecord
from otp_service.sms.smpp.delivery_receipts import SmppReceipt


logger = logging.getLogger(__name__)

MAX_KNOWN_MESSAGES: Final = 20_000
"""Messages that one process keeps; about ten minutes at thirty a second."""

SUFFIX_DIGITS: Final = 4
"""The end of a number, which is the same in every format."""


class ReceiptMatch(NamedTuple):
    """The message of a receipt."""

    reference: str
    """Our reference of its submission; empty for an unknown message."""
    mismatch: Literal["", "unknown id", "another number"] = ""
    """Why it is unknown, for the log."""


class ReceiptMatcher:
    """The messages of one provider, without their whole numbers and their texts.

    `shared_index` is common to all processes, if there is one; without Redis the receipts of other
    processes' messages are lost.
    """

    def __init__(
        self,
        provider: str,
        shared_index: MessageIdIndex | None = None,
        max_messages: int = MAX_KNOWN_MESSAGES,
    ) -> None:
        self._provider = provider
        self._shared_index = shared_index
        self._max_messages = max_messages
        self._records: OrderedDict[str, MessageIdRecord] = OrderedDict()
        self._share_tasks: set[asyncio.Task[None]] = set()

    def record_message(self, message_id: str, reference: str, number: str) -> None:
        """Record the id of a message, and share it in the background."""
        name = _normalize_id(message_id)
        record = MessageIdRecord(reference, number[-SUFFIX_DIGITS:])
        self._records[name] = record
        while len(self._records) > self._max_messages:
            self._records.popitem(last=False)
        if self._shared_index:
            sharing = self._share_record(self._shared_index, name, record)
            task = asyncio.get_running_loop().create_task(sharing)
            self._share_tasks.add(task)
            task.add_done_callback(self._share_tasks.discard)

    async def match_receipt(self, smpp_receipt: SmppReceipt) -> ReceiptMatch:
        """Return our reference of the message, or why it is unknown.

        Raises StoreUnavailable if it is unknown here, and the index cannot be read.
        """
        candidates = await self._find_candidates(smpp_receipt.receipt.message_id)
        reference = _select_reference(candidates, smpp_receipt)
        if reference:
            return ReceiptMatch(reference)
        return ReceiptMatch("", "another number" if any(candidates) else "unknown id")

    async def aclose(self) -> None:
        """Wait until all records are shared."""
        await asyncio.gather(*self._share_tasks)

    async def _find_candidates(self, message_id: str) -> list[MessageIdRecord | None]:
        """Return the record of each form of an id; the form as received is first."""
        names = [_normalize_id(message_id), *_iter_other_bases(message_id)]
        local = [self._records.get(name) for name in names]
        if local[0] or not self._shared_index:
            return local
        shared = await self._shared_index.get_many(self._provider, names)
        return [own or other for own, other in zip(local, shared, strict=True)]

    async def _share_record(
        self, shared_index: MessageIdIndex, message_id: str, record: MessageIdRecord
    ) -> None:
        try:
            await shared_index.put(self._provider, message_id, record)
        except Exception as error:  # noqa: BLE001  # any error: the message was accepted
            # Its name only: its text may contain a number (R68).
            kind = type(error).__name__
            logger.warning("provider %s: a message id was not shared: %s", self._provider, kind)


def _select_reference(candidates: list[MessageIdRecord | None], smpp_receipt: SmppReceipt) -> str:
    exact, *other_bases = candidates
    if exact and smpp_receipt.is_typed:
        return exact.reference
    suffix, others = smpp_receipt.number[-SUFFIX_DIGITS:], [exact, *other_bases]
    matches = (each for each in others if each and suffix and each.number_suffix == suffix)
    return next((each.reference for each in matches), "")


def _normalize_id(message_id: str) -> str:
    return message_id.strip().lower().removeprefix("0x").lstrip("0")


def _iter_other_bases(message_id: str) -> Iterator[str]:
    plain = _normalize_id(message_id)
    if plain.isascii() and plain.isdigit():
        yield f"{int(plain):x}"
    try:
        yield str(int(plain, 16))
    except ValueError:
        return
