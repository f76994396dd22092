"""Challenges that could still be verified when the period ended: neither verified nor unverified."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.reports.anomalies import find_anomalies
from otp_service.audit.reports.brake_stats import RangeRow
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.stats import StatsCollector, StatsOverview
from otp_service.cli.tables import format_brake_stats
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, format_rfc3339


END = 100 * HOUR_MS
LIFETIME_MS = 5 * MINUTE_MS
PRICE = 75_000


def count_events(events: Iterable[EventRecord], ends_at: int = END) -> StatsOverview:
    """Return the statistics of these events, which are given oldest first."""
    collector = StatsCollector(ends_at)
    for event in reversed([*events]):
        collector.add_event(event)
    return collector.build_overview()


def build_event(kind: str, challenge: str, at: int, **fields: Any) -> EventRecord:
    known: dict[str, Any] = {"tenant": "shop", "country": "GB", "challenge": challenge, "at": at}
    return EventRecord(type=f"otp.{kind}", **(known | fields))


def build_challenge(name: str, deadline: int, **fields: Any) -> list[EventRecord]:
    """Return the issue and the message of a challenge."""
    at, expires_at = deadline - LIFETIME_MS, format_rfc3339(deadline)
    brake = {"price": PRICE, "measure": "unverified", "prefix": "p:1"}
    return [
        build_event("issued", name, at, expires_at=expires_at, **(brake | fields)),
        build_event("sent", name, at + 1, provider="east"),
    ]


def build_challenges(count: int, deadline: int) -> list[EventRecord]:
    return [event for n in range(count) for event in build_challenge(f"c{n}", deadline)]


def test_a_pending_challenge_is_in_no_conversion() -> None:
    """In no row: by hour, country, provider and tenant, and in all. A second message is pending too."""
    found = count_events(
        [
            *build_challenge("over", END),
            *build_challenge("right", END + 1),
            *build_challenge("open", END + 2),
            build_event("resent", "open", END - 4, price=PRICE, measure="unverified"),
            build_event("sent", "open", END - 3, provider="east"),
            build_event("verified", "right", END - 2),
        ]
    )

    groups = (found.hours, found.countries, found.tenants, (("all", found.total),))
    for rows in groups:
        ((_, row),) = rows
        assert (3, 1, 1, 0.5) == (row.issued, row.verified, row.pending, row.conversion)
    ((_, east),) = found.providers
    assert (4, 1, 2, 0.5) == (east.sent, east.verified, east.pending, east.conversion)
    (prefix,) = found.attacks.prefixes
    assert (3, 1, 1) == (prefix.issued, prefix.verified, prefix.pending)


@pytest.mark.parametrize(
    ("expires_at", "is_pending"),
    [
        (format_rfc3339(END), False),
        (format_rfc3339(END + 1), True),
        (None, True),
        ("soon", True),
    ],
    ids=["over at the end", "a millisecond later", "unknown", "unreadable"],
)
def test_a_challenge_is_pending_until_its_deadline(
    expires_at: str | None,
    is_pending: bool,  # noqa: FBT001
) -> None:
    """Without a deadline it is the longest that settings allow."""
    issued = build_event("issued", "c", END - 10 * MINUTE_MS + 1, expires_at=expires_at)

    assert is_pending == count_events([issued]).total.pending
    assert 0 == count_events([issued], END + HOUR_MS).total.pending


@pytest.mark.parametrize(
    "end",
    [
        build_event("canceled", "open", END - 1, reason="by_tenant"),
        build_event("locked", "open", END - 1, reason="attempts_exhausted"),
        build_event("verify_denied", "open", END - 1, reason="attempts_exhausted"),
    ],
    ids=lambda event: event.type,
)
def test_a_challenge_that_has_ended_early_is_not_pending(end: EventRecord) -> None:
    """Nothing can verify it, although its lifetime goes on."""
    found = count_events([*build_challenge("open", END + MINUTE_MS), end])

    assert (0, 0.0) == (found.total.pending, found.total.conversion)
    assert PRICE == found.brake.unverified_money


def test_a_verification_after_the_period_leaves_a_challenge_pending() -> None:
    """It is not read, so 'not entered' would be wrong."""
    assert 1 == count_events(build_challenge("open", END + 1)).total.pending


def test_the_money_of_pending_messages_is_a_sum_of_its_own() -> None:
    resent = build_event("resent", "open", END - 1, price=PRICE, measure="unverified")
    events = [*build_challenge("over", END), *build_challenge("open", END + 1), resent]

    brake = count_events(events).brake

    assert (3 * PRICE, PRICE, 2 * PRICE) == (
        brake.sent_money, brake.unverified_money, brake.pending_money,
    )  # fmt: skip
    assert (
        RangeRow("p:1", "GB", sends=3, unverified=1, unverified_money=PRICE, pending=2),
    ) == brake.ranges
    text = "\n".join(format_brake_stats(brake, "EUR"))
    cost = (
        "0.075 EUR of it for codes that were not entered, and 0.15 EUR for codes that still can be."
    )
    assert f"Messages cost 0.225 EUR; {cost}" in text
    assert "still can be" not in "\n".join(
        format_brake_stats(count_events(events, END + HOUR_MS).brake, "EUR")
    )


@pytest.mark.parametrize(("count", "kind"), [(10, "unverified-range"), (21, "pumping")])
def test_codes_that_can_still_be_entered_are_no_attack(count: int, kind: str) -> None:
    """A launch was an alarm for a reader of its first seconds. After the deadline it is one."""
    events = build_challenges(count, END + 1)
    nothing = count_events([])

    assert [] == find_anomalies(count_events(events), nothing, "EUR")
    found = find_anomalies(count_events(events, END + 1), nothing, "EUR")
    assert kind in {one.kind for one in found}


def test_an_attack_is_found_by_what_is_over_while_more_of_it_is_pending() -> None:
    ended = build_challenges(21, END)
    begun = [event for n in range(4) for event in build_challenge(f"d{n}", END + 1)]

    sentences = {
        one.sentence
        for one in find_anomalies(count_events([*ended, *begun]), count_events([]), "EUR")
        if one.kind == "pumping"
    }

    (sentence,) = sentences
    assert sentence.startswith(
        "21 codes were sent to one block of 10,000 numbers in GB, and 0% came"
    )
    assert sentence.endswith("back; 4 more can still be entered.")


def test_pending_challenges_are_no_drop_of_the_conversion() -> None:
    """Twenty logins of the last minute halved the conversion of a quiet hour."""
    day = [event for n in range(20) for event in build_challenge(f"a{n}", END - HOUR_MS)]
    day += [build_event("verified", f"a{n}", END - HOUR_MS) for n in range(20)]
    usual = count_events(day)

    assert [] == find_anomalies(count_events([*day, *build_challenges(20, END + 1)]), usual, "EUR")


MILLISECONDS = st.integers(-2 * LIFETIME_MS, 2 * LIFETIME_MS)


@given(deadlines=st.lists(MILLISECONDS, max_size=20), verified=st.sets(st.integers(0, 19)))
def test_every_challenge_is_verified_pending_or_over(
    deadlines: list[int], verified: set[int]
) -> None:
    """Whatever the deadlines, in the order of their issue."""
    events = []
    for n, deadline in enumerate(sorted(deadlines)):
        events += build_challenge(f"c{n}", END + deadline)
    events += [build_event("verified", f"c{n}", END) for n in verified if n < len(deadlines)]

    total = count_events(events).total

    is_pending = [
        deadline > 0 and n not in verified for n, deadline in enumerate(sorted(deadlines))
    ]
    assert (len(deadlines), sum(is_pending)) == (total.issued, total.pending)
    assert total.verified == sum(n < len(deadlines) for n in verified)
