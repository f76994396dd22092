"""Which message a receipt is about: centres know only their own ids, and write them in two ways.

Many give an id in hexadecimal when they take a message and in decimal in its receipt, or the other
way round. An id that is found so, and not as it stands, counts only if the number is right too:
the decimal 16 of one message is the hexadecimal 10 of another.

What this process has sent it knows at once. A centre brings a receipt over any of our sessions, and
maybe after a restart, so all processes tell each other (core.ports.Submissions).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from otp_service.core.delivery import Receipt
from otp_service.core.ports import MessageIdIndex, MessageIdRecord
from otp_service.sms.smpp.delivery_receipts import SmppReceipt


logger = logging.getLogger(__name__)

MAX_KNOWN_MESSAGES: Final = 20_000
"""Messages that one process knows by itself; some ten minutes at thirty a second."""


class ReceiptMatcher:
    """The messages of one provider; not their numbers in full, nor their texts.

    `shared` is what all processes know, if they do; Redis in doubt costs what the others would
    have heard.
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
        """Note the id of a message at once, and tell the others soon; nobody waits for that."""
        name, submitted = (
            _normalize_id(message_id),
            MessageIdRecord(reference, _extract_suffix(number)),
        )
        self._records[name] = submitted
        while len(self._records) > self._max_messages:
            self._records.popitem(last=False)
        if self._shared_index:
            task = asyncio.get_running_loop().create_task(
                self._share_record(self._shared_index, name, submitted)
            )
            self._share_tasks.add(task)
            task.add_done_callback(self._share_tasks.discard)

    async def match_receipt(self, smpp_receipt: SmppReceipt) -> Receipt:
        """Return the receipt with our reference, or without one if the message is not known.

        Raises StoreUnavailable if it is not known here, and nobody else can be asked.
        """
        known = await self._find_candidates(smpp_receipt.receipt.message_id)
        return replace(
            smpp_receipt.receipt, reference=_select_reference(known, smpp_receipt.number)
        )

    async def aclose(self) -> None:
        """Finish telling the others."""
        await asyncio.gather(*self._share_tasks)

    async def _find_candidates(self, message_id: str) -> list[MessageIdRecord | None]:
        """Return what is known under each form of an id, as it stands first."""
        names = [_normalize_id(message_id), *_iter_other_bases(message_id)]
        here = [self._records.get(name) for name in names]
        if here[0] or not self._shared_index:
            return here
        shared = await self._shared_index.get_many(self._provider, names)
        return [mine or others for mine, others in zip(here, shared, strict=True)]

    async def _share_record(
        self, shared_index: MessageIdIndex, message_id: str, record: MessageIdRecord
    ) -> None:
        try:
            await shared_index.put(self._provider, message_id, record)
        except Exception as error:  # noqa: BLE001  # whatever it is, the message has been taken
            # By its name only: its text may hold a number (R68).
            kind = type(error).__name__
            logger.warning("provider %s: a message could not be noted: %s", self._provider, kind)


def _select_reference(candidates: list[MessageIdRecord | None], number: str) -> str:
    as_it_stands, *other_forms = candidates
    if as_it_stands:
        return as_it_stands.reference
    for one in other_forms:
        if one and one.number_suffix and one.number_suffix == _extract_suffix(number):
            return one.reference
    return ""


def _normalize_id(message_id: str) -> str:
    return message_id.strip().lower().removeprefix("0x").lstrip("0")


def _extract_suffix(number: str) -> str:
    """Return the end of a number, which is the same however it is written."""
    return number[-4:]


def _iter_other_bases(message_id: str) -> Iterator[str]:
    plain = _normalize_id(message_id)
    if plain.isascii() and plain.isdigit():
        yield f"{int(plain):x}"
    try:
        yield str(int(plain, 16))
    except ValueError:
        return
