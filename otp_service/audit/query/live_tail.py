"""Events as they come, from Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from otp_service.audit.query.stream_scan import MAX_POSITION, MIN_POSITION, EventStreams, StreamScan
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import Entry, StreamPosition


async def follow_entries(
    streams: EventStreams, pause: Callable[[], Awaitable[object]], *, count: int
) -> AsyncIterator[Entry]:
    """Give the last entries that there are, and then those that come, oldest first, for ever.

    It looks again after each `pause`. Raises StoreUnavailable.
    """
    most, seen = count, dict.fromkeys(range(PARTITION_COUNT), MIN_POSITION)
    while True:
        walk = _create_scan_after(streams, seen)
        await walk.peek()  # now it knows the newest entry of each partition
        seen = {p: max(seen[p], position) for p, position in walk.positions.items()}
        found: list[Entry] = []
        while len(found) < most and (entry := await walk.read_next()):
            found.append(entry)
        for entry in reversed(found):
            yield entry
        most = 2**63
        await pause()


def _create_scan_after(streams: EventStreams, seen: Mapping[int, StreamPosition]) -> StreamScan:
    """Return what goes through all that stands behind these positions."""
    return StreamScan(
        streams,
        dict.fromkeys(seen, MAX_POSITION),
        count=0,
        is_past_end=lambda entry: entry.position < seen[entry.partition],
    )
