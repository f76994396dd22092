"""Through the entries of several partitions that Redis still has, newest first."""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from otp_service.core.log_entry import Entry, Position


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


def nothing_is_behind(_: Entry) -> bool:
    """Say of no entry that everything from it on is to be found elsewhere."""
    return False


class Walk:
    """Goes through the entries of several partitions, newest first.

    `positions` says, for each partition, before which entry its next one stands; a partition ends
    at the first entry that `is_behind` is true of. `last` is where one stands that has none, and
    with `is_ended` that was found before.
    """

    def __init__(  # noqa: PLR0913  # where it begins and where it ends
        self,
        streams: Streams,
        positions: dict[int, Position],
        *,
        since: int = 0,
        count: int,
        is_behind: Callable[[Entry], bool] = nothing_is_behind,
        last: Position = ENDED,
        is_ended: bool = False,
    ) -> None:
        self.positions = positions
        self._streams = streams
        self._since = since
        self._is_behind = is_behind
        self._last = last
        self._count = max(FEWEST, 2 * count // max(1, len(positions)))
        self._read: dict[int, deque[Entry]] = {p: deque() for p in positions}
        unread = {p for p, position in positions.items() if position > ENDED}
        self._unread = set() if is_ended else unread
        self._is_hungry = bool(self._unread)
        self._heads: list[tuple[int, int, int]] = []

    async def peek(self) -> Entry | None:
        """Return the entry that `next` returns next. Raises StoreUnavailable."""
        if self._is_hungry:
            await self._fetch()
            self._is_hungry = False
        return self._read[-self._heads[0][1]][0] if self._heads else None

    async def next(self) -> Entry | None:
        """Return the next entry, or None after the last. Raises StoreUnavailable."""
        if await self.peek() is None:
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
        behind = next((i for i, one in enumerate(entries) if self._is_behind(one)), None)
        if behind is not None:
            self._unread.discard(partition)
        waiting.extend(entries[:behind])
        if is_first:
            # Whatever this partition is told later is behind us, on every page.
            newest = _after(entries[0].position) if entries else self._last
            self.positions[partition] = min(self.positions[partition], newest)
            self._push(partition)

    def _push(self, partition: int) -> None:
        if self._read[partition]:
            at, sequence = self._read[partition][0].position
            heapq.heappush(self._heads, (-at, -partition, -sequence))


def _after(position: Position) -> Position:
    return Position(position.at, min(position.sequence + 1, NEWEST.sequence))
