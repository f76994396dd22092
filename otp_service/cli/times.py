"""Instants as people type them."""

import re
from datetime import datetime

from otp_service.cli.describing import CommandError
from otp_service.core.entry import milliseconds_of


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")


def instant(text: str, now: int) -> int:
    """Return the instant that `24h` (ago) or RFC 3339 means, in milliseconds."""
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS[ago[2]] * 1000
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return milliseconds_of(text)
    except ValueError:
        pass
    raise CommandError("a time is like '24h' (s, m, h or d ago) or '2026-11-24T09:00:00Z'.")
