"""What a sealer reads of Redis in one turn, and what it notes there in the end."""

import asyncio
from collections.abc import Sequence

from otp_service.audit.sealer.partition_lines import Known, Taken, in_time
from otp_service.audit.sealer.ports import Source
from otp_service.core.challenge import PARTITIONS
from otp_service.core.log_entry import Mark, Tail


COUNT = 64
"""Entries that are read of each stream at once."""


async def read_on(source: Source, known: Known) -> list[tuple[Tail, bool]]:
    """Return of each partition what is not archived, and whether it was read from the beginning.

    That is so where this archive has less than another one has had. Raises StoreUnavailable.
    """
    tails = {t.partition: (t, False) for t in await source.tails(range(PARTITIONS), count=COUNT)}
    seen = [tail for tail, _ in tails.values()]
    behind = await asyncio.to_thread(lambda: [t.partition for t in seen if _is_behind(t, known)])
    if behind:
        anew = await source.tails(behind, count=COUNT, anew=True)
        tails |= {tail.partition: (tail, True) for tail in anew}
    read = in_time([tail for tail, _ in tails.values()])
    return [(tail, tails[tail.partition][1]) for tail in read]


def marks_of(tails: Sequence[tuple[Tail, bool]], taken: Sequence[Taken]) -> list[Mark]:
    """Return what to note of tails that are archived: also that nothing is there of what waits."""
    return [
        Mark(tail=tail, anew=anew, place=one.place)
        for (tail, anew), one in zip(tails, taken, strict=True)
        if tail.entries or tail.waiting
    ]


def _is_behind(tail: Tail, known: Known) -> bool:
    if tail.place is None:
        return False
    epoch, sequence = tail.place
    return known(tail.partition, epoch) < sequence
