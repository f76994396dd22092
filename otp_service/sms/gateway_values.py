"""Values in the replies and receipts of a gateway that is described in the settings.

messages.0.status      in JSON, by names and by places in lists from 0
id                     a group (?P<id>…) of `reply_pattern`, for a reply that is plain text
header:X-Message-Id    a header
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from otp_service.core.json_path import find_json_value
from otp_service.sms.reply_decoder import decode_json, decode_text


HEADER_PREFIX: Final = "header:"
MAX_PATTERN_CHARS: Final = 4096
"""So much of a reply is searched for a pattern."""


def parse_body(body: bytes, pattern: str) -> Any:
    """Return the JSON of a reply, or the groups of `pattern` in its text; None without either."""
    if pattern:
        found = re.search(pattern, decode_text(body)[:MAX_PATTERN_CHARS])
        return found.groupdict() if found else None
    try:
        return decode_json(body)
    except ValueError:
        return None


def find_value(path: str, headers: Mapping[str, str], body: Any) -> str | None:
    """Return the value at this path as text, if it is one plain value."""
    if not path:
        return None
    if path.startswith(HEADER_PREFIX):
        return headers.get(path.removeprefix(HEADER_PREFIX).lower())
    value = find_json_value(path, body)
    return to_text(value) if isinstance(value, str | int | float) else None


def to_text(value: str | float) -> str:
    """Return the value as JSON shows it, strings without their quotes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def list_pattern_groups(pattern: str) -> tuple[str, ...]:
    """Return the names of the groups. Raises ValueError for an invalid pattern."""
    try:
        return tuple(re.compile(pattern).groupindex)
    except re.error:
        raise ValueError("is not a regular expression of Python") from None
