"""Events as rows of a table. Any client of Redis may have written them, so nothing is trusted."""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

from otp_service.audit.reports.event_record import describe_person, list_details
from otp_service.core.challenge import parse_partition


MAX_ROW_FIELDS: Final = 100
"""Fields of one event that are shown; ours have some thirty."""


class EventRow(NamedTuple):
    time: str
    day: str
    type: str
    tenant: object
    challenge: str | None
    """Only a well-formed id, because it becomes part of a link."""
    person: str
    address: object
    summary: str
    is_bad: bool
    is_authentic: bool
    fields: Sequence[tuple[str, object]]


def build_event_row(event: Mapping[str, Any]) -> EventRow:
    challenge = event.get("challenge")
    is_id = isinstance(challenge, str) and parse_partition(challenge) is not None
    return EventRow(
        time=str(event["at"])[11:23],
        day=str(event["at"])[:10],
        type=str(event["type"]),
        tenant=event.get("tenant", ""),
        challenge=challenge if is_id else None,
        person=describe_person(event),
        address=event.get("client_ip", ""),
        summary=", ".join(list_details(event)),
        is_bad=event.get("outcome") == "failure",
        is_authentic=event["integrity"] == "ok",
        fields=_list_fields(event),
    )


def _list_fields(event: Mapping[str, Any]) -> list[tuple[str, object]]:
    rest = sorted(_flatten_fields(event), key=itemgetter(0))
    left_out = len(rest) - MAX_ROW_FIELDS
    return rest[:MAX_ROW_FIELDS] + [("…", f"{left_out} fields that are not shown")] * (left_out > 0)


def _flatten_fields(event: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in event.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", inner) for part, inner in value.items())
        else:
            yield name, value
