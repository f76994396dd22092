"""The person whom a search names, and the reason for it, which names no person (R68)."""

import re
from typing import Final, NamedTuple

import msgspec

from otp_service.core.errors import InvalidPhoneNumber, InvalidRequest
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.printable_text import has_phone_number, has_word
from otp_service.schemas import Account


MAX_REASON_CHARS: Final = 200

_MIN_REVEALING_DIGITS: Final = 6
"""Consecutive digits of the number that a reason must not contain."""


class SearchedPerson(NamedTuple):
    """The number and the account that the form names; if it names both, events must match both."""

    phone: PhoneNumber | None
    account: str | None


def parse_phone_number(text: str) -> PhoneNumber | None:
    """Return the number, None if the field is empty. Raises InvalidRequest."""
    if not text:
        return None
    try:
        return classify_number(re.sub(r"[\s().-]", "", text))[0]
    except InvalidPhoneNumber:
        message = "This is not a number in the form +447400123456."
        raise InvalidRequest(("number", message)) from None


def parse_account(text: str) -> str | None:
    """Return the account, None if the field is empty. Raises InvalidRequest."""
    try:
        return msgspec.convert(text, Account) if text else None
    except msgspec.ValidationError:
        raise InvalidRequest(("account", "This is not the name of an account.")) from None


def require_reason(reason: str, person: SearchedPerson) -> None:
    """Raise InvalidRequest without a reason, or if the reason names the person (R68)."""
    if not reason:
        raise InvalidRequest(("reason", "Say why you look up a person: the log records it."))
    if has_phone_number(reason) or (person.phone and _has_number_digits(reason, person.phone)):
        raise InvalidRequest(("reason", "The log keeps it, so it must not contain a number."))
    if person.account is not None and has_word(reason, person.account):
        raise InvalidRequest(("reason", "The log keeps it, so it must not contain the account."))


def _has_number_digits(reason: str, phone: PhoneNumber) -> bool:
    digits = re.sub(r"\D", "", reason)
    own, size = phone.e164[1:], _MIN_REVEALING_DIGITS
    return any(own[i : i + size] in digits for i in range(len(own) - size + 1))
