"""A scan of the entries that Redis still has in several partitions, newest first."""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from otp_service.core.log_entry import Entry, StreamPosition


MIN_READ_ENTRIES, MAX_READ_ENTRIES = 4, 256
"""Entries that one read asks of each partition; the number doubles with each read."""

MAX_READ_ENTRIES_TOTAL = 1024
"""Entries of all partitions in one read, at most: the process does nothing else meanwhile."""

MIN_POSITION, MAX_POSITION = StreamPosition(0, 0), StreamPosition(2**64 - 1, 2**64 - 1)


class EventStreams(Protocol):
    async def fetch_newest(
        self, before: Mapping[int, StreamPosition], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return the newest entries of each partition before its position.

        Fewer than `count` of a partition mean that it has no more since `since` (milliseconds
        since 1970). Raises StoreUnavailable.
        """


class StreamScan:
    """Merges the entries of several partitions, newest first.

    `positions` holds the last position that was read of each partition; the next entry is before
    it. Each partition is read until its first entry with `is_stop_entry`, which is in the archive or
    was read earlier. `empty_partition_position` is the position of a partition without entries.
    `was_read_before` means that an earlier page has read all partitions.
    """

    def __init__(  # noqa: PLR0913  # its start and its end
        self,
        streams: EventStreams,
        positions: dict[int, StreamPosition],
        *,
        since: int = 0,
        count: int,
        is_stop_entry: Callable[[Entry], bool] = lambda _: False,
        empty_partition_position: StreamPosition = MIN_POSITION,
        was_read_before: bool = False,
    ) -> None:
        self.positions = positions
        self._streams = streams
        self._since = since
        self._is_stop_entry = is_stop_entry
        self._empty_partition_position = empty_partition_position
        self._count = max(MIN_READ_ENTRIES, 2 * count // max(1, len(positions)))
        self._buffers: dict[int, deque[Entry]] = {p: deque() for p in positions}
        unread = {p for p, position in positions.items() if position > MIN_POSITION}
        self._unread_partitions = set() if was_read_before else unread
        self._is_fetch_due = bool(self._unread_partitions)
        self._head_heap: list[tuple[int, int, int]] = []

    async def peek(self) -> Entry | None:
        """Return the entry that `read_next` returns next. Raises StoreUnavailable."""
        if self._is_fetch_due:
            await self._fetch_entries()
            self._is_fetch_due = False
        return self._buffers[-self._head_heap[0][1]][0] if self._head_heap else None

    async def read_next(self) -> Entry | None:
        """Return the next entry, or None after the last. Raises StoreUnavailable."""
        if await self.peek() is None:
            return None
        partition = -heapq.heappop(self._head_heap)[1]
        waiting = self._buffers[partition]
        entry = waiting.popleft()
        self.positions[partition] = entry.position
        # Until more of this partition is read, its next entry may be the newest of all.
        self._is_fetch_due = not waiting and partition in self._unread_partitions
        self._push_head(partition)
        return entry

    def is_exhausted(self) -> bool:
        return not self._head_heap and not self._unread_partitions

    async def _fetch_entries(self) -> None:
        """Read more of every partition whose buffer is low, in one call."""
        low = [p for p in self._unread_partitions if len(self._buffers[p]) <= self._count // 4]
        fair_share = max(MIN_READ_ENTRIES, MAX_READ_ENTRIES_TOTAL // len(low))
        count = min(self._count, MAX_READ_ENTRIES, fair_share)
        before = {
            p: self._buffers[p][-1].position if self._buffers[p] else self.positions[p] for p in low
        }
        found = await self._streams.fetch_newest(before, since=self._since, count=count)
        for partition in low:
            entries = found.get(partition, [])
            if len(entries) < count:
                self._unread_partitions.discard(partition)
            self._add_entries(partition, entries)
        self._count = count * 2

    def _add_entries(self, partition: int, entries: Sequence[Entry]) -> None:
        waiting = self._buffers[partition]
        is_first = not waiting
        end = next((i for i, entry in enumerate(entries) if self._is_stop_entry(entry)), None)
        if end is not None:
            self._unread_partitions.discard(partition)
        waiting.extend(entries[:end])
        if is_first:
            # An entry that is appended later is on no page.
            newest = self._empty_partition_position
            if entries:
                at, sequence = entries[0].position
                newest = StreamPosition(at, min(sequence + 1, MAX_POSITION.sequence))
            self.positions[partition] = min(self.positions[partition], newest)
            self._push_head(partition)

    def _push_head(self, partition: int) -> None:
        if self._buffers[partition]:
            at, sequence = self._buffers[partition][0].position
            heapq.heappush(self._head_heap, (-at, -partition, -sequence))
