"""F1: what is found in one day alone, with the filters that find its events."""

from typing import Any

import pytest

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports import attack_stats
from otp_service.audit.reports.anomalies import describe_baseline, find_anomalies
from otp_service.audit.reports.anomaly import ANOMALY_GUIDES, NO_EVENTS, Anomaly
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.issue_outcome import IssueOutcome
from otp_service.audit.reports.stats import StatsCollector, StatsOverview


LATE = 2**53
"""After the deadline of every challenge."""


def build_event(kind: str, **fields: Any) -> EventRecord:
    """Return an event of a number in GB at the tenant `shop`."""
    return EventRecord(type=kind, **({"tenant": "shop", "country": "GB"} | fields))


def count_events(*events: EventRecord) -> StatsOverview:
    """Return the statistics of these events, which are given oldest first."""
    collector = StatsCollector(LATE)
    for event in reversed(events):
        collector.add_event(event)
    return collector.build_overview()


NOTHING = count_events()


def build_logins(count: int, verified: int, **fields: Any) -> list[EventRecord]:
    """Return that many logins, of which some are verified."""
    events = []
    for n in range(count):
        login = {"challenge": f"{fields.get('prefix')}-{fields.get('country')}-{n}"} | fields
        events.append(build_event("otp.issued", **login))
        if n < verified:
            events.append(build_event("otp.verified", **login))
    return events


def find_first_day(*events: EventRecord) -> list[Anomaly]:
    """Return what is found where the day before has no event."""
    return find_anomalies(count_events(*events), NOTHING, "EUR")


def test_wrong_codes_for_one_number_are_an_alarm_from_the_tenth_on() -> None:
    """`FailuresPerNumber` refuses the eleventh in an hour, so more is never seen in the first one."""
    wrong = build_event("otp.rejected", number="1:aa", number_suffix="57")
    other = build_event("otp.rejected", number="1:bb", number_suffix="58")

    (found,) = find_first_day(*[wrong] * 10, *[other] * 9)

    assert ("wrong-codes", "alarm", "number", "1:aa", 10) == (
        *(found.kind, found.weight, found.dimension, found.name, found.now),
    )
    assert EventCriteria(type="otp.rejected", pseudonym="1:aa") == found.criteria
    assert "10 codes of messages were wrong for the number GB …57." == found.sentence


@pytest.mark.parametrize("kind", ["authenticator.rejected", "recovery.rejected"])
def test_wrong_codes_for_one_account_are_an_alarm_at_every_factor(kind: str) -> None:
    """An account has no number there, so its pseudonym is what the events share."""
    wrong = build_event(kind, account="1:cc")

    (found,) = find_first_day(*[wrong] * 10)

    assert ("wrong-codes", "account", "1:cc") == (found.kind, found.dimension, found.name)
    assert EventCriteria(type=kind, pseudonym="1:cc") == found.criteria


def test_wrong_codes_at_several_numbers_of_one_account_are_found() -> None:
    """S12: each number stays below the rule. With one number, the number's finding says it all."""
    several = [
        build_event("otp.rejected", number=f"1:{n}", account="1:acc")
        for n in (1, 2)
        for _ in range(6)
    ]
    same = [build_event("otp.rejected", number="1:1", account="1:acc")] * 12

    (found,) = find_first_day(*several)
    (alone,) = find_first_day(*same)

    assert ("account", "1:acc", 12) == (found.dimension, found.name, found.now)
    assert ("number", "1:1") == (alone.dimension, alone.name)


def test_a_challenge_without_attempts_is_an_alarm_on_the_first_day() -> None:
    """Its filter leaves out locks of numbers and accounts."""
    locked = build_event("otp.locked", reason="attempts_exhausted")
    number = build_event("otp.locked", reason="number_locked", number="1:aa", number_suffix="57")

    first, second = find_first_day(*build_logins(2, 0), locked, locked, number)

    assert ("attempts-exhausted", "alarm", 2) == (first.kind, first.weight, first.now)
    assert EventCriteria(type="otp.locked", event_reason="attempts_exhausted") == first.criteria
    assert "2 challenges ran out of attempts, of 2 that were issued." == first.sentence
    number_lock = EventCriteria(type="otp.locked", event_reason="number_locked", pseudonym="1:aa")
    assert number_lock == second.criteria


def test_a_success_from_another_client_ip_is_an_alarm_on_the_first_day() -> None:
    """F2: one is enough; those without both client IPs are not compared."""
    logins = [build_event("otp.verified", challenge=str(n)) for n in range(5)]
    same = build_event("otp.verified", challenge="s", client_ip_changed=False)
    changed = build_event("otp.verified", challenge="c", client_ip_changed=True)

    (found,) = find_first_day(*logins, same, changed)

    assert ("client-ip-changed", "alarm", 1) == (found.kind, found.weight, found.now)
    assert EventCriteria(type="otp.verified", client_ip_changed=True) == found.criteria
    assert (
        "1 challenge was verified from another client IP than issued for, of 2." == found.sentence
    )
    assert [] == find_first_day(*logins, same)


