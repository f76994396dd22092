"""The period of a search: the last hours, or from one instant to another, in UTC."""

import re
from typing import Final, TypedDict

from otp_service.core.errors import InvalidRequest
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, SECOND_MS, format_rfc3339, parse_rfc3339


PERIOD_LABELS: Final = {
    "1": "the last hour",
    "24": "the last 24 hours",
    "168": "the last 7 days",
    "": "everything there is",
    "range": "from … to …",
}
"""The values of the field `hours`. An instant in `since` or `until` replaces the hours."""

_INSTANT_PATTERN: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(\.\d{1,3})?Z?")
"""What an input of type datetime-local sends, or what is typed where a browser shows plain text."""

INVALID_INSTANT_MESSAGE: Final = "This is not an instant like 2026-11-28 23:07, in UTC."


class Period(TypedDict):
    since: int | None
    """Inclusive, in milliseconds since 1970; None without a bound."""
    until: int | None
    """Exclusive."""


def parse_period(hours: str, since: str, until: str, now: int) -> Period:
    """Return the period of the three fields. Raises InvalidRequest.

    `until` includes the last unit that was written: 12:30 is the end of that minute.
    """
    if hours == "range" and not since and not until:
        raise InvalidRequest(("since", "Say from when, or to when."))
    if not since and not until:
        is_count = hours.isdigit()
        return {"since": now - int(hours) * HOUR_MS if is_count else None, "until": None}
    begin = _parse_instant("since", since)[0] if since else None
    end = sum(_parse_instant("until", until)) if until else None
    if begin is not None and end is not None and end <= begin:
        raise InvalidRequest(("until", "This is before the beginning of the period."))
    return {"since": begin, "until": end}


def format_instant(at: int) -> str:
    """Return the value of an input of type datetime-local; `at` is in milliseconds since 1970."""
    return format_rfc3339(at).removesuffix("Z")


def _parse_instant(field: str, text: str) -> tuple[int, int]:
    """Return the instant and the length of the last unit that was written, in milliseconds."""
    match = _INSTANT_PATTERN.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day, minute, second, fraction = match.groups(default="")
        at = parse_rfc3339(f"{day}T{minute}{second or ':00'}{fraction}Z")
    except ValueError:
        raise InvalidRequest((field, INVALID_INSTANT_MESSAGE)) from None
    return at, 1 if fraction else SECOND_MS if second else MINUTE_MS
