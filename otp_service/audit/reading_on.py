"""What a sealer reads of Redis in one turn."""

from otp_service.audit.sealing import Known, in_time
from otp_service.audit.source import Source
from otp_service.core.challenge import PARTITIONS
from otp_service.core.entry import Tail


COUNT = 64
"""Entries that are read of each stream at once."""


async def read_on(source: Source, known: Known) -> list[tuple[Tail, bool]]:
    """Return of each partition what is not archived, and whether it was read from the beginning.

    That is so where this archive has less than another one has had. Raises StoreUnavailable.
    """
    tails = {t.partition: (t, False) for t in await source.tails(range(PARTITIONS), count=COUNT)}
    behind = [p for p, (tail, _) in tails.items() if _is_behind(tail, known)]
    if behind:
        anew = await source.tails(behind, count=COUNT, anew=True)
        tails |= {tail.partition: (tail, True) for tail in anew}
    read = in_time([tail for tail, _ in tails.values()])
    return [(tail, tails[tail.partition][1]) for tail in read]


def _is_behind(tail: Tail, known: Known) -> bool:
    if tail.place is None:
        return False
    epoch, sequence = tail.place
    return known(tail.partition, epoch) < sequence
