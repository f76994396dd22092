"""Today and the day before in numbers: counted for whoever looks, one at a time, and bounded."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.core.log_entry import Entry
from otp_service.core.timestamps import DAY_MS, MINUTE_MS, SECOND_MS


MAX_EVENTS_PER_DAY = 30_000
"""Events of a day that are counted, the newest ones: a second of one core."""

EVENTS_PER_YIELD = 100
"""Events between two chances for others, who may wait for a code."""

CACHE_TTLS_MS = 10 * SECOND_MS, 10 * MINUTE_MS
"""How long the numbers of today, and those of the day before, are not counted again."""


class DayStats(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of a day, in UTC."""

    begins: int
    counted_at: int
    """When it was counted."""
    overview: StatsOverview
    events: int
    forged: int
    """Events among them that are not ours; they are in no other number."""
    since: int | None
    """Where there were more than are counted, the instant from which on they are."""


class DayStatsCache:
    """Counts, and keeps what was counted for a moment; `now` is in milliseconds."""

    def __init__(
        self, reader: EventReader, now: Callable[[], int], *, max_events: int = MAX_EVENTS_PER_DAY
    ) -> None:
        self._reader = reader
        self._now = now
        self._max_events = max_events
        self._cache: dict[tuple[str | None, int], DayStats] = {}
        self._lock = asyncio.Lock()

    async def get_today_and_yesterday(self, tenant: str | None) -> tuple[DayStats, DayStats]:
        """Return today and the day before, of a tenant or (None) of all. Raises StoreUnavailable."""
        async with self._lock:
            today = self._now() // DAY_MS * DAY_MS
            self._drop_before(today - DAY_MS)
            return (
                await self._get_day(tenant, today, today + DAY_MS, CACHE_TTLS_MS[0]),
                await self._get_day(tenant, today - DAY_MS, today, CACHE_TTLS_MS[1]),
            )

    def _drop_before(self, before: int) -> None:
        self._cache = {key: day for key, day in self._cache.items() if day.begins >= before}

    async def _get_day(self, tenant: str | None, begins: int, ends: int, ttl_ms: int) -> DayStats:
        kept = self._cache.get((tenant, begins))
        # What was counted while the day went on lacks its end.
        if (
            kept is None
            or self._now() - kept.counted_at >= ttl_ms
            or kept.counted_at < ends <= self._now()
        ):
            kept = self._cache[tenant, begins] = await self._count_day(tenant, begins, ends)
        return kept

    async def _count_day(self, tenant: str | None, begins: int, ends: int) -> DayStats:
        at, stats = self._now(), StatsCollector()
        events = forged = 0
        since: int | None = None
        last = ends
        entries = self._reader.iterate_entries(tenant=tenant, since=begins, until=ends)
        async with aclosing(entries):
            async for entry in entries:
                if events == self._max_events:
                    since = last
                    break
                events, last = events + 1, entry.position.at
                forged += not self._count_event(entry, stats)
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

    def _count_event(self, entry: Entry, stats: StatsCollector) -> bool:
        """Count an event if it is ours."""
        record = build_event_record(self._reader.decode_event(entry))
        if record:
            stats.add_event(record)
        return record is not None
