"""What `otp-service why` prints of the brake on SMS pumping."""

import pytest
from msgspec.structs import replace

from otp_service.cli.send_preview_report import build_members, format_previews
from otp_service.core.commit import DebtState
from otp_service.core.errors import DebtLimited
from otp_service.core.phone_number import parse_number
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, ScopeBucket
from otp_service.core.send_preview import DebtPreview, SendPreview
from otp_service.core.timestamps import MINUTE_MS
from otp_service.service.context import Subject
from tests.money_text import list_bare_amounts


NOW, PRICE, WAIT_MS = 1_796_040_000_000, 40_000, 90 * MINUTE_MS
SUBJECT = Subject(parse_number("+447400123456"), "u-1", "192.0.2.1", "192.0.2.1")
RANGE = DebtCharge(
    ScopeBucket(DebtLimit.UNVERIFIED_RANGE, "", "+44740012"), Terms((0, 0)), MESSAGE_UNITS
)
COUNTRY = DebtCharge(ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "GB"), Terms((0, 0)), PRICE)


def build_state(charge, wait_ms, unverified, allowance):
    """Return the state of a scope; it is full if there is a wait."""
    return DebtState(charge, wait_ms > 0, wait_ms, unverified, allowance)


FULL = DebtPreview(
    build_state(RANGE, WAIT_MS, (16_000_000, 16_000_000), (16_000_000, 32_000_000)), NOW + WAIT_MS
)
NEAR = DebtPreview(build_state(COUNTRY, 0, (1_600_000, 0), (2_000_000, 10_000_000)), NOW)
LOW = DebtPreview(build_state(COUNTRY, 0, (1_599_999, 0), (2_000_000, 10_000_000)), NOW)
ERROR = DebtLimited(
    "UnverifiedPerRange",
    retry_after=5400,
    quota=16,
    period_seconds=3600,
    unverified=16_000_000,
    allowance=16_000_000,
)
REFUSED = SendPreview("shop", ERROR, debts=(NEAR, FULL), debt_wait_ms=WAIT_MS, inspected_at=NOW)


def format_lines(preview):
    return list(format_previews(SUBJECT, [preview], "EUR"))


def test_a_full_scope_has_its_figures_in_its_unit_and_its_end():
    """Those near their allowance follow; one of money has its messages too."""
    heading, full, near = format_lines(REFUSED)

    assert heading == "+44********56  at shop: refused until 2026-11-30T13:30:00Z (1 h 30 min)"
    assert full == (
        "  UnverifiedPerRange             16 of 16 messages in 1 h, 16 of 32 messages in 1 d"
        + " " * 41
        + "refuses until 2026-11-30T13:30:00Z (1 h 30 min)"
    )
    assert near.startswith("  UnverifiedPerCountryAndTenant  1.60 of 2.00 EUR (40 of 50 messages)")
    assert near.endswith("  admits it")
    assert [] == list_bare_amounts(near, "EUR")


def test_a_delivery_is_called_one():
    """Its limits are others than those of an issue, for people and for programs."""
    preview = replace(REFUSED, is_delivery=True)

    assert format_lines(preview)[0].startswith("+44********56  at shop, a delivery: refused until ")
    assert build_members(1, SUBJECT, preview, "EUR")["delivery"] is True
    assert build_members(1, SUBJECT, REFUSED, "EUR")["delivery"] is False


def test_a_scope_of_countries_has_their_number_in_a_day():
    """It has no hour and no money, in JSON neither."""
    bucket = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "192.0.2.1")
    charge = DebtCharge(bucket, Terms((3, 3)), 1, country="GB")
    full = DebtPreview(build_state(charge, WAIT_MS, (0, 3), (3, 3)), NOW + WAIT_MS)
    preview = replace(REFUSED, debts=(full,))

    _, line = format_lines(preview)
    (debt,) = build_members(1, SUBJECT, preview, "EUR")["debts"]

    assert line == (
        "  UnverifiedCountriesPerClientAddress  3 of 3 countries in 1 d  "
        "refuses until 2026-11-30T13:30:00Z (1 h 30 min)"
    )
    assert [{"unverified": 3, "allowance": 3, "period_seconds": 86_400}] == debt["windows"]


def test_a_scope_that_only_records_would_refuse():
    """The send is admitted, and a scope that is used to less than 80 % has no line."""
    recorded = replace(FULL, state=replace(FULL.state, charge=replace(RANGE, refuses=False)))

    heading, full = format_lines(SendPreview("shop", None, debts=(recorded, LOW)))

    assert heading.endswith("at shop: admitted")
    assert full.endswith("would refuse until 2026-11-30T13:30:00Z (1 h 30 min)")


def test_a_scope_that_an_operator_has_closed_is_called_so():
    """Its figures have room, so 'refuses' alone would look like a fault."""
    closed = replace(RANGE, closed_until=NOW + WAIT_MS)
    state = replace(FULL.state, charge=closed, unverified=(0, 0))

    _, line = format_lines(replace(REFUSED, debts=(replace(FULL, state=state),)))

    assert line.endswith("closed by an operator until 2026-11-30T13:30:00Z (1 h 30 min)")


def test_a_scope_that_an_operator_has_opened_is_called_so():
    """It may be full: '5 of 3 messages' alone does not say why it admits one more."""
    opened = replace(RANGE, open_until=NOW + 10 * MINUTE_MS)
    state = replace(FULL.state, charge=opened, is_full=False, wait_ms=0)

    _, line = format_lines(SendPreview("shop", None, debts=(replace(FULL, state=state),)))

    assert line.endswith("admits it, opened by an operator until 2026-11-30T12:10:00Z")


def test_a_closed_scope_that_is_full_after_its_end_has_both_instants():
    """What the operator has decided ends earlier than the refusal."""
    closed = replace(RANGE, closed_until=NOW + 10 * MINUTE_MS)
    state = replace(FULL.state, charge=closed)

    _, line = format_lines(replace(REFUSED, debts=(replace(FULL, state=state),)))

    assert line.endswith(
        "closed by an operator until 2026-11-30T12:10:00Z (10 min), "
        "then full until 2026-11-30T13:30:00Z (1 h 30 min)"
    )


def test_one_missing_member_is_one_with_its_limits():
    subject = replace(SUBJECT, account=None)

    *_, line = format_previews(subject, [REFUSED], "EUR")

    assert line == "  Without account in its line, its limits were not looked at."


def test_a_known_number_is_called_so_and_its_full_scopes_are_left_out():
    known = SendPreview("shop", None, debts=(replace(FULL, is_charged=False),), is_known=True)

    _, *lines = format_lines(known)

    assert lines == ["  The number is known here: of the brake, only the budget of the day counts."]


@pytest.mark.parametrize("is_charged", [True, False])
def test_json_has_every_scope_with_exact_amounts(is_charged):
    preview = replace(REFUSED, debts=(replace(FULL, is_charged=is_charged),))

    members = build_members(1, SUBJECT, preview, "EUR")

    assert ("EUR", False, 5400) == tuple(members[k] for k in ("currency", "known", "retry_after"))
    (debt,) = members["debts"]
    assert (is_charged, is_charged) == (debt["refuses"], debt["is_over"])
    assert ("messages", 1_000_000) == (debt["unit"], debt["charge"])
    assert {
        "unverified": 16_000_000,
        "allowance": 32_000_000,
        "period_seconds": 86_400,
    } == debt["windows"][1]
