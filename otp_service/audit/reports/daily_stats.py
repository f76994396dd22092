"""Today and the day before in numbers: counted for whoever looks, one at a time, and bounded."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from otp_service.audit.query.reader import Reader
from otp_service.audit.reports.event_record import told_by
from otp_service.audit.reports.stats import Overview, Stats
from otp_service.core.limits import DAY
from otp_service.core.log_entry import Entry
from otp_service.core.policy import SECOND


MOST = 30_000
"""Events of a day that are counted, the newest ones: a second of one core."""

AT_ONCE = 100
"""Events between two chances for others, who may wait for a code."""

FRESH_FOR = 10 * SECOND, 600 * SECOND
"""How long the numbers of today, and those of the day before, are not counted again."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted of a day, in UTC."""

    begins: int
    at: int
    """When it was counted."""
    overview: Overview
    events: int
    forged: int
    """Events among them that are not ours; they are in no other number."""
    since: int | None
    """Where there were more than are counted, the instant from which on they are."""


class Days:
    """Counts, and keeps what was counted for a moment; `now` is in milliseconds."""

    def __init__(self, reader: Reader, now: Callable[[], int], *, most: int = MOST) -> None:
        self._reader = reader
        self._now = now
        self._most = most
        self._kept: dict[tuple[str | None, int], Day] = {}
        self._turn = asyncio.Lock()

    async def both(self, tenant: str | None) -> tuple[Day, Day]:
        """Return today and the day before, of a tenant or (None) of all. Raises StoreUnavailable."""
        length = DAY * SECOND
        async with self._turn:
            today = self._now() // length * length
            self._forget(today - length)
            return (
                await self._day(tenant, today, today + length, FRESH_FOR[0]),
                await self._day(tenant, today - length, today, FRESH_FOR[1]),
            )

    def _forget(self, before: int) -> None:
        self._kept = {key: day for key, day in self._kept.items() if day.begins >= before}

    async def _day(self, tenant: str | None, begins: int, ends: int, fresh_for: int) -> Day:
        kept = self._kept.get((tenant, begins))
        # What was counted while the day went on lacks its end.
        if kept is None or self._now() - kept.at >= fresh_for or kept.at < ends <= self._now():
            kept = self._kept[tenant, begins] = await self._counted(tenant, begins, ends)
        return kept

    async def _counted(self, tenant: str | None, begins: int, ends: int) -> Day:
        at, stats = self._now(), Stats()
        events = forged = 0
        since: int | None = None
        last = ends
        entries = self._reader.entries(tenant=tenant, since=begins, until=ends)
        async with aclosing(entries):
            async for entry in entries:
                if events == self._most:
                    since = last
                    break
                events, last = events + 1, entry.position.at
                forged += not self._count(entry, stats)
                if events % AT_ONCE == 0:
                    await asyncio.sleep(0)
        return Day(
            begins=begins,
            at=at,
            overview=stats.overview(),
            events=events,
            forged=forged,
            since=since,
        )

    def _count(self, entry: Entry, stats: Stats) -> bool:
        """Count an event if it is ours."""
        told = told_by(entry)
        if told is None or not self._reader.is_ours(entry):
            return False
        stats.add(told)
        return True
