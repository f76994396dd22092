"""The fields of the search form, and the query that they become."""

import re
from typing import Any, Final, NamedTuple

import msgspec

from otp_service.audit.query.client_ip_filter import parse_client_ip_filter
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import InvalidRequest, OtpError
from otp_service.core.events import EVENT_TYPES
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.printable_text import has_phone_number, has_word
from otp_service.core.timestamps import HOUR_MS
from otp_service.schemas import Account


PERIOD_LABELS: Final = {
    "1": "the last hour",
    "24": "the last 24 hours",
    "168": "the last 7 days",
    "": "everything there is",
}

EVENT_TYPE_NAMES: Final = tuple(sorted(EVENT_TYPES))

MAX_REASON_CHARS: Final = 200

_MIN_REVEALING_DIGITS: Final = 6
"""Consecutive digits of the number that a reason must not contain."""


class SearchedPerson(NamedTuple):
    """The number and the account that the form names; if it names both, events must match both."""

    phone: PhoneNumber | None
    account: str | None


class SearchForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the form as they were sent; empty ones are left out."""

    number: str = ""
    account: str = ""
    reason: str = ""
    challenge: str = ""
    address: str = ""
    type: str = ""
    tenant: str = ""
    hours: str = "24"
    cursor: str = ""

    @property
    def is_challenge_alone(self) -> bool:
        """Whether only a challenge is given, which has a page of its own."""
        others = self.number, self.account, self.address, self.type, self.tenant
        return parse_partition(self.challenge) is not None and not any(others)

    def check_client_ip(self) -> None:
        """Raise InvalidRequest if the address is invalid."""
        try:
            if self.address:
                parse_client_ip_filter(self.address)
        except InvalidRequest:
            raise InvalidRequest(("address", "This is not an address like 203.0.113.9.")) from None

    def parse_person(self) -> SearchedPerson:
        """Return the person that the form names; the reason for it names no person.

        Raises InvalidPhoneNumber, and InvalidRequest for the other fields.
        """
        if self.challenge and parse_partition(self.challenge) is None:
            raise InvalidRequest(("challenge", "This is not the id of a challenge."))
        phone = None
        if self.number:
            phone, _ = classify_number(re.sub(r"[\s().-]", "", self.number))
        person = SearchedPerson(phone, _parse_account(self.account) if self.account else None)
        if any(person):
            _check_reason(self.reason, person)
        return person

    def describe_error(self, error: OtpError) -> tuple[str, str]:
        """Return the name of the invalid field, and the message for it."""
        if isinstance(error, InvalidRequest):
            return error.errors[0]
        return "number", "This is not a number in the form +447400123456."

    def to_event_query(
        self, visible_tenant: str | None, now: int, person: SearchedPerson
    ) -> dict[str, Any]:
        """Return the query for the reader, limited to `visible_tenant` if there is one."""
        return {
            "tenant": visible_tenant if visible_tenant is not None else self.tenant or None,
            "number": person.phone,
            "account": person.account,
            "since": now - int(self.hours) * HOUR_MS if self.hours else None,
            "type": self.type or None,
            "challenge": self.challenge or None,
            "client_ip": self.address or None,
        }


def parse_search_form(fields: dict[str, str]) -> SearchForm:
    """Return the form of these fields. Raises InvalidRequest if our form cannot have sent them."""
    try:
        form = msgspec.convert({name: text.strip() for name, text in fields.items()}, SearchForm)
    except msgspec.ValidationError:
        raise InvalidRequest(("", "must be the form of the search")) from None
    if form.hours not in PERIOD_LABELS or len(form.reason) > MAX_REASON_CHARS:
        raise InvalidRequest(("", "must be the form of the search"))
    return form


def _parse_account(text: str) -> str:
    try:
        return msgspec.convert(text, Account)
    except msgspec.ValidationError:
        raise InvalidRequest(("account", "This is not the name of an account.")) from None


def _check_reason(reason: str, person: SearchedPerson) -> None:
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
