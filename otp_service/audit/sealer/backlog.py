"""The entries that one turn reads from Redis, and the archived positions that it stores there."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from otp_service.audit.sealer.environment import ArchiveSource
from otp_service.audit.sealer.partition_lines import PartitionLines, SequenceLookup, align_by_time
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import ArchivedPosition, PendingEntries


ENTRIES_PER_STREAM = 64


class Backlog(NamedTuple):
    """The pending entries of all partitions, aligned by time."""

    pending: list[PendingEntries]
    reread_partitions: frozenset[int]
    """Partitions that were read from the start, regardless of their archived positions."""

    @property
    def is_complete(self) -> bool:
        """Whether Redis has no further entries."""
        return all(p.is_complete for p in self.pending)

    @property
    def now(self) -> int:
        """Redis's clock when it was read, in milliseconds since 1970."""
        return min(p.now for p in self.pending)

    def build_archived_positions(self, lines: Sequence[PartitionLines]) -> list[ArchivedPosition]:
        """Return the positions to store, including partitions that count waiting entries which Redis has
        deleted."""
        return [
            ArchivedPosition(
                pending=p, from_start=p.partition in self.reread_partitions, sequence_id=new.head
            )
            for p, new in zip(self.pending, lines, strict=True)
            if p.entries or p.waiting_count
        ]


async def read_backlog(source: ArchiveSource, find_last: SequenceLookup) -> Backlog:
    """Read the pending entries of all partitions. Raises StoreUnavailable.

    A partition of which this archive has less than is marked (for another archive) is read from
    the start.
    """
    pending = await source.fetch_pending(range(PARTITION_COUNT), count=ENTRIES_PER_STREAM)
    by_partition = {p.partition: p for p in pending}
    incomplete = await asyncio.to_thread(_list_incomplete, pending, find_last)
    if incomplete:
        reread = await source.fetch_pending(incomplete, count=ENTRIES_PER_STREAM, from_start=True)
        by_partition |= {p.partition: p for p in reread}
    return Backlog(align_by_time([*by_partition.values()]), frozenset(incomplete))


def _list_incomplete(pending: Iterable[PendingEntries], find_last: SequenceLookup) -> list[int]:
    """Return the partitions of which the archive has less than is marked."""
    marked = [(p.partition, *p.sequence_id) for p in pending if p.sequence_id]
    return [p for p, epoch, sequence in marked if find_last(p, epoch) < sequence]
