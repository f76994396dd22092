"""Events as they come, from Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from otp_service.audit.query.stream_scan import ENDED, NEWEST, Streams, Walk
from otp_service.core.challenge import PARTITIONS
from otp_service.core.log_entry import Entry, Position


async def followed(
    streams: Streams, pause: Callable[[], Awaitable[object]], *, last: int
) -> AsyncIterator[Entry]:
    """Give the last entries that there are, and then those that come, oldest first, for ever.

    It looks again after each `pause`. Raises StoreUnavailable.
    """
    most, seen = last, dict.fromkeys(range(PARTITIONS), ENDED)
    while True:
        walk = _behind(streams, seen)
        await walk.peek()  # now it knows the newest entry of each partition
        seen = {p: max(seen[p], position) for p, position in walk.positions.items()}
        found: list[Entry] = []
        while len(found) < most and (entry := await walk.next()):
            found.append(entry)
        for entry in reversed(found):
            yield entry
        most = 2**63
        await pause()


def _behind(streams: Streams, seen: Mapping[int, Position]) -> Walk:
    """Return what goes through all that stands behind these positions."""
    return Walk(
        streams,
        dict.fromkeys(seen, NEWEST),
        count=0,
        is_behind=lambda entry: entry.position < seen[entry.partition],
    )
