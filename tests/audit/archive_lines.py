"""Lines of an archive, without a sealer."""

from typing import Any

import msgspec

from otp_service.audit.archive_format.entries import encode_entry
from otp_service.core.events import EVENT_TYPES, Event
from otp_service.core.log_entry import Entry, Stamp, StreamPosition


EVENT_TIME_MS = 1_763_814_000_123

FIELD_VALUES = {"client_ip": "203.0.113.9", "outcome": "failure", "reason": "why"}


def build_entry(event: bytes | Event, *, stamp: bytes = b"", sequence: int = 42) -> Entry:
    """Return an entry with an event."""
    return Entry(
        partition=7,
        position=StreamPosition(EVENT_TIME_MS, sequence),
        epoch=EVENT_TIME_MS - 1000,
        event=event if isinstance(event, bytes) else msgspec.json.encode(event),
        mac="k1:" + "9f" * 32,
        stamp=stamp,
    )


def build_full_event(kind: str, **fixed: Any) -> Event:
    """Return an event of this kind with every field set, each to a unique value."""
    return EVENT_TYPES[kind](**_fill_fields(EVENT_TYPES[kind], fixed))


def build_full_stamp(**fixed: Any) -> bytes:
    """Return a stamp with every field set."""
    return msgspec.json.encode(Stamp(**_fill_fields(Stamp, fixed)))


def build_line(event: bytes | Event, *, is_ours: bool = True, **more: Any) -> bytes:
    """Return the line of an entry."""
    return encode_entry(build_entry(event, **more), has_valid_mac=is_ours)


def _fill_fields(kind: type[msgspec.Struct], fixed: dict[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for place, field in enumerate(msgspec.structs.fields(kind)):
        text = str(field.type)
        if field.name in FIELD_VALUES:
            filled[field.name] = FIELD_VALUES[field.name]
        elif "dict" in text:
            filled[field.name] = {"config": "c0ffee", "pepper": "p-1"}
        elif "bool" in text:
            filled[field.name] = True
        elif "int" in text:
            filled[field.name] = (
                EVENT_TIME_MS + place if field.name in {"first", "last"} else 7_000 + place
            )
        else:
            filled[field.name] = f"{field.name}-of-it"
    return filled | fixed
