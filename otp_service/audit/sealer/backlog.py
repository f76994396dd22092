"""What a sealer reads of Redis in one turn, and what it notes there in the end."""

import asyncio
from collections.abc import Sequence

from otp_service.audit.sealer.partition_lines import PartitionLines, SequenceLookup, align_by_time
from otp_service.audit.sealer.ports import ArchiveSource
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import ArchivedPosition, PendingEntries


ENTRIES_PER_STREAM = 64
"""Entries that are read of each stream at once."""


async def read_pending(
    source: ArchiveSource, last_sequence: SequenceLookup
) -> list[tuple[PendingEntries, bool]]:
    """Return of each partition what is not archived, and whether it was read from the beginning.

    That is so where this archive has less than another one has had. Raises StoreUnavailable.
    """
    tails = {
        t.partition: (t, False)
        for t in await source.fetch_pending(range(PARTITION_COUNT), count=ENTRIES_PER_STREAM)
    }
    seen = [tail for tail, _ in tails.values()]
    behind = await asyncio.to_thread(
        lambda: [t.partition for t in seen if _is_behind(t, last_sequence)]
    )
    if behind:
        anew = await source.fetch_pending(behind, count=ENTRIES_PER_STREAM, from_start=True)
        tails |= {tail.partition: (tail, True) for tail in anew}
    read = align_by_time([tail for tail, _ in tails.values()])
    return [(tail, tails[tail.partition][1]) for tail in read]


def build_archived_positions(
    pending: Sequence[tuple[PendingEntries, bool]], partition_lines: Sequence[PartitionLines]
) -> list[ArchivedPosition]:
    """Return what to note of tails that are archived: also that nothing is there of what waits."""
    return [
        ArchivedPosition(pending=tail, from_start=anew, sequence_id=one.head)
        for (tail, anew), one in zip(pending, partition_lines, strict=True)
        if tail.entries or tail.waiting_count
    ]


def _is_behind(pending: PendingEntries, last_sequence: SequenceLookup) -> bool:
    if pending.sequence_id is None:
        return False
    epoch, sequence = pending.sequence_id
    return last_sequence(pending.partition, epoch) < sequence
