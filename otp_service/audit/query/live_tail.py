"""New events as Redis appends them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from otp_service.audit.query.stream_scan import MAX_POSITION, MIN_POSITION, EventStreams, StreamScan
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import Entry, StreamPosition


async def follow_entries(
    streams: EventStreams, pause: Callable[[], Awaitable[object]], *, count: int
) -> AsyncIterator[Entry]:
    """Yield the last `count` entries, and then new ones for ever, oldest first.

    Redis is asked again after each `pause`. Raises StoreUnavailable.
    """
    max_entries, seen = count, dict.fromkeys(range(PARTITION_COUNT), MIN_POSITION)
    while True:
        scan = _create_scan_after(streams, seen)
        await scan.peek()  # after this its positions are the newest of each partition
        seen = {p: max(seen[p], position) for p, position in scan.positions.items()}
        found: list[Entry] = []
        while len(found) < max_entries and (entry := await scan.read_next()):
            found.append(entry)
        for entry in reversed(found):
            yield entry
        max_entries = 2**63
        await pause()


def _create_scan_after(streams: EventStreams, seen: Mapping[int, StreamPosition]) -> StreamScan:
    return StreamScan(
        streams,
        dict.fromkeys(seen, MAX_POSITION),
        count=0,
        is_stop_entry=lambda entry: entry.position < seen[entry.partition],
    )
