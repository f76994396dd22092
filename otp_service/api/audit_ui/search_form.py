"""What a person may look for, as the form has it."""

import re
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from otp_service.core import events
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import InvalidRequest, OtpError
from otp_service.core.ip_address import parse_client_ip
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.printable_text import has_phone_number
from otp_service.core.timestamps import HOUR_MS


PERIOD_LABELS: Final = {
    "1": "the last hour",
    "24": "the last 24 hours",
    "168": "the last 7 days",
    "": "everything there is",
}

EVENT_TYPE_NAMES: Final = tuple(
    sorted(
        str(kind.__struct_config__.tag)
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
    )
)

MAX_REASON_CHARS: Final = 200

_MIN_REVEALING_DIGITS: Final = 6
"""Digits in a row of a number that may not stand in a reason."""


class SearchForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of the form, as they were sent; empty ones were left out."""

    number: str = ""
    reason: str = ""
    challenge: str = ""
    address: str = ""
    type: str = ""
    tenant: str = ""
    hours: str = "24"
    cursor: str = ""

    @property
    def is_challenge_alone(self) -> bool:
        """Whether a challenge's own page says all."""
        others = self.number, self.address, self.type, self.tenant
        return parse_partition(self.challenge) is not None and not any(others)

    def normalize_address(self) -> "SearchForm":
        """Return it with the address as events hold it. Raises InvalidRequest if it is none."""
        try:
            return replace(self, address=self.address and str(parse_client_ip(self.address)))
        except InvalidRequest:
            raise InvalidRequest(("address", "This is no address like 203.0.113.9.")) from None

    def parse_phone_number(self) -> PhoneNumber | None:
        """Return the number. Raises InvalidPhoneNumber, and InvalidRequest for what is missing."""
        if self.challenge and parse_partition(self.challenge) is None:
            raise InvalidRequest(("challenge", "This is no id of a challenge."))
        if not self.number:
            return None
        phone, _ = classify_number(re.sub(r"[\s().-]", "", self.number))
        if not self.reason:
            raise InvalidRequest(("reason", "Say why you look a number up: the log keeps it."))
        if has_phone_number(self.reason) or _has_number_digits(self.reason, phone):
            raise InvalidRequest(("reason", "The reason is kept, so no number must be in it."))
        return phone

    def describe_error(self, error: OtpError) -> tuple[str, str]:
        """Return the field that is wrong, and what is wrong with it."""
        if isinstance(error, InvalidRequest):
            return error.errors[0]
        return "number", "This is no number in the form +447400123456."

    def to_event_query(
        self, visible_tenant: str | None, now: int, number: PhoneNumber | None
    ) -> dict[str, Any]:
        """Return what a reader is asked for, by somebody who sees one tenant's events or all."""
        return {
            "tenant": visible_tenant if visible_tenant is not None else self.tenant or None,
            "number": number,
            "since": now - int(self.hours) * HOUR_MS if self.hours else None,
            "type": self.type or None,
            "challenge": self.challenge or None,
            "address": self.address or None,
        }


def parse_search_form(fields: dict[str, str]) -> SearchForm:
    """Return what a form asks for. Raises InvalidRequest for what no form of ours has sent."""
    try:
        asked = msgspec.convert({name: text.strip() for name, text in fields.items()}, SearchForm)
    except msgspec.ValidationError:
        raise InvalidRequest(("", "must be the form of the search")) from None
    if asked.hours not in PERIOD_LABELS or len(asked.reason) > MAX_REASON_CHARS:
        raise InvalidRequest(("", "must be the form of the search"))
    return asked


def _has_number_digits(reason: str, phone: PhoneNumber) -> bool:
    digits = re.sub(r"\D", "", reason)
    own = phone.e164[1:]
    return any(
        own[i : i + _MIN_REVEALING_DIGITS] in digits
        for i in range(len(own) - _MIN_REVEALING_DIGITS + 1)
    )
