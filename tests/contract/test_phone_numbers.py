"""Phone numbers: strict E.164, refused rather than repaired."""

import re
from typing import Any

import pytest

from tests.contract.support import (
    PLAIN,
    Dev,
    assert_invalid,
    assert_problem,
    at_once,
)


SPELLINGS = [
    "+1 (202) 555-0123",
    "+1-202-555-0123",
    "+1 202 555 0123",
    "+1.202.555.0123",
    "+1 202 555 0123 ext. 5",
    "+12025550123;ext=99",
    "+12025550123,,77",
    "+12025550123,1",
    "+12025550123x12345",
    "+12025550123~7",
    "+12025550123 int 7",
    "+12025550123;5",
    "+12025550123#7",
    "tel:+1-202-555-0123",
    "tel:+12025550123",
    "tel:202-555-0123;phone-context=+1",
    "+12025550123;isub=12",
    "++12025550123",
    "+" + "".join(chr(0xFF10 + int(digit)) for digit in PLAIN[1:]),  # full-width
    "\uff0b12025550123",  # a full-width plus
    "+" + "".join(chr(0x0660 + int(digit)) for digit in PLAIN[1:]),  # Arabic-Indic
    "+" + "".join(chr(0x0966 + int(digit)) for digit in PLAIN[1:]),  # Devanagari
    "+1202555\uff10\uff11\uff12\uff13",
    "+1202\u200b5550123",
    "+1202\u00ad5550123",
    "\u202a+12025550123\u202c",
    "\u200e+12025550123",
    "\ufeff+12025550123",
    "+1 202 KKK 0123",
    "+12025550123\x00",
    "+12025550123\n",
    "+12025550123\r\n",
    "+1202\n5550123",
    " +12025550123",
    "+12025550123 ",
    "\t+12025550123",
    "+1 1 202 555 0123",
    "+112025550123",
    "12025550123",
    "2025550123",
    "(202) 555-0123",
    "0012025550123",
    "01112025550123",
    "+1" + "2025550123" * 30,
]


REPAIRABLE = [
    "+44 (0)7911123456",
    "+4407911123456",
    "+49015112345678",
    "+8800171234567",
    "+55015119876543",
    "+5215512345678",  # the old Mexican mobile prefix
    "+551187654321",  # a Brazilian mobile with eight digits
    "+39612345678",  # an Italian number without its zero
    "+33612345678901",
    "+999123456789",
    "+00447400100001",
    "+447400",
    "+44999",
    "+1234567890123456",
    "+",
    "",
    "unknown",
]


def test_a_number_is_taken_as_it_is_or_not_at_all(dev: Dev) -> None:
    """Spellings that a lenient parser repairs are refused, charge nothing and send nothing."""
    for spelling in SPELLINGS:
        refused = dev.issue(spelling)
        assert_problem(refused, "invalid-phone-number", "invalid-request")

    assert [] == dev.inbox(PLAIN)
    assert 201 == dev.issue(PLAIN).status_code  # None began a cooldown.


def test_all_spellings_at_once_send_one_message(dev: Dev) -> None:
    """Invalid spellings are refused, and the valid ones share one cooldown."""
    number = "+12025550124"
    spellings = [spelling.replace("0123", "0124") for spelling in SPELLINGS[:16]]

    replies = at_once(*(lambda s=s: dev.issue(s) for s in [*spellings, number, number]))

    assert 1 == [reply.status_code for reply in replies].count(201)
    assert 1 == len(dev.inbox(number))


@pytest.mark.parametrize("number", REPAIRABLE)
def test_numbers_that_are_none_are_refused(dev: Dev, number: str) -> None:
    """Trunk zeros, old prefixes and impossible lengths are not repaired."""
    body = {"phone_number": number}

    refused = dev.api.post("/v1/challenges", json=body)

    assert_problem(refused, "invalid-phone-number")
    assert [] == dev.inbox(number)


@pytest.mark.parametrize("number", [447400100001, None, True, ["+447400100001"], {}, 1.5])
def test_a_number_is_a_string(dev: Dev, number: Any) -> None:
    """Another type is an invalid request."""
    assert_invalid(dev.api.post("/v1/challenges", json={"phone_number": number}))


@pytest.mark.parametrize(
    "number",
    [
        "+19002345678",  # premium rate
        "+449098790000",
        "+979123456789",
        "+447012345678",  # personal
        "+18002345678",  # toll free
        "+80012345678",
        "+442083661177",  # A landline.
        "+541123456789",  # A landline that resembles an Argentine mobile number.
    ],
)
def test_numbers_that_take_no_sms_are_refused(dev: Dev, number: str) -> None:
    """Only mobile numbers, and numbers that may be mobile, are accepted."""
    problem = assert_problem(dev.issue(number), "number-not-allowed")

    assert isinstance(problem["reason"], str)
    assert problem["reason"]
    assert [] == dev.inbox(number)


@pytest.mark.parametrize(
    "number", ["+12025550100", "+447700900124", "+61491570156", "+46701740605", "+33639981234"]
)
def test_fictitious_numbers_are_taken_in_development(dev: Dev, number: str) -> None:
    """Also invalid ones, because no phone has them."""
    assert 201 == dev.issue(number).status_code
    assert 1 == len(dev.inbox(number))


@pytest.mark.parametrize(
    "number",
    ["+4915123456789", "+33612345678", "+819012345678", "+5511987654321", "+5491123456789"],
)
def test_every_country_is_allowed_in_development(dev: Dev, number: str) -> None:
    """And a masked number keeps its country code."""
    view = dev.issue(number).json()

    assert re.fullmatch(rf"\+(49|33|81|55|54)[^0-9]+{number[-2:]}", view["phone_number"])
