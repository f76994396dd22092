"""The schemas of events in the OpenAPI document.

All types of events share one schema, and `type` is any string: an archive holds events of other
versions too, and a client must be able to read a page of them. `integrity` differs between an authentic
event and an entry that an attacker may have written.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from otp_service.api.openapi_names import build_schema_ref
from otp_service.core.events import EVENT_TYPES
from otp_service.core.log_entry import Stamp


Schema = dict[str, Any]

AUTHENTIC_NAME: Final = "AuditEvent"
UNAUTHENTIC_NAME: Final = "UnauthenticEvent"

_FIELD_ROW: Final = re.compile(r"(?m)^\| `(\w+)` \| (.+) \| (?:technical|caller|person|staff) \|$")
"""A row of the table of fields in audit/EVENTS.md: name and description."""

_STORED_UNIT: Final = ", in milliseconds since 1970"

_INSTANT_SCHEMA: Final[Schema] = {"type": "string", "format": "date-time"}
_POSITION_MEMBERS: Final[Schema] = {
    "at": {**_INSTANT_SCHEMA, "description": "The time by Redis's clock, in UTC."},
    "event_id": {"type": "string", "description": "The position as one name."},
    "partition": {
        "type": "integer",
        "minimum": 0,
        "maximum": 63,
        "description": "The part of the log that has everything about one number or account.",
    },
    "epoch": {
        "type": "integer",
        "description": "The epoch of the log in Redis: when it began, in milliseconds since 1970.",
    },
    "sequence": {
        "type": "integer",
        "description": "The number in this partition and epoch, without a gap.",
    },
}
"""What the log adds to each entry."""


def describe_event_items() -> Schema:
    """Return the schema of the items of a page."""
    names = (AUTHENTIC_NAME, UNAUTHENTIC_NAME)
    return {"oneOf": [build_schema_ref(name) for name in names]}


def build_event_schemas() -> Schema:
    copied = {"type": "string", "description": "The `event_id` of an older event with this `id`."}
    return {
        AUTHENTIC_NAME: _build_entry_schema(
            "An event of the audit log. Its `type` decides which members it has; a member that does"
            " not apply is absent.",
            {**dict(_iterate_members()), "copy_of": copied},
            integrity="ok",
            required=("type", "id", "outcome"),
        ),
        UNAUTHENTIC_NAME: _build_entry_schema(
            "An entry with an invalid MAC, or an unreadable one. Only its position is certain. Its"
            " other members are what is stored there, with any name and type.",
            {},
            integrity="failed",
        ),
    }


def _build_entry_schema(
    description: str, members: Schema, *, integrity: str, required: tuple[str, ...] = ()
) -> Schema:
    decision = {
        "type": "string",
        "enum": [integrity],
        "description": "Whether the event is readable and has a valid MAC of a worker.",
    }
    return {
        "description": description,
        "type": "object",
        "properties": {**members, **_POSITION_MEMBERS, "integrity": decision},
        "required": [*required, *_POSITION_MEMBERS, "integrity"],
    }


@cache
def _read_field_descriptions() -> dict[str, str]:
    table = files("otp_service.audit").joinpath("EVENTS.md").read_text("utf-8")
    return dict(_FIELD_ROW.findall(table))


def _iterate_members() -> Iterator[tuple[str, Schema]]:
    """Yield each member that an event can have, in the order of its row in audit/EVENTS.md."""
    kinds: Schema = {"first": _INSTANT_SCHEMA, "last": _INSTANT_SCHEMA}
    structs: tuple[type[msgspec.Struct], ...] = (*EVENT_TYPES.values(), Stamp)
    for kind in structs:
        for name, member in msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"].items():
            kinds.setdefault(name, member["anyOf"][0] if "anyOf" in member else member)
    kinds["type"] = {"type": "string", "examples": sorted(EVENT_TYPES)}
    for name, text in _read_field_descriptions().items():
        member = {key: value for key, value in kinds[name].items() if key != "default"}
        about = text.removesuffix(_STORED_UNIT)  # the API has RFC 3339
        yield name, {**member, "description": f"{about[0].upper()}{about[1:]}."}
