"""Which values of events are filters of the search, so that a table leads to their events.

Any client of Redis may have written a value. Only a well-formed one becomes part of a form.
"""

import re
from typing import Final

from otp_service.audit.query.client_ip_filter import parse_client_ip_filter
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import InvalidRequest


FILTER_NAMES: Final = {
    "number": "pseudonym",
    "account": "pseudonym",
    "prefix": "pseudonym",
    "block": "pseudonym",
    "limit": "event_limit",
    "over_limit": "event_limit",
    "client_ip": "client_ip",
    "challenge": "challenge",
    "tenant": "tenant",
    "country": "country",
    "provider": "provider",
}
"""The field of the search form for a member of an event."""

_PSEUDONYM_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,32}:[0-9a-f]{2,64}")
"""The id of a key, and the hash (`Key.derive_pseudonym`)."""

_NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def find_filter(member: str, value: object) -> str | None:
    """Return the field of the search form that finds events with this value of a member.

    Return None if no field does, or if the value is not well-formed.
    """
    name = FILTER_NAMES.get(member)
    is_found = (
        name is not None and isinstance(value, str) and _VALUE_CHECKS.get(name, is_name)(value)
    )
    return name if is_found else None


def is_pseudonym(text: str) -> bool:
    return _PSEUDONYM_PATTERN.fullmatch(text) is not None


def is_name(text: str) -> bool:
    """Whether the text may be the name of a tenant, a provider or a country."""
    return _NAME_PATTERN.fullmatch(text) is not None


def is_challenge(text: str) -> bool:
    return parse_partition(text) is not None


def is_client_ip(text: str) -> bool:
    """Whether the text is an address, or an IPv6 network as statistics name it."""
    try:
        parse_client_ip_filter(text)
    except InvalidRequest:
        return False
    return True


_VALUE_CHECKS: Final = {
    "pseudonym": is_pseudonym,
    "client_ip": is_client_ip,
    "challenge": is_challenge,
}
