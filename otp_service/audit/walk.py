"""Through the entries of several partitions, newest first, and where to go on another time.

A cursor holds every partition's position, fixed when its first page was read: what happens later
is on no later page, and what was there is on exactly one.
"""

import binascii
import heapq
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from otp_service.core.entry import Entry, Position
from otp_service.core.errors import InvalidRequest


FEWEST, MOST = 4, 256
"""Entries asked of each partition at once: twice as many each time."""

TOGETHER = 1024
"""Entries asked of all partitions at once, at most: this process does nothing else meanwhile."""

NEWEST = Position(2**64 - 1, 2**64 - 1)
"""Beyond every entry."""

ENDED = Position(0, 0)
"""Nothing is before this."""


class Streams(Protocol):
    """Where the entries are."""

    async def newest(
        self, before: Mapping[int, Position], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return the newest entries of each partition that stand before a position.

        Fewer than `count` of a partition are all that there are since `since` (milliseconds).
        Raises StoreUnavailable.
        """


class Walk:
    """Goes through the entries of several partitions, newest first.

    `positions` says, for each partition, before which entry its next one stands.
    """

    def __init__(
        self, streams: Streams, positions: dict[int, Position], *, since: int, count: int
    ) -> None:
        self.positions = positions
        self._streams = streams
        self._since = since
        self._count = max(FEWEST, 2 * count // max(1, len(positions)))
        self._read: dict[int, deque[Entry]] = {p: deque() for p in positions}
        self._unread = {p for p, position in positions.items() if position > ENDED}
        self._is_hungry = bool(self._unread)
        self._heads: list[tuple[int, int, int]] = []

    async def next(self) -> Entry | None:
        """Return the next entry, or None after the last. Raises StoreUnavailable."""
        if self._is_hungry:
            await self._fetch()
        if not self._heads:
            return None
        partition = -heapq.heappop(self._heads)[1]
        waiting = self._read[partition]
        entry = waiting.popleft()
        self.positions[partition] = entry.position
        # Until more is known of this partition, no other one's entry is the next.
        self._is_hungry = not waiting and partition in self._unread
        self._push(partition)
        return entry

    def is_over(self) -> bool:
        """Whether there is nothing more."""
        return not self._heads and not self._unread

    async def _fetch(self) -> None:
        """Read on wherever little is left, all at once."""
        low = [p for p in self._unread if len(self._read[p]) <= self._count // 4]
        count = min(self._count, MOST, max(FEWEST, TOGETHER // len(low)))
        before = {
            p: self._read[p][-1].position if self._read[p] else self.positions[p] for p in low
        }
        found = await self._streams.newest(before, since=self._since, count=count)
        for partition in low:
            entries = found.get(partition, [])
            if len(entries) < count:
                self._unread.discard(partition)
            self._take(partition, entries)
        self._count = count * 2

    def _take(self, partition: int, entries: Sequence[Entry]) -> None:
        waiting = self._read[partition]
        is_first = not waiting
        waiting.extend(entries)
        if is_first:
            # Whatever this partition is told later is behind us, on every page.
            self.positions[partition] = _after(waiting[0].position) if waiting else ENDED
            self._push(partition)

    def _push(self, partition: int) -> None:
        if self._read[partition]:
            at, sequence = self._read[partition][0].position
            heapq.heappush(self._heads, (-at, -partition, -sequence))


def _after(position: Position) -> Position:
    return Position(position.at, min(position.sequence + 1, NEWEST.sequence))


# ------------------------------------------------------------------------------------ the cursor

_VERSION = 1
_CURSOR = re.compile(r"[A-Za-z0-9_-]+")
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, int, int]]]).decode


def to_cursor(positions: Mapping[int, Position]) -> str:
    """Return the positions as text; it holds nothing else, and so nothing about anybody."""
    packed = _pack((_VERSION, [(p, *positions[p]) for p in sorted(positions)]))
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def from_cursor(cursor: str, partitions: Sequence[int]) -> dict[int, Position]:
    """Return the positions. Raises InvalidRequest unless they are of these partitions."""
    error = InvalidRequest(("cursor", "must be the `next` of a page with the same filters"))
    if not _CURSOR.fullmatch(cursor):
        raise error
    try:
        version, rows = _unpack(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, msgspec.MsgspecError):
        raise error from None
    is_id = all(min(row) >= 0 and max(row) < 2**64 for row in rows)
    if version != _VERSION or not is_id or [row[0] for row in rows] != list(partitions):
        raise error
    return {partition: Position(at, sequence) for partition, at, sequence in rows}
