"""The numbers whose messages fail, are late, or are reported as lost."""

import itertools
import re
from pathlib import Path

import pytest

import otp_service
from otp_service.core.delivery import Fault
from otp_service.core.phone_number import parse_number
from otp_service.core.policy import Policy
from otp_service.sms.providers.inbox_outcomes import (
    LATE_ARRIVAL_SECONDS,
    NUMBER_BLOCKS,
    ORDINARY_OUTCOME,
    OUTCOMES_BY_DIGIT,
    SLOW_REPLY_SECONDS,
    find_outcome,
)
from otp_service.sms.router import SEND_DEADLINE_SECONDS


BRITISH_NUMBERS = [f"+447700900{line:03}" for line in range(1000)]
AMERICAN_NUMBERS = [
    f"+1{area}55501{line:02}" for area in (202, 212, 888, 988, 989, 990) for line in range(100)
]
OTHER_NUMBERS = ["+33639980190", "+46701740690", "+491713920090", "+61491570006", "+447400900991"]


def test_twenty_numbers_have_an_outcome_and_no_other_one_has() -> None:
    """A user who picks any other number gets the message at once."""
    numbers = [*BRITISH_NUMBERS, *AMERICAN_NUMBERS, *OTHER_NUMBERS]
    special = [
        number
        for number in numbers
        if {ORDINARY_OUTCOME} != {find_outcome(number, send) for send in (1, 2, 3)}
    ]

    expected = [f"+44770090099{digit}" for digit in range(10)]
    assert [*expected, *(f"+1989555019{digit}" for digit in range(10))] == special


@pytest.mark.parametrize("digit", "0123456789")
def test_both_countries_have_the_same_outcomes(digit: str) -> None:
    """A login that libphonenumber validates can use the American ones."""
    british, american = (f"{block}{digit}" for block in NUMBER_BLOCKS)

    for send in (1, 2, 3):
        assert find_outcome(british, send) == find_outcome(american, send)
    for number in (british, american):
        assert parse_number(number, allow_fictitious=True).is_fictitious


def test_a_refused_message_never_arrives() -> None:
    """Only what may have been sent can arrive."""
    for outcome in itertools.chain(*OUTCOMES_BY_DIGIT.values()):
        if outcome.refusal and outcome.refusal.fault is not Fault.UNKNOWN:
            assert not outcome.arrives
            assert outcome.receipt_status is None


def find_status(number: str) -> int:
    """Return the status of the answer to an issue that one provider has this outcome for."""
    refusal = find_outcome(number, 1).refusal
    if refusal is None or refusal.fault is Fault.UNKNOWN:
        return 201
    return 422 if refusal.fault is Fault.RECIPIENT else 502


def test_the_page_has_a_row_with_the_status_of_each_number() -> None:
    """The only place where a user finds them."""
    page = Path(otp_service.__file__).parents[1] / "docs" / "testing.md"
    rows = re.findall(r"^\| `(\d)` \| (\d{3})", page.read_text(), re.MULTILINE)

    assert [(d, str(find_status(f"{NUMBER_BLOCKS[0]}{d}"))) for d in OUTCOMES_BY_DIGIT] == rows


def test_the_durations_are_what_the_page_promises() -> None:
    """A slow send is within the deadline, and a late message comes after a resend is possible."""
    assert SLOW_REPLY_SECONDS < SEND_DEADLINE_SECONDS
    assert Policy().cooldown < LATE_ARRIVAL_SECONDS
