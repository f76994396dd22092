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

from otp_service.audit.query.archive_scan import Archived
from otp_service.audit.query.page_cursor import Cursor, Spot
from otp_service.audit.query.stream_scan import NEWEST, Walk
from otp_service.core.log_entry import Entry


BATCH = 256
"""Entries or blocks that a thread reads at once."""


class Bounds(NamedTuple):
    """What one page may look at; the next one goes on from there."""

    entries: int = 2000
    """20 us each, mostly for reading them."""
    blocks: int = 128
    """Of an archive: 32 MiB, which take a tenth of a second."""


PAGE = Bounds()
EVERYTHING = Bounds(2**63, 2**63)


class Trail:
    """What is wanted of an archive, newest first; `spot` is where everything after it was given."""

    def __init__(
        self, items: Iterator[tuple[Spot, Archived | None]], spot: Spot | None, blocks: int
    ) -> None:
        self.spot = spot
        self._items = items
        self._blocks = blocks
        self._read: deque[tuple[Spot, Archived | None]] = deque()
        self._is_read = False

    async def peek(self) -> Archived | None:
        """Return the entry that `pop` returns next; None if there is none within the bound."""
        while True:
            while self._read and self._read[0][1] is None:
                self.spot, _ = self._read.popleft()
            if self._read or self._is_read or self._blocks <= 0:
                return self._read[0][1] if self._read else None
            most = min(BATCH, self._blocks)
            read = await asyncio.to_thread(list, islice(self._items, most))
            self._is_read = len(read) < most
            self._blocks -= sum(entry is None for _, entry in read)
            self._read.extend(read)

    def pop(self) -> None:
        """Go on behind the entry that `peek` has returned."""
        self.spot, _ = self._read.popleft()

    def is_over(self) -> bool:
        """Whether there is nothing more."""
        return self._is_read and not self._read


class Search:
    """The entries of both; those of Redis whatever they are, those of the archive as filtered."""

    def __init__(self, walk: Walk, trail: Trail | None, *, entries: int) -> None:
        self._walk = walk
        self._trail = trail
        self._left = entries

    async def next(self) -> Entry | None:
        """Return the next entry, or None: no more, or no more on this page.

        Raises StoreUnavailable.
        """
        if self._left == 0:
            return None
        self._left -= 1
        live, old = await self._walk.peek(), await self._archived()
        if old is not None and (live is None or self._is_next(old, live)):
            self._pop(old)
            return old
        return await self._walk.next()

    def cursor(self) -> Cursor | None:
        """Return where the next page begins, or None if there is none."""
        if not self._walk.is_over():
            return Cursor(self._walk.positions)
        if self._trail is None or self._trail.is_over():
            return None
        return Cursor(self._walk.positions, self._trail.spot)

    async def _archived(self) -> Archived | None:
        """Return the next entry of the archive that was on no page yet."""
        if self._trail is None:
            return None
        while entry := await self._trail.peek():
            if entry.position < self._walk.positions.get(entry.partition, NEWEST):
                return entry
            self._trail.pop()
        return None

    def _is_next(self, old: Archived, live: Entry) -> bool:
        # Where positions do not tell (under a limit key that was retired), only the spot will,
        # and there is none before Redis has nothing more.
        return old.partition in self._walk.positions and order(old) > order(live)

    def _pop(self, old: Archived) -> None:
        assert self._trail  # it is from there
        self._trail.pop()
        if old.partition in self._walk.positions:
            self._walk.positions[old.partition] = old.position


def order(entry: Entry) -> tuple[int, int, int]:
    """Return what entries are put in order by."""
    return entry.position.at, entry.partition, entry.position.sequence
