"""Lines of an archive, without a sealer."""

from typing import Any

import msgspec

from otp_service.audit.archive_format.entries import line_of
from otp_service.core.events import KINDS, Event
from otp_service.core.log_entry import Entry, Position, Stamp


AT = 1_763_814_000_123

VALUES = {"client_address": "203.0.113.9", "outcome": "failure", "reason": "why"}


def entry_of(event: bytes | Event, *, stamp: bytes = b"", sequence: int = 42) -> Entry:
    """Return an entry with an event."""
    return Entry(
        partition=7,
        position=Position(AT, sequence),
        epoch=AT - 1000,
        event=event if isinstance(event, bytes) else msgspec.json.encode(event),
        mac="k1:" + "9f" * 32,
        stamp=stamp,
    )


def full(kind: str, **fixed: Any) -> Event:
    """Return an event of this kind with every field set, each to something of its own."""
    return KINDS[kind](**_filled(KINDS[kind], fixed))


def full_stamp(**fixed: Any) -> bytes:
    """Return a stamp with every field set."""
    return msgspec.json.encode(Stamp(**_filled(Stamp, fixed)))


def line(event: bytes | Event, *, is_ours: bool = True, **more: Any) -> bytes:
    """Return the line of an entry."""
    return line_of(entry_of(event, **more), is_ours=is_ours)


def _filled(kind: type[msgspec.Struct], fixed: dict[str, Any]) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for place, field in enumerate(msgspec.structs.fields(kind)):
        text = str(field.type)
        if field.name in VALUES:
            filled[field.name] = VALUES[field.name]
        elif "dict" in text:
            filled[field.name] = {"config": "c0ffee", "pepper": "p-1"}
        elif "bool" in text:
            filled[field.name] = True
        elif "int" in text:
            filled[field.name] = AT + place if field.name in {"first", "last"} else 7_000 + place
        else:
            filled[field.name] = f"{field.name}-of-it"
    return filled | fixed
