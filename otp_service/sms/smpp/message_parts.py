"""Joins the parts of a long message from a phone.

Parts are kept in memory only, because texts are never stored. So parts of one message that the SMSC
sends over the sessions of different workers are not joined, nor those that arrive before and after a
restart: each worker drops what it has after five minutes, and counts it. That costs little, because a
keyword fits into one message: a phone sends parts only for a text of over 160 characters, or 70 in UCS-2.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from otp_service.sms.smpp.inbound_messages import MessagePart
from otp_service.sms.smpp.user_data import Segment


MAX_STORED_PARTS: Final = 1000
MAX_STORED_CHARS: Final = 100_000
"""Of all parts of one session; a part of a phone has at most 160, and its two numbers 15 each."""
MAX_PART_AGE_SECONDS: Final = 300.0
"""Since the first part of the message; an SMSC repeats a part within seconds."""

_MessageKey = tuple[str, str, str, int, int]


class JoinedText(NamedTuple):
    """What one more part leads to."""

    text: str | None
    """The whole text; None while a part is missing."""
    dropped_count: int = 0
    """Incomplete messages that were dropped, for their age or for lack of space."""


class _IncompleteMessage:
    """The parts of a message so far."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.texts: dict[int, str] = {}

    def join_texts(self, total: int) -> str | None:
        if len(self.texts) < total:
            return None
        return "".join(self.texts[number] for number in sorted(self.texts))


class PartJoiner:
    """The incomplete messages of one session, oldest first. Times are in seconds, monotonic."""

    def __init__(
        self, max_parts: int = MAX_STORED_PARTS, max_chars: int = MAX_STORED_CHARS
    ) -> None:
        self._max_parts = max_parts
        self._max_chars = max_chars
        self._messages: OrderedDict[_MessageKey, _IncompleteMessage] = OrderedDict()
        self._part_count = self._char_count = 0

    @property
    def next_deadline(self) -> float | None:
        """When the oldest message has to be dropped; None without a message."""
        return next((each.deadline for each in self._messages.values()), None)

    def add_part(self, part: MessagePart, now: float) -> JoinedText:
        """Store a part, and return the text if it was the last one.

        The parts stay until `discard_message`, so that the last part can be repeated if its message
        could not be handled.
        """
        segment = part.segment
        if segment is None:
            return JoinedText(part.message.text)
        dropped_count = self.drop_expired(now)
        key = _build_key(part, segment)
        message = self._messages.setdefault(key, _IncompleteMessage(now + MAX_PART_AGE_SECONDS))
        self._count_part(key, message.texts.get(segment.number), -1)
        message.texts[segment.number] = part.message.text
        self._count_part(key, part.message.text, 1)
        text = message.join_texts(segment.total)
        return JoinedText(text, dropped_count + self._drop_excess())

    def discard_message(self, part: MessagePart) -> None:
        """Forget the message of this part, which was handled."""
        if part.segment:
            self._remove_message(_build_key(part, part.segment))

    def drop_expired(self, now: float) -> int:
        """Drop the messages that are too old; return how many."""
        dropped_count = 0
        while (deadline := self.next_deadline) is not None and deadline <= now:
            self._remove_message(next(iter(self._messages)))
            dropped_count += 1
        return dropped_count

    def _drop_excess(self) -> int:
        dropped_count = 0
        while self._part_count > self._max_parts or self._char_count > self._max_chars:
            self._remove_message(next(iter(self._messages)))
            dropped_count += 1
        return dropped_count

    def _remove_message(self, key: _MessageKey) -> None:
        message = self._messages.pop(key, None)
        for text in message.texts.values() if message else ():
            self._count_part(key, text, -1)

    def _count_part(self, key: _MessageKey, text: str | None, sign: int) -> None:
        """Add a part to the totals, or subtract it; its message's numbers are part of its size."""
        if text is not None:
            self._part_count += sign
            self._char_count += sign * (len(text) + len(key[0]) + len(key[1]))


def _build_key(part: MessagePart, segment: Segment) -> _MessageKey:
    message = part.message
    return (message.sender, message.receiver, segment.scheme, segment.reference, segment.total)
