"""Opt-outs in statistics, and the findings about too many of them and about messages without effect."""

from collections.abc import Iterable
from typing import Any

import pytest

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports import opt_out_stats
from otp_service.audit.reports.anomalies import find_anomalies
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.opt_out_stats import (
    OTHER_OWN_NUMBERS,
    IgnoredMessages,
    OptOutRow,
    ProviderOptOuts,
)
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.cli.tables import format_overview
from otp_service.core.timestamps import DAY_MS


SHORT_CODE = "13013"

LATE = 2**53
"""After the deadline of every challenge."""


def count_events(events: Iterable[EventRecord]) -> StatsOverview:
    """Return the statistics of these events, which are given oldest first."""
    collector = StatsCollector(LATE)
    for event in reversed([*events]):
        collector.add_event(event)
    return collector.build_overview()


def build_answer(word: str = "stop", at: int = 0, **fields: Any) -> EventRecord:
    """Return the event of a person who answered a word to our short code."""
    types = {
        "stop": "number.opted_out",
        "start": "number.opted_in",
        "help": "number.help_requested",
    }
    known = {"provider": "east", "own_number": SHORT_CODE, "keyword": word, "country": "GB"}
    return EventRecord(type=types[word], at=at, **(known | fields))


def build_sends(count: int, provider: str = "east") -> list[EventRecord]:
    """Return that many messages, every second one of a delivery."""
    types = ("otp.sent", "delivery.sent")
    return [EventRecord(type=types[n % 2], provider=provider) for n in range(count)]


def find(today: list[EventRecord], before: Iterable[EventRecord] = ()) -> list[Any]:
    """Return the findings about messages from phones."""
    found = find_anomalies(count_events(today), count_events(before), "EUR")
    return [one for one in found if one.kind in {"opt-outs", "ignored-messages"}]


def test_answers_are_counted_by_day_provider_and_own_number():
    """An import is no answer: an operator who imports a list must not look like a flood."""
    stats = count_events(
        [
            build_answer(at=0),
            build_answer("start", at=1),
            build_answer(at=DAY_MS),
            build_answer(at=DAY_MS + 1),
            build_answer("help", at=DAY_MS + 2),
            build_answer(at=DAY_MS, own_number=None, provider="west"),
            build_answer(at=DAY_MS, own_number=None, provider=None, keyword=None),
        ]
    ).opt_outs

    assert (
        OptOutRow("1970-01-02", "east", SHORT_CODE, opted_out=2, help=1),
        OptOutRow("1970-01-02", "west", "", opted_out=1),
        OptOutRow("1970-01-02", "", "", imported=1),
        OptOutRow("1970-01-01", "east", SHORT_CODE, opted_out=1, opted_in=1),
    ) == stats.rows
    assert (ProviderOptOuts("east", 3), ProviderOptOuts("west", 1)) == stats.providers


def test_refused_sends_and_ignored_messages_are_counted_with_what_events_fold():
    """One event has all refusals of a minute, and one all rejected callbacks."""
    stats = count_events(
        [
            EventRecord(type="otp.issue_denied", reason="opted_out", folded=7),
            EventRecord(type="delivery.denied", reason="opted_out"),
            EventRecord(type="delivery.denied", reason="blocked", folded=5),
            EventRecord(type="callback.rejected", reason="token", provider="west", count=3),
            EventRecord(type="callback.rejected", reason="unexpected", provider="east", count=40),
            EventRecord(type="callback.rejected", reason="unexpected", provider="east", count=2),
            EventRecord(type="callback.rejected", reason="signature", provider="east", count=9),
        ]
    ).opt_outs

    assert 8 == stats.refused
    assert (
        IgnoredMessages("east", "unexpected", 42),
        IgnoredMessages("west", "token", 3),
    ) == stats.ignored


