"""The text of a scope, as operators write it and commands print it.

range:+44740012          every tenant: numbers without their last four digits
block:+4474001           every tenant: numbers without their last five digits
country:GB@shop          one country of one tenant
new-countries@shop       the countries of a tenant that have no history
address:192.0.2.1@shop   one client address of one tenant; of IPv6, its /64
overall                  the budget of the day
"""

import re
from collections.abc import Collection
from typing import Final

import phonenumbers

from otp_service.core.errors import InvalidRequest
from otp_service.core.ip_address import client_ip_limit_key, parse_client_ip
from otp_service.core.phone_number import canonicalize_number
from otp_service.core.pumping.overrides import find_scope
from otp_service.core.pumping.scopes import BLOCK_DIGITS, RANGE_DIGITS, DebtLimit, ScopeBucket


SCOPE_KINDS: Final = {
    DebtLimit.UNVERIFIED_RANGE: "range",
    DebtLimit.UNVERIFIED_BLOCK: "block",
    DebtLimit.UNVERIFIED_COUNTRY: "country",
    DebtLimit.UNVERIFIED_NEW_COUNTRIES: "new-countries",
    DebtLimit.UNVERIFIED_ADDRESS: "address",
    DebtLimit.SPEND_OVERALL: "overall",
}
"""The first word of each scope. A volume is of the same scope as what is unverified, and the countries
of an address are of the same scope as its messages."""

SCOPE_EXAMPLES: Final = {
    "range": "range:+44740012",
    "block": "block:+4474001",
    "country": "country:GB@shop",
    "new-countries": "new-countries@shop",
    "address": "address:192.0.2.1@shop",
    "overall": "overall",
}

_LIMITS_BY_KIND: Final = {kind: limit for limit, kind in SCOPE_KINDS.items()}
_SCOPE_PATTERN: Final = re.compile(r"([a-z-]+)(?::([^@]*))?(?:@(.*))?", re.DOTALL)
_DIGITS_PATTERN: Final = re.compile(r"\+[1-9][0-9]{1,10}")
_IPV6_SUFFIX: Final = "/64"


class InvalidScope(ValueError):
    """A text that names no scope; the message is a sentence that says what to write."""


def format_scope(bucket: ScopeBucket) -> str:
    """Return the text of a scope, which `parse_scope` reads. Raises KeyError for a limit without a kind."""
    subject = f":{bucket.subject}" if bucket.subject else ""
    tenant = f"@{bucket.tenant}" if bucket.tenant else ""
    return f"{SCOPE_KINDS[bucket.limit]}{subject}{tenant}"


def get_scope_example(limit: DebtLimit) -> str:
    """Return a text of the scope that opens and closes a limit: 'country:GB@shop'."""
    return SCOPE_EXAMPLES[SCOPE_KINDS[find_scope(ScopeBucket(limit)).limit]]


def parse_scope(text: str, tenants: Collection[str]) -> ScopeBucket:
    """Return the bucket that a text names. Raises InvalidScope, without the text.

    `tenants` are the names that exist.
    """
    match = _SCOPE_PATTERN.fullmatch(text.strip())
    limit = _LIMITS_BY_KIND.get(match[1]) if match else None
    if match is None or limit is None:
        examples = ", ".join(SCOPE_EXAMPLES.values())
        raise InvalidScope(f"the scope is invalid. Write one like these: {examples}.")
    subject = _parse_subject(limit, match[2])
    return ScopeBucket(limit, _parse_tenant(limit, match[3], tenants), subject)


def _parse_subject(limit: DebtLimit, text: str | None) -> str:
    match limit:
        case DebtLimit.UNVERIFIED_RANGE:
            return _parse_digits(limit, text or "", RANGE_DIGITS, "four")
        case DebtLimit.UNVERIFIED_BLOCK:
            return _parse_digits(limit, text or "", BLOCK_DIGITS, "five")
        case DebtLimit.UNVERIFIED_COUNTRY:
            return _parse_country(limit, text or "")
        case DebtLimit.UNVERIFIED_ADDRESS:
            return _parse_address(limit, text or "")
        case _ if text is not None:
            raise _build_error(limit, "has no subject")
        case _:
            return ""


def _parse_digits(limit: DebtLimit, text: str, missing_digits: int, word: str) -> str:
    """Return the canonical digits of numbers without their last ones, which limits count."""
    number = text + "0" * missing_digits
    problem = f"counts numbers without their last {word} digits"
    if not _DIGITS_PATTERN.fullmatch(text):
        raise _build_error(limit, problem)
    if not _has_mobile_length(number):
        raise _build_error(
            limit, f"{problem}, and no country has mobile numbers that begin so and are as long"
        )
    return canonicalize_number(number)[:-missing_digits]


def _has_mobile_length(number: str) -> bool:
    """Return whether mobile numbers of its country are as long, with the area code.

    One that is shorter or longer is in no range or block that a message is charged to.
    """
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return False
    mobile = phonenumbers.PhoneNumberType.MOBILE
    reason = phonenumbers.is_possible_number_for_type_with_reason(parsed, mobile)
    return reason == phonenumbers.ValidationResult.IS_POSSIBLE


def _parse_country(limit: DebtLimit, text: str) -> str:
    country = text.upper()
    if country not in phonenumbers.SUPPORTED_REGIONS:
        raise _build_error(limit, "counts a country, by its two letters")
    return country


def _parse_address(limit: DebtLimit, text: str) -> str:
    """Return the address, or of IPv6 the network of 64 bits, that limits count."""
    try:
        address = client_ip_limit_key(parse_client_ip(text.removesuffix(_IPV6_SUFFIX)))
    except InvalidRequest:
        address = ""
    if not address or (text.endswith(_IPV6_SUFFIX) and text != address):
        raise _build_error(limit, "counts an IPv4 address, or the /64 of an IPv6 address")
    return address


def _parse_tenant(limit: DebtLimit, text: str | None, tenants: Collection[str]) -> str:
    if "@" not in SCOPE_EXAMPLES[SCOPE_KINDS[limit]]:
        if text is not None:
            raise _build_error(limit, "counts all tenants together")
        return ""
    if text is None:
        raise _build_error(limit, "counts one tenant")
    if text not in tenants:
        names = ", ".join(sorted(tenants))
        raise InvalidScope(f"there is no tenant of this name. The tenants are {names}.")
    return text


def _build_error(limit: DebtLimit, problem: str) -> InvalidScope:
    kind = SCOPE_KINDS[limit]
    return InvalidScope(f"the scope '{kind}' {problem}: write it like {SCOPE_EXAMPLES[kind]}.")