def test_a_prefix_with_many_sends_and_few_codes_back_is_pumping() -> None:
    """It is found beside a country that converts well, which the country's own rate hides."""
    usual = build_logins(400, 320, prefix="1:good")
    pumped = build_logins(59, 2, prefix="1:bad")

    (found,) = find_first_day(*usual, *pumped)

    assert ("pumping", "alarm", "prefix", "1:bad", 59) == (
        *(found.kind, found.weight, found.dimension, found.name, found.now),
    )
    assert EventCriteria(type="otp.issued", pseudonym="1:bad") == found.criteria
    assert found.sentence == (
        "59 codes were sent to one block of 10,000 numbers in GB, and 3% came back."
    )
    assert 'pumping = "refuse"' in found.remedy
    assert "'otp-service pumping block'" in found.remedy


def test_pumping_over_many_prefixes_is_found_by_its_country() -> None:
    """A country is reported once: without the prefixes that have a finding of their own."""
    spread = [one for n in range(30) for one in build_logins(1, 0, prefix=f"1:{n}", country="LT")]
    bought = build_logins(30, 0, prefix="1:block", country="LT")

    (alone,) = find_first_day(*spread)
    prefix, rest = find_first_day(*spread, *bought)
    (only_prefix,) = find_first_day(*bought)

    assert ("country", "LT", 30) == (alone.dimension, alone.name, alone.now)
    assert EventCriteria(type="otp.issued", country="LT") == alone.criteria
    assert ("prefix", 30, "country", 30) == (prefix.dimension, prefix.now, rest.dimension, rest.now)
    assert "prefix" == only_prefix.dimension


@pytest.mark.parametrize(("issued", "verified"), [(20, 0), (21, 3), (100, 10)])
def test_few_sends_or_a_tenth_of_the_codes_back_is_not_pumping(issued: int, verified: int) -> None:
    """Over twenty, and under a tenth."""
    assert [] == find_first_day(*build_logins(issued, verified, prefix="1:aa"))


@pytest.mark.parametrize(("calls", "weight"), [(1, "notice"), (9, "notice"), (10, "alarm")])
def test_calls_with_wrong_keys_are_something_to_look_at(calls: int, weight: str) -> None:
    """One back end with an old key makes few of them."""
    (found,) = find_first_day(build_event("access.denied", tenant=None, country=None, count=calls))

    assert ("wrong-keys", weight, calls) == (found.kind, found.weight, found.now)
    assert EventCriteria(type="access.denied") == found.criteria


def test_what_was_as_frequent_the_day_before_is_a_notice() -> None:
    """A page whose alarms are there every day is not read: it has the day before to compare with."""
    usual = [
        *build_logins(100, 0),
        build_event("otp.locked", reason="attempts_exhausted"),
        build_event("otp.verified", challenge="x", client_ip_changed=True),
        *[build_event("otp.verified", challenge=str(n), client_ip_changed=False) for n in range(9)],
        build_event("access.denied", count=20),
    ]
    today = [event for event in usual for _ in (1, 2) if event.type != "otp.issued"] + usual[:100]
    before = count_events(*usual)

    weights = {one.kind: one.weight for one in find_anomalies(before, before, "EUR")}
    doubled = {one.kind: one.weight for one in find_anomalies(count_events(*today), before, "EUR")}

    kinds = {"attempts-exhausted", "client-ip-changed", "wrong-keys"}
    assert kinds == {kind for kind, weight in weights.items() if weight == "notice"}
    assert kinds == {kind for kind, weight in doubled.items() if weight == "notice"}
    assert "alarm" == find_anomalies(
        count_events(*usual[:100], *[usual[100]] * 3), before, "EUR"
    )[0].weight  # fmt: skip


def test_the_filters_of_one_tenant_find_no_event_of_another() -> None:
    """The page of one tenant counts its events alone, and a finding leads to these."""
    events = count_events(build_event("otp.locked", reason="attempts_exhausted"))
    copied = build_event("otp.sent", id="a" * 32)
    copies = count_events(copied, copied)

    (one,) = find_anomalies(events, NOTHING, "EUR", "shop")
    (log,) = find_anomalies(copies, NOTHING, "EUR", "shop")

    assert "shop" == one.criteria.tenant
    assert NO_EVENTS == log.criteria


def test_alarms_come_before_notices() -> None:
    """A page shows the first dozen."""
    found = find_first_day(
        build_event("access.denied", count=1),
        *[build_event("otp.rejected", number="1:aa")] * 10,
    )

    assert ["alarm", "notice"] == [one.weight for one in found]


def test_the_baseline_says_whether_there_is_one() -> None:
    """F1: "nothing" beside an attack means that nothing could be compared."""
    few, enough = describe_baseline(NOTHING), describe_baseline(count_events(*build_logins(20, 9)))

    assert (False, True) == (few.is_sufficient, enough.is_sufficient)
    assert few.sentence.startswith("No baseline yet: the period before has 0 challenges, and 20")


def test_every_kind_says_what_it_means_and_what_to_do() -> None:
    """They are sentences of plain text, for the page and the command line."""
    for guide in ANOMALY_GUIDES.values():
        assert all(text.endswith(".") and text.isprintable() for text in guide[1:])


def test_a_flood_of_prefixes_and_accounts_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those with most unverified challenges stay."""
    monkeypatch.setattr(attack_stats, "MAX_TRACKED_ITEMS", 100)
    pumped = build_logins(50, 0, prefix="1:bad")
    others = [one for n in range(1000) for one in build_logins(1, 0, prefix=f"1:{n}")]
    collector = attack_stats.AttackCollector()

    for event in [*pumped, *others]:
        collector.add_issue(event, IssueOutcome.UNVERIFIED)

    assert len(collector._prefixes) <= 100
    assert "1:bad" == collector.build_stats().prefixes[0].prefix
