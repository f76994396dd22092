"""The timeline of one challenge, as an operator on call reads it."""

from typing import Any

import pytest

from otp_service.audit.archive_format.entries import SequenceId
from otp_service.audit.archive_format.event_copies import EventPlace
from otp_service.audit.reports.challenge_outcome import DELIVERY_VERDICT
from otp_service.audit.reports.event_record import EventRecord
from otp_service.audit.reports.timeline import describe_event, render_timeline
from otp_service.core.printable_text import format_value
from otp_service.core.timestamps import parse_rfc3339


BEGIN = parse_rfc3339("2026-11-24T09:30:00.123Z")
ID = "c07-" + "5" * 32
HEAD = f"Challenge {ID} of shop, for login, to GB …56, issued 2026-11-24 09:30:00.123 UTC."
SOON, LATE = BEGIN + 60_000, BEGIN + 3600_000


def told(kind: str, after: int, **fields: Any) -> EventRecord:
    known = {
        "tenant": "shop",
        "purpose": "login",
        "country": "GB",
        "number_suffix": "56",
        "challenge": ID,
    }
    return EventRecord(type=f"otp.{kind}", at=BEGIN + after, **(known | fields))


DEADLINE = "2026-11-24T09:35:00.123Z"
ISSUED = told("issued", 0, key_id="web", client_ip="203.0.113.9", expires_at=DEADLINE)
SENT = told("sent", 312, provider="east", milliseconds=300)


