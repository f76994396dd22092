"""The brake on SMS pumping in statistics: ranges, refusals, what they saved, and whom they kept out."""

import re
from collections.abc import Iterable
from typing import Any

import pytest

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports import brake_stats
from otp_service.audit.reports.anomalies import find_anomalies
from otp_service.audit.reports.brake_stats import RangeRow, RefusalRow
from otp_service.audit.reports.event_record import EventRecord, list_details
from otp_service.audit.reports.issue_outcome import IssueOutcome
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.audit.reports.timeline import describe_event
from otp_service.cli.tables import format_brake_stats
from otp_service.core.pumping.overrides import find_scope
from otp_service.core.pumping.scope_text import parse_scope
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS


PRICE = 40_000

LATE = 2**53
"""After the deadline of every challenge."""


def count_events(events: Iterable[EventRecord]) -> StatsOverview:
    """Return the statistics of these events, which are given oldest first."""
    collector = StatsCollector(LATE)
    for event in reversed([*events]):
        collector.add_event(event)
    return collector.build_overview()


def build_send(challenge: str, kind: str = "otp.issued", **fields: Any) -> EventRecord:
    known: dict[str, Any] = {
        "price": PRICE,
        "measure": "unverified",
        "country": "GB",
        "number": f"n:{challenge}",
    }
    if kind != "otp.resent":
        known["prefix"] = "p:1"
    return EventRecord(type=kind, challenge=challenge, **(known | fields))


def build_denial(number: str, limit: str = "UnverifiedPerRange", **fields: Any) -> EventRecord:
    known: dict[str, Any] = {
        "reason": "rate_limited",
        "price": PRICE,
        "prefix": "p:1",
        "country": "GB",
    }
    return EventRecord(type="otp.issue_denied", number=number, limit=limit, **(known | fields))


def build_success(challenge: str, at: int = 0, **fields: Any) -> EventRecord:
    known: dict[str, Any] = {"number": f"n:{challenge}"}
    return EventRecord(type="otp.verified", challenge=challenge, at=at, **(known | fields))


def find(today: list[EventRecord]) -> list[Any]:
    """Return the findings about the brake."""
    kinds = {"unverified-range", "would-refuse", "brake-refusals"}
    return [
        one
        for one in find_anomalies(count_events(today), count_events([]), "EUR")
        if one.kind in kinds
    ]


def test_a_range_has_its_unverified_messages_and_their_price():
    """Resends are debts of their challenge: a verification repays them too."""
    stats = count_events(
        [
            build_send("a"),
            build_send("a", "otp.resent"),
            build_send("b"),
            build_send("b", "otp.resent"),
            build_send("b", "otp.resent"),
            build_success("a"),
            build_send("c", prefix="p:2", price=250_000, country="MG"),
        ]
    ).brake

    assert (
        RangeRow("p:2", "MG", sends=1, unverified=1, unverified_money=250_000),
        RangeRow("p:1", "GB", sends=5, unverified=3, unverified_money=3 * PRICE),
    ) == stats.ranges
    assert 5 * PRICE + 250_000 == stats.sent_money
    assert 3 * PRICE + 250_000 == stats.unverified_money


@pytest.mark.parametrize(
    "sends",
    [
        [build_send("a", measure="exempt")],
        [build_send("a", "delivery.created", measure="volume")],
        [build_send("a", price=None, measure=None)],
        [
            build_send("a"),
            EventRecord(type="otp.canceled", reason="delivery_failed", challenge="a"),
        ],
    ],
    ids=["exempt", "delivery", "no brake", "no provider took it"],
)
def test_what_is_no_debt_is_not_unverified(sends):
    stats = count_events(sends).brake

    assert () == stats.ranges
    assert 0 == stats.unverified_money


def test_refusals_have_what_they_saved_and_the_people_among_them():
    """One event may be many refusals. A person who verifies a day later is no proof of an error."""
    stats = count_events(
        [
            build_denial("n:a", folded=7),
            build_denial("n:a", at=1),
            build_denial("n:b", at=1),
            build_denial("n:c", "UnverifiedPerCountryAndTenant", price=250_000),
            build_denial("n:d", "SendsPerNumber"),
            build_success("a", at=DAY_MS),
            build_success("b", at=DAY_MS + 2),
        ]
    ).brake

    assert (
        RefusalRow("UnverifiedPerRange", "refuse", 9, 9 * PRICE, numbers=2, verified_later=1),
        RefusalRow("UnverifiedPerCountryAndTenant", "refuse", 1, 250_000, numbers=1),
    ) == stats.refusals
    assert 9 * PRICE + 250_000 == stats.saved_money
    assert 0 == stats.recorded_money
    assert 10 == stats.ranges[0].refused


def test_an_earlier_verification_is_no_false_refusal():
    """It was no proof either when the number was refused."""
    (row,) = count_events([build_success("a"), build_denial("n:a", at=1)]).brake.refusals

    assert 0 == row.verified_later


def test_record_mode_has_what_refuse_mode_would_have_refused():
    """The message was sent: its own verification shows a person."""
    over = {"over_limit": "UnverifiedPerRange", "unverified": 1, "allowance": 1}
    stats = count_events(
        [build_send("a", **over), build_send("b", **over), build_success("a"), build_send("c")]
    ).brake

    assert (
        RefusalRow("UnverifiedPerRange", "record", 2, 2 * PRICE, numbers=2, verified_later=1),
    ) == stats.refusals
    assert (0, 2 * PRICE) == (stats.saved_money, stats.recorded_money)
    assert 3 * PRICE == stats.sent_money


