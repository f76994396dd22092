"""Statistics of the last day and the day before for the page: cached, bounded, one count at a time."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS


MAX_EVENTS_PER_DAY = 30_000
"""The newest events of a day that are counted: a second of one core."""

EVENTS_PER_YIELD = 100
"""Events after which other requests run, which may wait for a code."""

CACHE_TTLS_MS = 10 * SECOND_MS, 10 * MINUTE_MS
"""How long the statistics of the last day, and those of the day before it, are cached."""


class DayStats(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of 24 hours, from a full hour on."""

    begins: int
    counted_at: int
    """Milliseconds since 1970, as `begins`."""
    overview: StatsOverview
    events: int
    forged: int
    """Events among them that are not authentic; no other number includes them."""
    since: int | None
    """The first instant that was counted, if there were too many events."""


class DayStatsCache:
    """Counts days and caches the result; `now` returns milliseconds since 1970."""

    def __init__(
        self, reader: EventReader, now: Callable[[], int], *, max_events: int = MAX_EVENTS_PER_DAY
    ) -> None:
        self._reader = reader
        self._now = now
        self._max_events = max_events
        self._cache: dict[tuple[str | None, int], DayStats] = {}
        self._lock = asyncio.Lock()

    async def get_last_days(self, tenant: str | None) -> tuple[DayStats, DayStats]:
        """Return the day up to the end of this hour, and the day before it.

        They are those of one tenant, or (None) of all. No midnight divides an attack from the
        reader who opens the page after it. Raises StoreUnavailable.
        """
        async with self._lock:
            last = (self._now() // HOUR_MS + 1) * HOUR_MS - DAY_MS
            starts = (last, last - DAY_MS)
            self._cache = {key: day for key, day in self._cache.items() if day.begins in starts}
            return (
                await self._get_day(tenant, starts[0], CACHE_TTLS_MS[0]),
                await self._get_day(tenant, starts[1], CACHE_TTLS_MS[1]),
            )

    async def _get_day(self, tenant: str | None, begins: int, ttl_ms: int) -> DayStats:
        day, now = self._cache.get((tenant, begins)), self._now()
        if not day or now - day.counted_at >= ttl_ms:
            day = self._cache[tenant, begins] = await self._count_day(tenant, begins)
        return day

    async def _count_day(self, tenant: str | None, begins: int) -> DayStats:
        at, since, last = self._now(), None, begins + DAY_MS
        stats = StatsCollector(min(at, last))
        events = forged = 0
        entries = self._reader.iterate_entries(tenant=tenant, since=begins, until=last)
        async with aclosing(entries):
            async for entry in entries:
                if events == self._max_events:
                    since = last
                    break
                events, last = events + 1, entry.position.at
                record = build_event_record(self._reader.decode_event(entry))
                forged += record is None
                if record:
                    stats.add_event(record)
                if events % EVENTS_PER_YIELD == 0:
                    await asyncio.sleep(0)
        return DayStats(
            begins=begins,
            counted_at=at,
            overview=stats.build_overview(),
            events=events,
            forged=forged,
            since=since,
        )
