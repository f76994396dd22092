"""Statistics of today and yesterday for the page: cached, bounded, one count at a time."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.core.timestamps import DAY_MS, MINUTE_MS, SECOND_MS


MAX_EVENTS_PER_DAY = 30_000
"""The newest events of a day that are counted: a second of one core."""

EVENTS_PER_YIELD = 100
"""Events after which other requests run, which may wait for a code."""

CACHE_TTLS_MS = 10 * SECOND_MS, 10 * MINUTE_MS
"""How long the statistics of today, and those of yesterday, are cached."""


class DayStats(msgspec.Struct, frozen=True, kw_only=True):
    """The statistics of one day, in UTC."""

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

    async def get_today_and_yesterday(self, tenant: str | None) -> tuple[DayStats, DayStats]:
        """Return both days, of one tenant or (None) of all. Raises StoreUnavailable."""
        async with self._lock:
            today = self._now() // DAY_MS * DAY_MS
            oldest = today - DAY_MS
            self._cache = {key: day for key, day in self._cache.items() if day.begins >= oldest}
            return (
                await self._get_day(tenant, today, today + DAY_MS, CACHE_TTLS_MS[0]),
                await self._get_day(tenant, today - DAY_MS, today, CACHE_TTLS_MS[1]),
            )

    async def _get_day(self, tenant: str | None, begins: int, ends: int, ttl_ms: int) -> DayStats:
        day, now = self._cache.get((tenant, begins)), self._now()
        # A count from before the end of the day lacks the rest of the day.
        if not day or now - day.counted_at >= ttl_ms or day.counted_at < ends <= now:
            day = self._cache[tenant, begins] = await self._count_day(tenant, begins, ends)
        return day

    async def _count_day(self, tenant: str | None, begins: int, ends: int) -> DayStats:
        at, stats = self._now(), StatsCollector()
        events = forged = 0
        since, last = None, ends
        entries = self._reader.iterate_entries(tenant=tenant, since=begins, until=ends)
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
