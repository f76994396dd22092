"""Through what Redis has and what the archive has as one log, newest first, each event once.

The archive has everything of a partition up to where it reaches, so of Redis only what is younger
is read. On from there the archive is gone through as it lies in its files, by a thread, so that
nobody who waits for a code waits for a disk.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from otp_service.audit.query.archive_scan import ArchivedEntry
from otp_service.audit.query.page_cursor import FileOffset, PageCursor
from otp_service.audit.query.stream_scan import MAX_POSITION, StreamScan
from otp_service.core.log_entry import Entry


READ_CHUNK_ITEMS = 256
"""Entries or blocks that a thread reads at once."""


class PageBudget(NamedTuple):
    """What one page may look at; the next one goes on from there."""

    entries: int = 2000
    """20 us each, mostly for reading them."""
    blocks: int = 128
    """Of an archive: 32 MiB, which take a tenth of a second."""


PAGE_BUDGET = PageBudget()
UNLIMITED_BUDGET = PageBudget(2**63, 2**63)


class ArchiveScanCursor:
    """What is wanted of an archive, newest first; `spot` is where everything after it was given."""

    def __init__(
        self,
        items: Iterator[tuple[FileOffset, ArchivedEntry | None]],
        offset: FileOffset | None,
        max_blocks: int,
    ) -> None:
        self.offset = offset
        self._items = items
        self._blocks_left = max_blocks
        self._buffer: deque[tuple[FileOffset, ArchivedEntry | None]] = deque()
        self._is_exhausted = False

    async def peek(self) -> ArchivedEntry | None:
        """Return the entry that `pop` returns next; None if there is none within the bound."""
        while True:
            while self._buffer and self._buffer[0][1] is None:
                self.offset, _ = self._buffer.popleft()
            if self._buffer or self._is_exhausted or self._blocks_left <= 0:
                return self._buffer[0][1] if self._buffer else None
            most = min(READ_CHUNK_ITEMS, self._blocks_left)
            read = await asyncio.to_thread(list, islice(self._items, most))
            self._is_exhausted = len(read) < most
            self._blocks_left -= sum(entry is None for _, entry in read)
            self._buffer.extend(read)

    def pop(self) -> None:
        """Go on behind the entry that `peek` has returned."""
        self.offset, _ = self._buffer.popleft()

    def is_over(self) -> bool:
        """Whether there is nothing more."""
        return self._is_exhausted and not self._buffer


class MergedScan:
    """The entries of both; those of Redis whatever they are, those of the archive as filtered."""

    def __init__(
        self, stream_scan: StreamScan, archive_scan: ArchiveScanCursor | None, *, max_entries: int
    ) -> None:
        self._stream_scan = stream_scan
        self._archive_scan = archive_scan
        self._entries_left = max_entries

    async def read_next(self) -> Entry | None:
        """Return the next entry, or None: no more, or no more on this page.

        Raises StoreUnavailable.
        """
        if self._entries_left == 0:
            return None
        self._entries_left -= 1
        live, old = await self._stream_scan.peek(), await self._peek_archived()
        if old is not None and (live is None or self._is_archived_next(old, live)):
            self._pop_archived(old)
            return old
        return await self._stream_scan.read_next()

    def build_cursor(self) -> PageCursor | None:
        """Return where the next page begins, or None if there is none."""
        if not self._stream_scan.is_over():
            return PageCursor(self._stream_scan.positions)
        if self._archive_scan is None or self._archive_scan.is_over():
            return None
        return PageCursor(self._stream_scan.positions, self._archive_scan.offset)

    async def _peek_archived(self) -> ArchivedEntry | None:
        """Return the next entry of the archive that was on no page yet."""
        if self._archive_scan is None:
            return None
        while entry := await self._archive_scan.peek():
            if entry.position < self._stream_scan.positions.get(entry.partition, MAX_POSITION):
                return entry
            self._archive_scan.pop()
        return None

    def _is_archived_next(self, archived: ArchivedEntry, live: Entry) -> bool:
        # Where positions do not tell (under a limit key that was retired), only the spot will,
        # and there is none before Redis has nothing more.
        return archived.partition in self._stream_scan.positions and sort_key(archived) > sort_key(
            live
        )

    def _pop_archived(self, archived: ArchivedEntry) -> None:
        assert self._archive_scan  # it is from there
        self._archive_scan.pop()
        if archived.partition in self._stream_scan.positions:
            self._stream_scan.positions[archived.partition] = archived.position


def sort_key(entry: Entry) -> tuple[int, int, int]:
    """Return what entries are put in order by."""
    return entry.position.at, entry.partition, entry.position.sequence
