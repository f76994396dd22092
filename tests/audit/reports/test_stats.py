"""Counting events: what is in which row, and what looks wrong."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from otp_service.audit.event_decoder import decode_event
from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports import bounded_counter, factor_stats
from otp_service.audit.reports import stats as stats_module
from otp_service.audit.reports.anomalies import find_anomalies
from otp_service.audit.reports.event_record import EventRecord, build_event_record
from otp_service.audit.reports.factor_stats import AccountLock
from otp_service.audit.reports.stats import (
    NumberLock,
    Offender,
    StatsCollector,
    StatsOverview,
    StatsRow,
)
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.timestamps import HOUR_MS


LATE = 2**53
"""After the deadline of every challenge."""


def told(kind: str, at: int = 0, **fields: Any) -> EventRecord:
    """One event, of a number in GB at the tenant `shop` if nothing else is said."""
    known: dict[str, Any] = {
        "type": kind,
        "at": at,
        "tenant": "shop",
        "country": "GB",
        "challenge": "c1",
    }
    return EventRecord(**(known | fields))


def counted(events: Iterable[EventRecord]) -> StatsOverview:
    """Return the statistics of these events, which are given oldest first."""
    found = StatsCollector(LATE)
    for one in reversed([*events]):
        found.add_event(one)
    return found.build_overview()


def login(at: int, challenge: str, *, verified: bool = True, **fields: Any) -> list[EventRecord]:
    """The events of a login."""
    fields |= {"challenge": challenge}
    events = [
        told("otp.issued", at, **fields),
        told("otp.sent", at + 1, provider="east", **fields),
        told("otp.delivery", at + 2, provider="east", status="delivered", **fields),
        told("otp.attempted", at + 3, **fields),
    ]
    return [*events, told("otp.verified", at + 4, **fields)] if verified else events


def test_each_event_is_counted_where_it_belongs():
    """By hour, country, provider and tenant, and in all."""
    found = counted(
        [
            *login(0, "c1"),
            *login(10, "c2", verified=False),
            told("otp.rejected", 20, challenge="c2", number="p1:2", number_suffix="57", client_ip="::1"),
            told("otp.provider_failed", HOUR_MS, provider="west"),
            *login(HOUR_MS + 1, "c3", country="DE", tenant="bank"),
            told("otp.delivery", HOUR_MS + 9, provider="east", status="permanent-failure"),
            told("otp.issue_denied", HOUR_MS + 10, reason="rate_limited", limit="SendsPerNumber",
                 number="p1:1", number_suffix="56", client_ip="203.0.113.9"),
            told("otp.issue_denied", HOUR_MS + 11, reason="rate_limited", limit="SendsPerNumber",
                 number="p1:1", number_suffix="56", folded=40),
            told("otp.verify_denied", HOUR_MS + 12, reason="expired"),
            told("otp.locked", HOUR_MS + 13, reason="attempts_exhausted"),
            told("access.denied", HOUR_MS + 14, tenant=None, country=None, count=7),
        ]
    )  # fmt: skip

    rows = {
        "all": found.total,
        **dict(found.hours),
        **dict(found.countries),
        **dict(found.providers),
        **dict(found.tenants),
    }
    columns = ["issued", "sent", "failed", "delivered", "verified", "rejected", "refused", "locked"]
    expected = {
        "all": (3, 3, 1, 3, 2, 1, 42, 1),
        0: (2, 2, 0, 2, 1, 1, 0, 0),
        HOUR_MS: (1, 1, 1, 1, 1, 0, 42, 1),
        "GB": (2, 2, 1, 2, 1, 1, 42, 1),
        "DE": (1, 1, 0, 1, 1, 0, 0, 0),
        "east": (0, 3, 0, 3, 2, 0, 0, 0),
        "west": (0, 0, 1, 0, 0, 0, 0, 0),
        "shop": (2, 2, 1, 2, 1, 1, 42, 1),
        "bank": (1, 1, 0, 1, 1, 0, 0, 0),
    }
    assert expected == {
        name: tuple(getattr(row, column) for column in columns) for name, row in rows.items()
    }
    assert (("rate_limited: SendsPerNumber", 41), ("expired", 1)) == found.reasons
    assert (Offender("p1:1", 41, "56", "GB"), Offender("p1:2", 1, "57", "GB")) == found.numbers
    assert {("::/64", 1), ("203.0.113.9", 1)} == {(one.name, one.times) for one in found.client_ips}
    assert 7 == found.without_key


def test_conversion_is_of_what_was_issued_in_the_row():
    """A code that comes back in the next hour counts in the hour of its issue."""
    found = counted(
        [told("otp.issued", HOUR_MS - 1), told("otp.sent", HOUR_MS - 1, provider="east"),
         told("otp.verified", HOUR_MS + 1), told("otp.verified", HOUR_MS + 2, repeated=True),
         told("otp.verified", HOUR_MS + 3, challenge="issued before")]
    )  # fmt: skip

    assert [(0, 1.0)] == [(at, row.conversion) for at, row in found.hours]
    assert [("east", 1.0)] == [(name, row.conversion) for name, row in found.providers]
    assert (1, 1) == (found.total.verified, found.earlier)


def test_a_success_is_the_provider_s_who_was_asked_last():
    """As `otp-service providers` has it."""
    found = counted(
        [told("otp.issued"), told("otp.sent", 1, provider="east"),
         told("otp.sent", 2, provider="west"), told("otp.verified", 3)]
    )  # fmt: skip

    assert {"east": 0, "west": 1} == {name: row.verified for name, row in found.providers}


def test_a_number_is_locked_until_it_is_unlocked():
    """The newest event of the number decides."""
    found = counted(
        [
            told("otp.locked", 1, reason="number_locked", number="p1:1", number_suffix="56"),
            told("otp.locked", 2, reason="number_locked", number="p1:2", number_suffix="57"),
            told("otp.unlocked", 3, number="p1:1"),
            told("otp.locked", 4, reason="number_locked", number="p1:3", number_suffix="58"),
        ]
    )

    assert {("p1:3", 4), ("p1:2", 2)} == {(one.number, one.at) for one in found.locked}
    assert NumberLock("p1:3", "58", "GB", "shop", 4) == found.locked[0]


def test_a_flood_of_addresses_does_not_fill_the_memory(monkeypatch):
    """Those that came most stay."""
    monkeypatch.setattr(bounded_counter, "MAX_TRACKED_ITEMS", 100)
    often = [told("otp.rejected", client_ip="203.0.113.9")] * 50
    once = [told("otp.rejected", client_ip=f"2001:db8:0:{n:x}::1") for n in range(1000)]
    found = StatsCollector(LATE)

    for one in (*often, *once):
        found.add_event(one)

    assert ("203.0.113.9", 50) == (found.build_overview().client_ips[0].name, 50)
    assert len(found._client_ips) <= 100


def factor(kind: str, at: int = 0, **fields: Any) -> EventRecord:
    """One event of an authenticator or a recovery set: no number, no country, no challenge."""
    known: dict[str, Any] = {"type": kind, "at": at, "tenant": "shop", "account": "p1:a"}
    return EventRecord(**(known | fields))


def test_authenticators_and_recovery_codes_are_counted_by_factor_and_tenant():
    """A repeated answer is not counted; a folded refusal as often as it happened."""
    found = counted(
        [
            factor("authenticator.enrolled"),
            factor("authenticator.attempted"),
            factor("authenticator.confirmed"),
            factor("authenticator.confirmed", repeated=True),
            factor("authenticator.verified"),
            factor("authenticator.verified", repeated=True),
            factor("authenticator.rejected", reason="mismatch", client_ip="::1"),
            factor("authenticator.replayed"),
            factor("authenticator.denied", reason="rate_limited", limit="L", folded=7),
            factor("authenticator.locked", reason="account_locked"),
            factor("authenticator.enrolled", tenant="bank"),
            factor("recovery.created"),
            factor("recovery.used", codes_left=2),
            factor("recovery.low", codes_left=2),
            factor("recovery.rejected", reason="used"),
            factor("recovery.rejected", reason="mismatch"),
            factor("recovery.denied", reason="malformed"),
            factor("recovery.locked", reason="account_locked"),
        ]
    )

    rows = {(row.factor, row.tenant): msgspec.structs.astuple(row)[2:] for row in found.factors}
    assert {
        ("authenticator", "bank"): (1, 0, 0, 0, 0, 0, 0, 0),
        ("authenticator", "shop"): (1, 1, 1, 1, 1, 7, 1, 0),
        ("recovery", "shop"): (1, 0, 1, 1, 1, 1, 1, 0),
    } == rows
    assert StatsRow() == found.total
    assert ((), (), (), ()) == (found.hours, found.countries, found.providers, found.tenants)
    assert [("authenticator", ((0, 7),)), ("recovery", ((0, 1),))] == [
        (refusals.factor, refusals.hours) for refusals in found.factor_refusals
    ]
    assert (("rate_limited: L", 7), ("malformed", 1)) == found.reasons
    assert (Offender("p1:a", 12),) == found.accounts
    assert (Offender("::/64", 1),) == found.client_ips


def test_an_account_is_locked_at_a_factor_until_it_is_unlocked_at_its_tenant():
    """A lock at one factor is none at another, and an unlock ends those at every factor."""
    found = counted(
        [
            factor("authenticator.locked", 1, reason="account_locked"),
            factor("recovery.locked", 2, reason="account_locked", account="p1:b"),
            factor("otp.locked", 3, reason="account_locked", account="p1:b", number="p1:1"),
            factor("otp.unlocked", 4, account="p1:b", tenant="bank"),
            factor("otp.unlocked", 5),
            factor("otp.locked", 6, reason="attempts_exhausted", account="p1:c"),
        ]
    )

    assert {
        AccountLock("p1:b", "shop", "recovery", 2),
        AccountLock("p1:b", "shop", "otp", 3),
    } == set(found.locked_accounts)


def test_accounts_that_are_guessed_at_are_counted_in_bounded_memory(monkeypatch):
    """Further accounts are left out of that count alone."""
    monkeypatch.setattr(factor_stats, "MAX_TRACKED_ACCOUNTS", 2)

    (row,) = counted(factor("authenticator.rejected", account=f"p1:{n}") for n in range(9)).factors

    assert (9, 2) == (row.rejected, row.wrong_accounts)


# ---------------------------------------------------------------------------------- anomalies


def day(issued: int, verified: int, at: int = 0, **fields: Any) -> list[EventRecord]:
    return [
        one
        for n in range(issued)
        for one in login(at, f"{at}-{n}-{fields.get('tenant')}", verified=n < verified, **fields)
    ]


def test_a_conversion_that_falls_is_shown_and_noise_is_not():
    """By tenant, country and provider; a handful of logins says nothing."""
    before = counted([*day(100, 80), *day(10, 10, tenant="bank", country="DE")])
    today = counted([*day(100, 50), *day(10, 0, tenant="bank", country="DE")])

    found = find_anomalies(today, before, "EUR")

    assert {("tenant", "shop"), ("country", "GB"), ("provider", "east")} == {
        (one.dimension, one.name) for one in found
    }
    assert "The conversion of tenant shop fell from 80% to 50%." in {e.sentence for e in found}
    assert [] == find_anomalies(before, before, "EUR")


# ---------------------------------------------------------------------------------- deliveries


def deliveries(count: int, *, delivered: int = 0, tenant: str = "idp") -> list[EventRecord]:
    """Return the events of codes of another product, of which so many are delivered."""
    kinds = [("created", {}), ("sent", {"provider": "east"})]
    receipt = ("reported", {"provider": "east", "status": "delivered"})
    return [
        told(f"delivery.{kind}", n, challenge=f"d07-{n}", tenant=tenant, **fields)
        for n in range(count)
        for kind, fields in [*kinds, *([receipt] if n < delivered else [])]
    ]


def test_a_delivery_is_in_no_row_and_no_conversion_of_challenges():
    """Its code cannot be verified here, so it would look like an issue that never came back."""
    alone = counted(day(10, 8))
    both = counted([*day(10, 8), *deliveries(50, delivered=40, tenant="shop")])

    for name in ("total", "hours", "countries", "providers", "tenants", "attacks", "earlier"):
        assert getattr(alone, name) == getattr(both, name), name
    assert [("shop", 50, 50, 40)] == [
        (row.tenant, row.created, row.sent, row.delivered) for row in both.deliveries
    ]
    assert [] == find_anomalies(both, both, "EUR")


def test_refused_deliveries_are_counted_with_their_reason_and_person():
    """As every refusal is; what was not taken is counted apart."""
    found = counted(
        [
            told("delivery.denied", reason="rate_limited", limit="CooldownPerNumber", folded=7,
                 number="p1:1", number_suffix="56"),
            told("delivery.provider_failed", provider="east"),
        ]
    )  # fmt: skip

    (row,) = found.deliveries
    assert (7, 1, 0) == (row.refused, row.failed, row.created)
    assert (("rate_limited: CooldownPerNumber", 7),) == found.reasons
    assert (Offender("p1:1", 7, "56", "GB"),) == found.numbers
    assert 0 == found.total.refused


@pytest.mark.parametrize(
    ("before", "today", "expected"),
    [
        ((100, 90), (499, 450), []),
        ((100, 90), (500, 450), ["500 codes of other products were sent for idp; in the period before, 100 were."]),
        ((0, 0), (99, 0), []),
        ((0, 0), (100, 0), ["100 codes of other products were sent for idp; in the period before, 0 were."]),
        ((100, 90), (100, 64), []),
        (
            (100, 90),
            (100, 62),
            ["The share of codes of other products that receipts report as delivered fell from 90% to 62% for idp."],
        ),
        ((19, 19), (19, 0), []),
    ],
)  # fmt: skip
def test_a_rise_of_deliveries_and_a_drop_of_their_receipts_are_alarms(
    before: tuple[int, int], today: tuple[int, int], expected: list[str]
):
    """Volumes and receipts, because a conversion of them does not exist."""
    found = find_anomalies(
        counted(deliveries(today[0], delivered=today[1])),
        counted(deliveries(before[0], delivered=before[1])),
        "EUR",
    )

    assert expected == [one.sentence for one in found]
    assert {"deliveries"} >= {one.kind for one in found}
    assert {EventCriteria(type="delivery.created", tenant="idp")} >= {one.criteria for one in found}


def test_a_copied_event_is_counted_once_and_reported():
    """R72: its MAC is valid, and only its id shows that it was there before."""
    success = told("otp.verified", 2, id="a" * 32)
    epochs = [told("log.epoch", at, id="epoch") for at in (8, 9)]
    sent = told("otp.sent", 1, id="b" * 32)
    overview = counted([told("otp.issued"), sent, success, success, *epochs])

    assert (1, 1, ()) == (overview.total.verified, overview.copies, overview.accepted_twice)
    (found,) = find_anomalies(overview, counted([]), "EUR")
    assert ("copies", 1) == (found.kind, found.now)


def test_a_code_that_was_accepted_twice_is_reported():
    """K1: a failover that loses the first success lets the code be accepted again."""
    events = [
        told("otp.issued", id="d" * 32),
        told("otp.verified", 1, id="a" * 32),
        told("otp.verified", 2, id="b" * 32, repeated=True),
        told("otp.verified", 3, id="c" * 32),
    ]
    overview = counted(events)

    assert ("c1",) == overview.accepted_twice
    (found,) = find_anomalies(overview, counted([]), "EUR")
    assert "The code of c1 was accepted more than once." == found.sentence


def test_ids_are_compared_in_bounded_memory(monkeypatch):
    """Statistics of years forget the ids that they saw first."""
    monkeypatch.setattr(stats_module, "MAX_TRACKED_IDS", 2)

    overview = counted([told("otp.sent", id=name) for name in ("a", "b", "c", "a", "a")])

    assert 1 == overview.copies


def test_a_flood_of_refusals_is_shown_by_its_hour():
    """Against the usual hour, also where it is the only one."""
    quiet = [told("otp.issue_denied", n * HOUR_MS, folded=30) for n in range(20)]
    flood = told("otp.issue_denied", 5 * HOUR_MS, folded=900)

    (found,) = find_anomalies(counted([*quiet, flood]), counted([]), "EUR")
    (alone,) = find_anomalies(counted([flood]), counted([]), "EUR")

    assert ("refusals", "1970-01-01T05:00:00.000Z", 930, 30) == (
        found.kind, found.name, found.now, found.before,
    )  # fmt: skip
    assert (900, 0) == (alone.now, alone.before)


def test_a_flood_of_refusals_of_one_factor_is_not_hidden_by_those_of_another():
    """Many refusals of SMS are usual here, and none of authenticators; it names the factor."""
    usual = [told("otp.issue_denied", n * HOUR_MS, folded=2000) for n in range(20)]
    quiet = [factor("authenticator.verified", n * HOUR_MS) for n in range(20)]
    flood = factor("authenticator.denied", 5 * HOUR_MS, folded=900, reason="rate_limited")

    (found,) = find_anomalies(counted([*usual, *quiet, flood]), counted([]), "EUR")

    assert ("refusals", "1970-01-01T05:00:00.000Z", 900, 0) == (
        found.kind, found.name, found.now, found.before,
    )  # fmt: skip
    assert "900 calls for authenticator apps were refused in an hour; 0 are usual." == (
        found.sentence
    )
    assert [] == find_anomalies(counted([*usual, *quiet]), counted([]), "EUR")


def test_a_locked_number_is_something_to_look_at():
    """Only an operator can do something about it."""
    (found,) = find_anomalies(
        counted([told("otp.locked", reason="number_locked", number="p1:1", number_suffix="56")]),
        counted([]),
        "EUR",
    )

    assert ("locked", "p1:1") == (found.kind, found.name)
    assert "A number that ends in 56 is locked" in found.sentence


def test_guesses_at_many_accounts_of_a_tenant_are_reported():
    """One guess at each account is stopped by no limit of an account; typing errors are not it."""
    guesses = [factor("authenticator.rejected", n, account=f"p1:{n}") for n in range(20)]
    typed = [
        factor(kind, account=f"p1:{n}", tenant="bank")
        for n in range(20)
        for kind in ("recovery.rejected", "recovery.used")
    ]
    logins = [factor("authenticator.verified", account=f"p1:v{n}") for n in range(10)]
    (found,) = find_anomalies(counted([*guesses, *typed]), counted(typed), "EUR")

    assert ("guessing", "tenant", "shop", 20, 0) == (
        found.kind, found.dimension, found.name, found.now, found.before,
    )  # fmt: skip
    assert found.sentence == (
        "20 codes of authenticator apps were wrong and 0 were right at shop; 20 accounts had wrong"
        " ones only."
    )
    assert [] == find_anomalies(counted(guesses[1:]), counted([]), "EUR")
    assert [] == find_anomalies(counted([*guesses, *logins]), counted([]), "EUR")


def test_codes_that_are_used_again_and_again_are_reported():
    """A few are people who submit a form twice."""
    replays = [factor("authenticator.replayed", n) for n in range(10)]
    logins = [factor("authenticator.verified", n) for n in range(201)]

    (found,) = find_anomalies(counted(replays), counted([]), "EUR")

    assert ("replays", "shop", 10) == (found.kind, found.name, found.now)
    assert "10 codes of authenticator apps at shop were right, and used before." == found.sentence
    assert [] == find_anomalies(counted(replays[1:]), counted([]), "EUR")
    assert [] == find_anomalies(counted([*replays, *logins]), counted([]), "EUR")


def test_far_more_recoveries_than_before_are_reported():
    """Somebody has a list of codes, or an app was lost by many."""
    used = [factor("recovery.used", n) for n in range(10)]

    (found,) = find_anomalies(counted(used), counted(used[:1]), "EUR")

    assert ("recoveries", "shop", 10, 1) == (found.kind, found.name, found.now, found.before)
    assert "10 logins at shop used a recovery code; in the period before, 1 did." == (
        found.sentence
    )
    assert [] == find_anomalies(counted(used), counted(used[:3]), "EUR")


def test_a_locked_account_is_something_to_look_at():
    """It names the factor, because the others are open."""
    (found,) = find_anomalies(
        counted([factor("authenticator.locked", reason="account_locked")]), counted([]), "EUR"
    )

    assert ("locked", "account", "p1:a") == (found.kind, found.dimension, found.name)
    assert "An account of shop is locked for authenticator apps" in found.sentence


# ------------------------------------------------------------------------------ reading entries


def entry(event: bytes, stamp: bytes = b"") -> Entry:
    return Entry(
        partition=1, position=StreamPosition(5, 1), epoch=1, event=event, mac="", stamp=stamp
    )


def read_record(entry: Entry) -> EventRecord | None:
    return build_event_record(decode_event(entry, has_valid_mac=True))


def test_what_only_redis_knew_stands_above_what_the_worker_said():
    """The limit, the reason and the fold; the time is that of the entry."""
    body = msgspec.json.encode({"type": "otp.issue_denied", "reason": "x", "at": 99, "other": []})

    found = read_record(
        entry(body, b'{"reason":"rate_limited","limit":"L","folded":3,"client_ips":2}')
    )

    assert found
    assert ("rate_limited", "L", 3, 5) == (found.reason, found.limit, found.folded, found.at)


@pytest.mark.parametrize(
    ("event", "stamp"),
    [(b"", b""), (b"[]", b""), (b'{"type":1}', b""), (b'{"type":"x"}', b"["),
     (b'{"type":"x"}', b'{"folded":"many"}')],
)  # fmt: skip
def test_what_the_service_does_not_say_is_nothing(event, stamp):
    """An attacker who can write to Redis cannot break the count."""
    assert read_record(entry(event, stamp)) is None