def test_many_ranges_do_not_fill_the_memory(monkeypatch):
    """An attack over a whole country; the ranges with the highest price stay."""
    monkeypatch.setattr(brake_stats, "MAX_TRACKED_ITEMS", 20)
    sends = [build_send(f"c{n}", prefix=f"p:{n % 300}", price=1 + n % 300) for n in range(600)]

    collector = brake_stats.BrakeCollector()
    for event in sends:
        collector.add_issue(event, IssueOutcome.UNVERIFIED)

    assert len(collector._ranges) <= 20
    assert "p:299" == collector.build_stats().ranges[0].prefix


def test_a_range_of_which_nobody_verifies_is_found_with_its_events():
    """Ten messages stay below every floor of a range. One person who verifies is enough for none."""
    sends = [build_send(f"c{n}") for n in range(10)]

    (found,) = find(sends)

    assert ("unverified-range", "alarm", "prefix") == (found.kind, found.weight, found.dimension)
    assert "cost 0.40 EUR, and" in found.sentence
    assert EventCriteria(type="otp.issued", pseudonym="p:1") == found.criteria
    assert [] == find(sends[1:])
    assert [] == find([*sends, build_success("c3")])


@pytest.mark.parametrize("limit", DebtLimit)
def test_the_remedy_of_refusals_opens_the_scope_of_their_limit(limit):
    """It named a country whatever refused, which opens no budget of new countries."""
    (found,) = find([build_denial(f"n:c{n}", limit=limit.value) for n in range(10)])

    (scope,) = re.findall(r"pumping allow (\S+) --for", found.remedy)
    opened = parse_scope(scope, ["shop"])
    assert opened == find_scope(ScopeBucket(limit, opened.tenant, opened.subject))


@pytest.mark.parametrize(("verified", "weight"), [(1, "notice"), (2, "alarm")])
def test_refused_people_make_refusals_an_alarm(verified, weight):
    """Over a tenth of the numbers: the brake refuses people, and an operator has to open a scope."""
    denials = [build_denial(f"n:c{n}") for n in range(10)]
    successes = [build_success(f"c{n}", at=1) for n in range(verified)]

    (found,) = find([*denials, *successes])

    assert ("brake-refusals", weight, "UnverifiedPerRange") == (
        found.kind,
        found.weight,
        found.name,
    )
    assert f"{verified}0% verified within a day" in found.sentence
    assert (
        EventCriteria(type="otp.issue_denied,delivery.denied", event_limit="UnverifiedPerRange")
        == found.criteria
    )
    assert [] == find(denials[1:])


def test_what_record_mode_would_refuse_is_an_alarm():
    """It is paid for, whether or not people are among it."""
    sends = [build_send(f"c{n}", over_limit="SpendOverall", prefix=f"p:{n}") for n in range(10)]

    (found,) = find(sends)

    assert found.sentence.endswith("; their price is 0.40 EUR.")
    assert ("would-refuse", "alarm") == (found.kind, found.weight)
    assert found.criteria.type == "otp.issued,delivery.created,otp.resent"
    assert "SpendOverall" == found.criteria.event_limit


def test_the_command_shows_the_same_numbers():
    stats = count_events(
        [build_send("a"), build_send("b"), build_success("a"), build_denial("n:b")]
    )

    text = "\n".join(format_brake_stats(stats.brake, "EUR"))

    assert "Messages cost 0.08 EUR; 0.04 EUR of it for codes that were not entered." in text
    assert "Refusals saved at most 0.04 EUR; record mode would have saved 0.00 EUR more." in text
    table = [line.split() for line in text.splitlines()]
    assert ["UnverifiedPerRange", "refuse", "1", "1", "0", "0.04", "EUR"] in table
    assert ["p:1", "GB", "2", "1", "0", "1", "0.04", "EUR"] in table
    assert [] == [*format_brake_stats(count_events([]).brake, "EUR")]


@pytest.mark.parametrize("kind", ["otp.issued", "otp.resent", "delivery.created"])
def test_a_timeline_and_a_row_say_what_the_brake_found(kind):
    """An operator who looks at one login sees why refuse mode would have refused it."""
    limit = "UnverifiedPerRange"
    over = build_send("a", kind, over_limit=limit, unverified=16_000_000, allowance=16_500_000)

    assert "over UnverifiedPerRange (16 of 16.5 messages unverified)" in describe_event(over, "EUR")
    countries = "UnverifiedCountriesPerClientAddress"
    over = build_send("a", kind, over_limit=countries, unverified=3, allowance=3)
    assert f"over {countries} (3 of 3 countries unverified)" in describe_event(over, "EUR")
    assert "to a known number" in describe_event(build_send("a", kind, measure="exempt"), "EUR")
    assert "unverified" not in describe_event(build_send("a", kind), "EUR")
    assert [f"over {limit}"] == list_details({"over_limit": limit, "measure": "unverified"}, "EUR")
    figures = {"unverified": 16_000_000, "allowance": 16_500_000}
    assert [f"over {limit}", "16 of 16.5 messages"] == list_details(
        {"over_limit": limit, **figures}, "EUR"
    )
    refused = {"limit": "UnverifiedPerCountryAndTenant", **figures}
    assert "16.00 of 16.50 EUR" == list_details(refused, "EUR")[-1]
    assert "16 of 16.5 messages" in list_details({"limit": limit, **figures}, "EUR")
    for forged in ({"limit": [limit]}, {"allowance": 10**400}, {"unverified": "1"}):
        assert "messages" not in str(list_details({"limit": limit, **figures, **forged}, "EUR"))
    assert ["exempt"] == list_details({"measure": "exempt"}, "EUR")
    assert ["over", "record"] == list_details({"state": "over", "mode": "record"}, "EUR")
