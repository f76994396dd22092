"""The rule for senders of routes: `check` selects a sender as a message does (sms/sender_ids.py).

A route is for a country or for a number prefix, and a sender is selected by country. So the
countries whose numbers begin with the prefix are found first: +1 has the USA, Canada and more.
"""

from collections.abc import Iterator
from typing import Final

import phonenumbers

from otp_service.settings.decode import ConfigIssue
from otp_service.sms.sender_ids import NUMERIC_SENDER_COUNTRIES, SenderSelection


_NANP_PREFIX: Final = "+1"
"""The only calling code with countries of NUMERIC_SENDER_COUNTRIES."""
_AREA_CODES: Final = range(200, 1000)
_VALID_LINE: Final = "2345678"
"""An exchange and a line number that are valid in every area code."""


def find_sender_error(
    path: str, name: str, provider: object, destination: str
) -> Iterator[ConfigIssue]:
    """Yield the error of a provider in a route some of whose countries it has no sender for.

    `destination` is a country, a number prefix, or empty for the default route.
    """
    if not isinstance(provider, SenderSelection):
        return
    countries = find_numeric_sender_countries(destination)
    missing = [country for country in sorted(countries) if not provider.can_serve(country)]
    if missing:
        settings = " and ".join(f"senders.{country}" for country in missing)
        remedy = f"set {settings} or sender to a registered number, or a pool where it has one"
        where = " and ".join(missing)
        yield ConfigIssue(path, f"names {name}, which has no sender for {where}: {remedy}")


def find_numeric_sender_countries(destination: str) -> frozenset[str]:
    """Return the countries of a destination in which a sender has to be a number."""
    if not destination.startswith(_NANP_PREFIX):
        return NUMERIC_SENDER_COUNTRIES & {destination}
    digits = destination.removeprefix(_NANP_PREFIX)
    if len(digits) > 3:  # noqa: PLR2004  # more than an area code
        areas = [digits]
    else:
        areas = [str(area) for area in _AREA_CODES if str(area).startswith(digits)]
    return NUMERIC_SENDER_COUNTRIES & {_find_region(area) for area in areas}


def _find_region(digits: str) -> str:
    """Return the region of the numbers with these national digits; empty if none is valid."""
    national = f"{digits}{_VALID_LINE[len(digits) - 3 :]}"
    phone = phonenumbers.PhoneNumber(country_code=1, national_number=int(national))
    return phonenumbers.region_code_for_number(phone) or ""
