"""The last day and the day before, as they are counted for the page."""

import asyncio

import msgspec
import pytest

from otp_service.audit.event_decoder import DecodedEvent, decode_event
from otp_service.audit.reports.daily_stats import CACHE_TTLS_MS, EVENTS_PER_YIELD, DayStatsCache
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.timestamps import MINUTE_MS


HOUR, DAY = 3_600_000, 86_400_000
NOON = 20_000 * DAY + DAY // 2


class Log:
    """A reader of what the test has put there, newest first, and how often it was asked."""

    def __init__(self) -> None:
        self.events: list[Entry] = []
        self.asked: list[dict] = []
        self.read = 0

    def tell(self, at: int, mac: str = "ok", **event: object) -> None:
        body = msgspec.json.encode({"type": "otp.issued", "tenant": "shop"} | event)
        place = StreamPosition(at, len(self.events) + 1)
        entry = Entry(partition=1, position=place, epoch=1, event=body, mac=mac, stamp=b"")
        self.events.insert(0, entry)

    def decode_event(self, entry: Entry) -> DecodedEvent:
        return decode_event(entry, has_valid_mac=entry.mac == "ok")

    async def iterate_entries(self, **asked):
        self.asked.append(asked)
        for entry in self.events:
            if asked["since"] <= entry.position.at < asked["until"]:
                self.read += 1
                yield entry


class Clock:
    """A clock that the test sets."""

    now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def log() -> Log:
    """One event of the day before, and two of the last day."""
    log = Log()
    log.tell(NOON - DAY)
    log.tell(NOON - 2000)
    log.tell(NOON - 1000)
    return log


async def test_days_are_counted_apart(log) -> None:
    """Each has 24 hours; the last one ends with this hour."""
    last, before = await DayStatsCache(log, Clock()).get_last_days(None)

    assert (2, 1) == (last.overview.total.issued, before.overview.total.issued)
    ends = NOON + HOUR
    assert (ends - DAY, ends - 2 * DAY) == (last.begins, before.begins)
    assert (None, NOON) == (last.since, last.counted_at)


async def test_a_challenge_is_pending_until_its_deadline_and_no_longer(log) -> None:
    """The page is opened seconds after the issue; a day that is over ends with its last hour."""
    clock = Clock()
    days = DayStatsCache(log, clock)
    log.tell(NOON + HOUR - DAY - 1)

    last, before = await days.get_last_days(None)
    clock.now += 10 * MINUTE_MS
    later, _ = await days.get_last_days(None)

    assert (2, 1, 0) == tuple(day.overview.total.pending for day in (last, before, later))


async def test_what_was_counted_is_good_for_a_moment(log) -> None:
    """Reloading the page repeatedly does not repeat the count."""
    clock = Clock()
    days = DayStatsCache(log, clock)
    await days.get_last_days(None)
    log.tell(NOON)
    clock.now += CACHE_TTLS_MS[0] - 1
    assert 2 == (await days.get_last_days(None))[0].overview.total.issued

    clock.now += 1
    assert 3 == (await days.get_last_days(None))[0].overview.total.issued
    assert 3 == len(log.asked)


async def test_midnight_hides_no_event(log) -> None:
    """An attack of the evening is found by the reader who opens the page after it."""
    clock = Clock()
    clock.now = 20_001 * DAY - 1
    days = DayStatsCache(log, clock)
    await days.get_last_days(None)
    log.tell(clock.now)

    clock.now += 1
    last, before = await days.get_last_days(None)

    assert (3, 1) == (last.overview.total.issued, before.overview.total.issued)


async def test_an_event_moves_to_the_day_before_after_24_hours(log) -> None:
    clock = Clock()
    days = DayStatsCache(log, clock)

    clock.now = NOON + DAY - HOUR - 1
    assert 2 == (await days.get_last_days(None))[0].overview.total.issued
    clock.now += 1
    last, before = await days.get_last_days(None)
    assert (0, 3) == (last.overview.total.issued, before.overview.total.issued)


async def test_each_tenant_has_its_own_numbers(log) -> None:
    """The numbers of one tenant are never shown to another."""
    days = DayStatsCache(log, Clock())
    for tenant in ("shop", None, "bank"):
        await days.get_last_days(tenant)

    assert ["shop", "shop", None, None, "bank", "bank"] == [asked["tenant"] for asked in log.asked]


async def test_a_day_with_too_many_is_counted_from_its_end(log) -> None:
    """The result reports the time from which it counts."""
    last, _ = await DayStatsCache(log, Clock(), max_events=1).get_last_days(None)

    assert (1, 1, NOON - 1000) == (last.events, last.overview.total.issued, last.since)
    assert 3 == log.read  # one beyond the bound, and the day before


async def test_forged_events_are_in_no_number(log) -> None:
    """Unreadable events are not counted either."""
    log.tell(NOON, mac="forged")
    log.tell(NOON, type=7)

    last, _ = await DayStatsCache(log, Clock()).get_last_days(None)

    assert (2, 2) == (last.overview.total.issued, last.forged)


async def test_counting_lets_others_run(log) -> None:
    """R92: a user may be waiting for a code in the meantime."""
    for _ in range(20 * EVENTS_PER_YIELD):
        log.tell(NOON)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    await DayStatsCache(log, Clock()).get_last_days(None)
    task.cancel()

    assert turns >= 10
