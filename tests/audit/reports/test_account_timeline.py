"""The timeline of an account: its lines, and what it says at the end."""

from typing import Any

from otp_service.audit.reports.account_timeline import render_account_timeline
from otp_service.audit.reports.event_record import EventRecord


AT = 1_763_976_600_123
APP, OTHER_APP, CODES = "4f9a12c0" + "0" * 24, "9b1c2d3e" + "1" * 24, "77ab12cd" + "2" * 24


def told(kind: str, seconds: int = 0, **fields: Any) -> EventRecord:
    """One event of the account at the tenant `shop`."""
    known: dict[str, Any] = {"tenant": "shop", "account": "1:9f8e", "key_id": "web"}
    known |= {"type": kind, "at": AT + seconds * 1000} | fields
    return EventRecord(**known)


def test_an_enrolment_and_logins_are_a_timeline() -> None:
    """Each line has its time, because logins are days apart."""
    lines = render_account_timeline(
        [
            told("authenticator.enrolled", authenticator=APP),
            told("authenticator.rejected", 1, authenticator=APP, reason="mismatch"),
            told("authenticator.confirmed", 2, authenticator=APP),
            told("authenticator.verified", 86_400, authenticator=APP),
            told("authenticator.verified", 86_401, authenticator=APP, repeated=True),
            told("otp.issued", 86_402, challenge="c07-1", client_ip="203.0.113.9"),
            told("authenticator.denied", 86_403, reason="rate_limited", limit="L", quota=5, period=600, folded=3),
        ], "EUR"
    )  # fmt: skip

    assert lines == [
        "Account 1:9f8e of shop, 7 events since 2025-11-24 09:30:00.123 UTC.",
        "",
        "    2025-11-24 09:30:00.123  authenticator enrolled   4f9a12c0, by key web",
        "    2025-11-24 09:30:01.123  authenticator rejected   4f9a12c0, mismatch",
        "    2025-11-24 09:30:02.123  authenticator confirmed  4f9a12c0",
        "    2025-11-25 09:30:00.123  authenticator verified   4f9a12c0",
        "    2025-11-25 09:30:01.123  authenticator verified   4f9a12c0, repeated",
        "    2025-11-25 09:30:02.123  issued                   c07-1, by key web, for 203.0.113.9",
        "    2025-11-25 09:30:03.123  authenticator denied     rate_limited (L: 5 in 600 s), 3 times",
        "",
        "Authenticator 4f9a12c0 was confirmed; it was verified once, last 2025-11-25 09:30:00.123.",
    ]


def describe_end(*events: EventRecord) -> list[str]:
    """Return what follows the lines of the events."""
    return render_account_timeline(events, "EUR")[len(events) + 3 :]


def test_each_authenticator_and_recovery_set_has_its_state_at_the_end() -> None:
    """An imported authenticator has no confirmation; the newest count of codes is the one that counts."""
    other = "Authenticator 9b1c2d3e"

    assert describe_end(
        told("authenticator.enrolled", authenticator=APP),
        told("authenticator.verified", 1, authenticator=OTHER_APP),
        told("authenticator.verified", 2, authenticator=OTHER_APP),
        told("recovery.created", 3, recovery_set=CODES),
        told("recovery.used", 4, recovery_set=CODES, codes_left=1),
        told("recovery.created", 5, recovery_set="88" * 16),
        told("recovery.rejected", 6, recovery_set="99" * 16, reason="mismatch"),
    ) == [
        "Authenticator 4f9a12c0 was not confirmed.",
        f"{other} was in use before; it was verified 2 times, last 2025-11-24 09:30:02.123.",
        "Recovery set 77ab12cd has 1 code left.",
        "Recovery set 88888888 has 10 codes left.",
    ]
    assert describe_end(told("authenticator.confirmed", authenticator=APP)) == [
        "Authenticator 4f9a12c0 was confirmed; it was not verified since."
    ]


def test_a_lock_that_nobody_ended_is_named_at_the_end() -> None:
    """With its factor, because the other factors are open."""
    locked = told("recovery.locked", 1, reason="account_locked", recovery_set=CODES)

    assert describe_end(locked) == [
        "It has neither an authenticator nor recovery codes.",
        "The account is locked for recovery codes at shop since 2025-11-24 09:30:01.123 UTC.",
    ]
    assert 1 == len(describe_end(locked, told("otp.unlocked", 2, reason="by_operator")))


def test_hostile_values_stay_on_their_line_and_copies_are_left_out() -> None:
    """R70, R72: as in the timeline of a challenge."""
    hostile = told("otp.canceled", reason="x\n\x1b[2J", id="a" * 32)

    lines = render_account_timeline([hostile, hostile], "EUR")

    assert all(line.isprintable() for line in lines)
    assert "x\\n" in lines[2]
    assert "1 event since" in lines[0]