def test_made_up_own_numbers_do_not_fill_the_memory(monkeypatch):
    """A caller with the token of a provider names any own number."""
    monkeypatch.setattr(opt_out_stats, "MAX_ROWS", 10)

    rows = count_events(build_answer(own_number=str(n)) for n in range(1_000)).opt_outs.rows

    assert (11, OTHER_OWN_NUMBERS, 990) == (len(rows), rows[0].own_number, rows[0].opted_out)


@pytest.mark.parametrize(
    ("opted_out", "sent", "before", "weight"),
    [
        (19, 100, (0, 0), None),
        (20, 100, (0, 0), "alarm"),
        (20, 0, (0, 0), "alarm"),
        (20, 1_000, (0, 0), None),
        (21, 1_000, (0, 0), "alarm"),
        (40, 1_000, (20, 1_000), "notice"),
        (41, 1_000, (20, 1_000), "alarm"),
        (20, 9_000, (1, 1_500), "alarm"),
        (20, 10_000, (1, 1_500), None),
        (20, 9_000, (0, 99), None),
        (20, 9_000, (0, 100), "alarm"),
    ],
)
def test_too_many_opt_outs_are_found_by_their_share_and_by_what_is_usual(
    opted_out: int, sent: int, before: tuple[int, int], weight: str | None
):
    """Twenty, and over 2 % of the messages or three times the share before."""
    earlier = [build_answer()] * before[0] + build_sends(before[1])

    found = find([build_answer()] * opted_out + build_sends(sent), earlier)

    assert [weight] * (weight is not None) == [one.weight for one in found]
    for one in found:
        assert ("opt-outs", "provider", "east") == (one.kind, one.dimension, one.name)
        assert EventCriteria(type="number.opted_out", provider="east") == one.criteria
        assert one.sentence.startswith(f"{opted_out} people answered STOP through east, which sent")


def test_the_messages_of_one_provider_hide_no_flood_at_another():
    (found,) = find([build_answer(provider="west")] * 20 + build_sends(100_000))

    assert ("west", 20) == (found.name, found.now)


def test_an_import_is_no_flood():
    assert [] == find([build_answer(keyword=None)] * 1_000)


@pytest.mark.parametrize("reason", opt_out_stats.IGNORED_REASONS)
@pytest.mark.parametrize(
    ("before", "count", "weight"),
    [(0, 9, None), (0, 10, "alarm"), (10, 20, "notice"), (10, 21, "alarm")],
)
def test_messages_without_an_effect_are_found_from_the_tenth_on(
    reason: str, before: int, count: int, weight: str | None
):
    """They are forged, or STOP does not work."""
    periods = [
        [EventRecord(type="callback.rejected", reason=reason, provider="east", count=n)]
        if n
        else []
        for n in (count, before)
    ]

    found = find(*periods)

    assert [weight] * (weight is not None) == [one.weight for one in found]
    for one in found:
        assert one.sentence.startswith(str(count))
        assert "east" in one.sentence
        expected = EventCriteria(type="callback.rejected", event_reason=reason, provider="east")
        assert expected == one.criteria


def test_the_command_prints_answers_refusals_and_what_was_ignored():
    """R70: an own number may be any text of a vendor, and stays one cell."""
    overview = count_events(
        [
            build_answer(own_number="a\x1b[31m"),
            build_answer("help"),
            EventRecord(type="otp.issue_denied", reason="opted_out", folded=7),
            EventRecord(type="callback.rejected", reason="unexpected", provider="east", count=40),
        ]
    )

    text = "\n".join(format_overview(overview, "provider", "", (), "EUR"))

    assert (
        "ANSWERS     PROVIDER  OWN NUMBER  OPTED OUT  OPTED IN  HELP  IMPORTED\n"
        "1970-01-01  east      a\\x1b[31m   1          0         0     0\n"
        "1970-01-01  east      13013       0          0         1     0\n"
    ) in text
    assert "Sends refused because of an opt-out: 7." in text
    assert "by provider and reason:\n  40  east  unexpected" in text
    assert "opt-out" not in "\n".join(format_overview(count_events([]), "hour", "", (), "EUR"))
