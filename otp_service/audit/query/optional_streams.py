"""The entries in Redis, which are left out while Redis does not answer."""

from collections.abc import Mapping

from otp_service.audit.query.stream_scan import EventStreams
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import Entry, StreamPosition


class OptionalEventStreams:
    """Implements `EventStreams` for a reader that has an archive too.

    After the first read without an answer nothing more is read from Redis, so that each entry is
    either in the archive or left out. `missing_because` then has the reason.
    """

    def __init__(self, streams: EventStreams) -> None:
        self._streams = streams
        self.missing_because = ""

    async def fetch_newest(
        self, before: Mapping[int, StreamPosition], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return the newest entries of each partition, or none without Redis."""
        if self.missing_because:
            return {}
        try:
            return await self._streams.fetch_newest(before, since=since, count=count)
        except StoreUnavailable as error:
            self.missing_because = error.cause or str(error)
            return {}
