"""What an event says, as far as it is counted or told to a person."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from otp_service.audit.event_decoder import DecodedEvent


MAX_VALUE_CHARS = 200
"""Of one value, on a person's screen."""


_PHONE_NUMBER_PATTERN = re.compile(r"(\d[ ().-]{0,2}){9}")


class EventRecord(msgspec.Struct, kw_only=True):
    """An event and its stamp, read; what it does not say is None, or what goes without saying."""

    type: str
    at: int = 0
    """In milliseconds."""
    tenant: str | None = None
    key_id: str | None = None
    client_address: str | None = None
    purpose: str | None = None
    challenge: str | None = None
    number: str | None = None
    country: str | None = None
    number_suffix: str | None = None
    outcome: str = "success"
    reason: str | None = None
    provider: str | None = None
    milliseconds: int = 0
    status: str | None = None
    send: int = 1
    trusted: bool = True
    repeated: bool = False
    attempts_left: int = 0
    limit: str | None = None
    quota: int | None = None
    period: int | None = None
    folded: Annotated[int, msgspec.Meta(ge=1, le=2**40)] = 1
    """How many refusals it stands for: no MAC covers it, so it has to be one that may be."""
    count: int = 1
    """How many calls without a key it stands for."""


def build_event_record(decoded: DecodedEvent) -> EventRecord | None:
    """Return the record of an event; None if it is not authentic or its members have other types."""
    record = decoded.convert_to(EventRecord)
    if record:
        record.at = decoded.at
    return record


def list_details(event: Mapping[str, Any]) -> list[str]:
    """Return what the row of an event in a table shows besides its columns."""
    values = [event.get(name) for name in ("provider", "status", "reason", "limit", "by")]
    details = [escape_unprintable(value) for value in values if value]
    if event.get("outcome") == "unknown":
        details.append("outcome unknown")
    if isinstance(folded := event.get("folded"), int) and folded > 1:
        details.append(f"{folded} times")
    return details


def has_phone_number(reason: str) -> bool:
    """Whether a reason, which the log is to keep, may hold somebody's number (R68)."""
    return _PHONE_NUMBER_PATTERN.search(reason) is not None


def escape_unprintable(value: object) -> str:
    """Return a value so that it stays on its line and in its place, whatever it holds (R70)."""
    text = str(value)[:MAX_VALUE_CHARS]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