@pytest.mark.parametrize(
    ("events", "now", "expected"),
    [
        pytest.param(
            [
                ISSUED,
                SENT,
                told("delivery", 2100, provider="east", status="delivered"),
                told("attempted", 14_200, attempts_left=4),
                told("verified", 14_207),
            ],
            LATE,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.312 s  sent              east accepted it in 300 ms
    +2.100 s  delivery          east reports send 1: delivered
   +14.200 s  attempted         4 attempts left
   +14.207 s  verified

Verified 14.207 s after it was issued, at the first attempt; the last message was sent through east.""",
            id="verified",
        ),
        pytest.param(
            [
                ISSUED,
                SENT,
                *(
                    one
                    for left in (1, 0)
                    for one in (
                        told("attempted", 9000 - left, attempts_left=left),
                        told("rejected", 9001 - left, reason="mismatch", attempts_left=left),
                    )
                ),
                told("locked", 9001, reason="attempts_exhausted"),
                told("verify_denied", 9500, reason="attempts_exhausted", folded=3),
            ],
            SOON,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.312 s  sent              east accepted it in 300 ms
    +8.999 s  attempted         1 attempt left
    +9.000 s  rejected          mismatch, 1 attempt left
    +9.000 s  attempted         0 attempts left
    +9.001 s  rejected          mismatch, 0 attempts left
    +9.001 s  locked            attempts_exhausted
    +9.500 s  verify denied     attempts_exhausted, 3 times

Locked: 2 codes were wrong, and no attempt is left.""",
            id="locked",
        ),
        pytest.param(
            [
                ISSUED,
                told("provider_failed", 200, provider="west", milliseconds=190, reason="overloaded"),
                told("sent", 500, provider="east", milliseconds=290, outcome="unknown",
                     reason="read-timeout"),
                told("delivery", 4000, provider="east", status="technical-failure", reason="lost",
                     trusted=False),
                told("resent", 31_000, send=2, reason="rescue"),
                told("sent", 31_200, provider="north", milliseconds=180),
                told("superseded", 31_201, send=1),
                told("delivery", 33_000, provider="north", status="delivered", send=2),
            ],
            SOON,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.200 s  provider failed   west did not accept it, in 190 ms: overloaded
    +0.500 s  sent              east may have accepted it in 290 ms: read-timeout
    +4.000 s  delivery          east reports send 1: technical-failure: lost (unsigned, so advisory)
   +31.000 s  resent            send 2, because rescue
   +31.200 s  sent              north accepted it in 180 ms
   +31.201 s  superseded        the code of send 1 is no longer valid
   +33.000 s  delivery          north reports send 2: delivered

Not verified yet, open until 09:35:00 UTC: no code was tried. north reports its message as delivered.""",
            id="fallback",
        ),
        pytest.param(
            [ISSUED, SENT, told("verify_denied", 301_000, reason="expired")],
            SOON,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.312 s  sent              east accepted it in 300 ms
  +301.000 s  verify denied     expired

Expired without being verified: no code was tried. The last message was sent through east, without a delivery report.""",
            id="expired",
        ),
        pytest.param(
            [ISSUED, told("provider_failed", 9, provider="east", milliseconds=8, reason="down"),
             told("canceled", 10, reason="delivery_failed")],
            LATE,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.009 s  provider failed   east did not accept it, in 8 ms: down
    +0.010 s  canceled          delivery_failed

Canceled 0.010 s after it was issued: delivery_failed.""",
            id="canceled",
        ),
        pytest.param(
            [ISSUED, SENT,
             told("issue_denied", 800, reason="rate_limited", limit="CooldownPerNumber", quota=1,
                  period=30),
             told("verify_denied", 900, reason="number_locked")],
            SOON,
            """\
    +0.000 s  issued            by key web, for 203.0.113.9
    +0.312 s  sent              east accepted it in 300 ms
    +0.800 s  issue denied      rate_limited (CooldownPerNumber: 1 in 30 s)
    +0.900 s  verify denied     number_locked

Not verified, because the number is locked: no code was tried. The last message was sent through east, without a delivery report.""",
            id="denied",
        ),
    ],
)  # fmt: skip
def test_a_story_reads_like_this(events, now, expected):
    """What happened when, and how it ended."""
    assert [HEAD, "", *expected.splitlines()] == render_timeline(events, now, "EUR")


def test_a_story_without_its_beginning_says_so():
    """Retention has deleted the earlier events."""
    head, *_, verdict = render_timeline([told("attempted", 0)], LATE, "EUR")

    assert "first event 2026-11-24" in head
    assert verdict.startswith("Expired without being verified: no code was tried.")


EVIL = (
    'x\n{"type":"otp.verified"}', "a\u2028b", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "\r", "\u0085",
    "\u2066x\u2069", "\u200b", "\x00", "\x9b31m",
)  # fmt: skip


@pytest.mark.parametrize("evil", EVIL)
def test_whatever_is_said_stays_on_its_line(evil):
    """R70: control and bidi characters are shown as what they are."""
    lines = render_timeline(
        [told("issued", 0, key_id=evil, client_ip=evil, country=evil, number_suffix=evil)], 0, "EUR"
    )
    lines += render_timeline([told("sent", 0, provider=evil, reason=evil)], 0, "EUR")
    lines += render_timeline(
        [told("delivery", 0, provider=evil, status=evil, reason=evil)], 0, "EUR"
    )
    lines += render_timeline([told(evil, 0, reason=evil, limit=evil)], 0, "EUR")

    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain é", "plain é"),
        ("a\nb", r"a\nb"),
        ("\u202e", r"\u202e"),
        (7, "7"),
        ("x" * 300, "x" * 200),
    ],
)
def test_a_value_is_shown_plainly(value, shown):
    """It is not longer than a person reads."""
    assert shown == format_value(value)


def place(at: int, partition: int = 7, epoch: int = 1) -> EventPlace:
    """Return a place in the log, at the same time after the issue."""
    return EventPlace(SequenceId(partition, epoch, at), BEGIN + at)


@pytest.mark.parametrize(
    ("copied_to", "said"),
    [
        (place(20), "is a copy of the event 07-1-10, at another position of its partition"),
        (place(20, 8), "is a copy of the event 07-1-10, which is in another partition"),
        (
            place(20, 7, 2),
            "repeats the event 07-1-10: a call was repeated after Redis was replaced",
        ),
        (place(900_000, 7, 2), "is a copy of the event 07-1-10, at another position"),
    ],
)
def test_a_copied_event_is_told_once_and_named(copied_to: EventPlace, said: str) -> None:
    """R72: a valid MAC does not show where an event was written, or how often."""
    success = told("verified", 10, id="b" * 32, place=place(10))
    copy = told("verified", 20, id="b" * 32, place=copied_to)

    lines = render_timeline([ISSUED, success, copy], LATE, "EUR")

    assert 1 == sum(line.endswith("  verified") for line in lines)
    assert said in lines[-1]
    assert "accepted" not in lines[-1]


def test_many_copies_are_counted() -> None:
    """A flood of copies does not fill the screen."""
    sent = [told("sent", n, id="c" * 32, provider="east", place=place(n)) for n in range(30)]

    lines = render_timeline([ISSUED, *sent], LATE, "EUR")

    assert 1 + 1 + 1 + 1 + 1 + 1 == len(lines)
    assert "Left out: 24 more copies." in lines[-1]


def test_a_code_that_was_accepted_twice_is_a_warning() -> None:
    """K1: a failover that loses the first success lets the code be accepted again."""
    events = [told("verified", n, id=str(n) * 32) for n in (1, 2)]
    repeated = told("verified", 3, id="3" * 32, repeated=True)

    assert (
        "WARNING: its code was accepted 2 times"
        in render_timeline([ISSUED, *events], LATE, "EUR")[-1]
    )
    assert "WARNING" not in render_timeline([ISSUED, events[0], repeated], LATE, "EUR")[-1]


def test_a_success_from_another_client_ip_is_a_warning() -> None:
    """F2: a phished code comes from the attacker, and the login was begun by the person."""
    address = {"client_ip": "198.51.100.7", "client_ip_changed": True}
    wrong = told("rejected", 1, reason="mismatch", attempts_left=4, **address)
    same = told("verified", 2, client_ip="203.0.113.9", client_ip_changed=False)

    lines = render_timeline([ISSUED, wrong, told("verified", 2, **address)], LATE, "EUR")

    assert lines[3].endswith("mismatch, 4 attempts left, from 198.51.100.7, another client IP")
    assert lines[4].endswith("verified          from 198.51.100.7, another client IP")
    assert lines[-1].endswith(
        "WARNING: it was issued for 203.0.113.9 and verified from 198.51.100.7."
    )
    assert "WARNING" not in render_timeline([ISSUED, same], LATE, "EUR")[-1]


def test_a_refused_issue_is_not_a_challenge() -> None:
    """F4: nothing was stored, so nothing can be verified, not even at once."""
    denied = told(
        "issue_denied", 0, reason="rate_limited", limit="SendsPerNumber", quota=5, period=600
    )

    head, *_, verdict = render_timeline([denied], BEGIN, "EUR")

    assert "refused 2026-11-24 09:30:00.123 UTC" in head
    assert verdict == (
        "Refused: rate_limited (SendsPerNumber: 5 in 600 s). No challenge was stored, and no message was"
        " sent."
    )


@pytest.mark.parametrize(
    ("limit", "used", "allowance", "text"),
    [
        ("UnverifiedPerCountryAndTenant", 640_000, 640_000, "0.64 of 0.64 EUR in 3600 s"),
        ("UnverifiedPerClientAddress", 15_500_000, 16_000_000, "15.5 of 16 messages in 3600 s"),
        ("UnverifiedPerClientAddress", 640_000, 0, "closed by an operator"),
    ],
)
def test_a_refusal_of_the_brake_has_the_figures_of_its_scope(
    limit: str, used: int, allowance: int, text: str
) -> None:
    """A quota of messages would be 0 for a scope that an operator has closed, and explain nothing."""
    fields = {"limit": limit, "quota": 16, "period": 3600}
    figures = {"unverified": used, "allowance": allowance}
    denied = told("issue_denied", 0, reason="rate_limited", **fields, **figures)

    assert f"rate_limited ({limit}: {text})." in render_timeline([denied], BEGIN, "EUR")[-1]


def test_a_delivery_ends_with_what_is_known_of_it() -> None:
    """It has no deadline and no attempts here; a refused one names no challenge."""
    fields = {"tenant": "shop", "purpose": "login", "country": "GB", "number_suffix": "56"}
    id_ = "d07-" + "5" * 32

    def build_event(kind: str, after: int, **more: Any) -> EventRecord:
        known = fields | {"challenge": id_} | more
        return EventRecord(type=f"delivery.{kind}", at=BEGIN + after, **known)

    lines = render_timeline(
        [
            build_event("created", 0, key_id="idp", expires_at=DEADLINE),
            build_event("provider_failed", 100, provider="west", milliseconds=90, reason="down"),
            build_event("sent", 312, provider="east", milliseconds=300),
            build_event("reported", 2100, provider="east", status="delivered"),
        ],
        LATE,
        "EUR",
    )
    refused = render_timeline([build_event("denied", 0, reason="country")], LATE, "EUR")

    assert (
        f"Delivery {id_} of shop, for login, to GB …56, created 2026-11-24 09:30:00.123 UTC."
        == lines[0]
    )
    assert lines[2:] == [
        "    +0.000 s  created           by key idp",
        "    +0.100 s  provider failed   west did not accept it, in 90 ms: down",
        "    +0.312 s  sent              east accepted it in 300 ms",
        "    +2.100 s  reported          east reports send 1: delivered",
        "",
        f"east reports its message as delivered. {DELIVERY_VERDICT}",
    ]
    assert "refused 2026-11-24" in refused[0]
    assert "Refused: country. No delivery was stored, and no message was sent." == refused[-1]


@pytest.mark.parametrize(
    ("after", "is_open"), [(299_999, True), (300_000, False), (300_001, False)]
)
def test_a_challenge_is_open_until_its_own_deadline(after: int, is_open: bool) -> None:  # noqa: FBT001
    """F4: seen to fail where every challenge counted as open for ten minutes."""
    verdict = render_timeline([ISSUED, SENT], BEGIN + after, "EUR")[-1]

    assert is_open == ("open until 09:35:00 UTC" in verdict)
    assert is_open != ("Expired without being verified" in verdict)


def test_a_lock_of_the_number_does_not_keep_a_challenge_open() -> None:
    """F4: after the deadline it has expired, whatever refused it before."""
    denied = told("verify_denied", 900, reason="number_locked")

    assert render_timeline([ISSUED, denied], LATE, "EUR")[-1].startswith("Expired")


def test_the_last_attempt_locks_a_challenge_unless_it_was_refunded() -> None:
    """A worker that stops after the charge records no outcome; a store that fails refunds it."""
    charged = told("attempted", 1, attempts_left=0)
    refunded = told("verify_denied", 2, reason="store_unavailable")

    assert render_timeline([ISSUED, charged], SOON, "EUR")[-1].startswith("Locked")
    assert render_timeline([ISSUED, charged, refunded], SOON, "EUR")[-1].startswith(
        "Not verified yet"
    )


def test_the_answer_of_the_risk_service_is_shown() -> None:
    """R31: whether it refused or failed, and the reason that it gave."""
    refused = told(
        "issue_denied", 0, outcome="failure", reason="risk", risk_answer="refuse", risk_reason="sim"
    )
    asked = told("issued", 0, key_id="web", risk_answer="failed", risk_reason="timeout")

    assert "risk (refuse: sim)" == describe_event(refused, "EUR")
    assert "by key web, risk service: failed: timeout" == describe_event(asked, "EUR")
    assert "by key web, for 203.0.113.9" == describe_event(ISSUED, "EUR")
