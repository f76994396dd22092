"""A scan of Redis and the archive as one log, newest first, each event once.

The archive has every entry of a partition up to its extent, so only younger entries are read from
Redis. Then the archive is read backward, in a thread, so that no request for a code waits for a
disk.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from otp_service.audit.query.archive_scan import ArchivedEntry, ScanItem
from otp_service.audit.query.page_cursor import FileOffset, PageCursor
from otp_service.audit.query.stream_scan import MAX_POSITION, StreamScan
from otp_service.core.log_entry import Entry


READ_CHUNK_ITEMS = 256
"""Entries or blocks that one call of the thread reads."""


class PageBudget(NamedTuple):
    """The work of one part of a page; the next part or page continues from there."""

    entries: int = 2000
    """20 us each, mostly to decode them."""
    blocks: int = 128
    """Blocks of the archive: 32 MiB, which take a tenth of a second."""
    seconds: float = 5.0
    """After so many seconds without an event, no further part is read."""


PAGE_BUDGET = PageBudget()
UNLIMITED_BUDGET = PageBudget(2**63, 2**63)


class ArchiveScanCursor:
    """Matching entries of the archive, newest first; all from `offset` on have been returned."""

    def __init__(
        self, items: Iterator[ScanItem], offset: FileOffset | None, max_blocks: int
    ) -> None:
        self.offset = offset
        self._items = items
        self._blocks_left = max_blocks
        self._buffer: deque[ScanItem] = deque()
        self._is_exhausted = False

    async def peek(self) -> ArchivedEntry | None:
        """Return the entry that `pop` removes next; None at the end, or after `max_blocks`."""
        while True:
            while self._buffer and self._buffer[0][1] is None:
                self.offset, _ = self._buffer.popleft()
            if self._buffer or self._is_exhausted or self._blocks_left <= 0:
                return self._buffer[0][1] if self._buffer else None
            count = min(READ_CHUNK_ITEMS, self._blocks_left)
            read = await asyncio.to_thread(list, islice(self._items, count))
            self._is_exhausted = len(read) < count
            self._blocks_left -= sum(entry is None for _, entry in read)
            self._buffer.extend(read)

    def pop(self) -> None:
        """Remove the entry that `peek` has returned."""
        self.offset, _ = self._buffer.popleft()

    def is_exhausted(self) -> bool:
        return self._is_exhausted and not self._buffer


class MergedScan:
    """Merges all entries of Redis with the matching ones of the archive."""

    def __init__(
        self, stream_scan: StreamScan, archive_scan: ArchiveScanCursor | None, *, max_entries: int
    ) -> None:
        self._stream_scan = stream_scan
        self._archive_scan = archive_scan
        self._entries_left = max_entries

    async def read_next(self) -> Entry | None:
        """Return the next entry, or None at the end of the page or log. Raises StoreUnavailable."""
        if self._entries_left == 0:
            return None
        self._entries_left -= 1
        live, old = await self._stream_scan.peek(), await self._peek_archived()
        if old is not None and (live is None or self._is_archived_next(old, live)):
            self._pop_archived(old)
            return old
        return await self._stream_scan.read_next()

    def build_cursor(self) -> PageCursor | None:
        """Return the cursor of the next page, or None after the last one."""
        if not self._stream_scan.is_exhausted():
            return PageCursor(self._stream_scan.positions)
        if self._archive_scan is None or self._archive_scan.is_exhausted():
            return None
        return PageCursor(self._stream_scan.positions, self._archive_scan.offset)

    async def _peek_archived(self) -> ArchivedEntry | None:
        """Return the next entry of the archive that no page has shown."""
        if self._archive_scan is None:
            return None
        while entry := await self._archive_scan.peek():
            if entry.position < self._stream_scan.positions.get(entry.partition, MAX_POSITION):
                return entry
            self._archive_scan.pop()
        return None

    def _is_archived_next(self, archived: ArchivedEntry, live: Entry) -> bool:
        # A partition without a position (under a limit key that was retired) is ordered by the
        # offset alone, and the cursor has one only after the end of Redis.
        has_position = archived.partition in self._stream_scan.positions
        return has_position and sort_key(archived) > sort_key(live)

    def _pop_archived(self, archived: ArchivedEntry) -> None:
        assert self._archive_scan  # the entry is from it
        self._archive_scan.pop()
        if archived.partition in self._stream_scan.positions:
            self._stream_scan.positions[archived.partition] = archived.position


def sort_key(entry: Entry) -> tuple[int, int, int]:
    """Return the position of an entry in the merged log."""
    return entry.position.at, entry.partition, entry.position.sequence
