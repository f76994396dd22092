"""Instants: milliseconds since 1970 inside, RFC 3339 in UTC outside.

Nothing here reads a clock: the caller passes the instant. `otp_service.clock` reads one.
"""

from datetime import UTC, datetime, timedelta
from typing import Final


MINUTE_SECONDS: Final = 60
HOUR_SECONDS: Final = 60 * MINUTE_SECONDS
DAY_SECONDS: Final = 24 * HOUR_SECONDS

SECOND_MS: Final = 1000
MINUTE_MS: Final = MINUTE_SECONDS * SECOND_MS
HOUR_MS: Final = HOUR_SECONDS * SECOND_MS
DAY_MS: Final = DAY_SECONDS * SECOND_MS

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MILLISECOND: Final = timedelta(milliseconds=1)

CLOCK_TOLERANCE_MS = 5 * SECOND_MS
"""How far the clock of a promoted replica may be behind that of its master.

An instant that is further in the future was written while the clock was ahead, and is not trusted.
"""


def to_datetime(epoch_ms: int) -> datetime:
    """Return the instant in UTC, or the last one that Python can represent if it is later."""
    try:
        return _UNIX_EPOCH + epoch_ms * _ONE_MILLISECOND
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def to_epoch_ms(instant: datetime) -> int:
    """Return milliseconds since 1970, rounded down. Raises TypeError without a time zone."""
    return (instant - _UNIX_EPOCH) // _ONE_MILLISECOND


def format_rfc3339(epoch_ms: int) -> str:
    """Return `2026-11-22T00:00:00.000Z`: the form in the HTTP contract, archives and exports."""
    return to_datetime(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> int:
    """Return the instant in milliseconds since 1970. Raises ValueError if invalid or without a zone."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return to_epoch_ms(instant)
