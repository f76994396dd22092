"""Events as rows of a table. Any client of Redis may have written them, so nothing is trusted."""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple

from otp_service.api.audit_ui.filter_fields import find_filter
from otp_service.audit.exports.taxonomy import HIGH, MEDIUM, get_taxonomy_entry
from otp_service.audit.reports.event_record import describe_person, list_details


MAX_ROW_FIELDS: Final = 100
"""Fields of one event that are shown; ours have some thirty."""

RowWeight = Literal["alarm", "notice", ""]


class RowField(NamedTuple):
    """One value, and the field of the search form that finds events with it, if one does."""

    name: str
    value: object
    form_field: str | None
    text: str = ""
    """What is shown; the value itself if it is empty."""


class EventRow(NamedTuple):
    time: str
    day: str
    event_id: str
    type: str
    tenant: RowField
    challenge: RowField
    people: Sequence[RowField]
    """The number and the account."""
    client_ip: RowField
    details: str
    weight: RowWeight
    is_authentic: bool
    fields: Sequence[RowField]


def build_event_row(event: Mapping[str, Any], currency: str) -> EventRow:
    is_authentic = event["integrity"] == "ok"
    return EventRow(
        time=str(event["at"])[11:23],
        day=str(event["at"])[:10],
        event_id=str(event.get("event_id", "")),
        type=str(event["type"]),
        tenant=build_field("tenant", event.get("tenant") or ""),
        challenge=build_field("challenge", event.get("challenge") or ""),
        people=list(_list_people(event)),
        client_ip=build_field("client_ip", event.get("client_ip") or ""),
        details=", ".join(_list_row_details(event, currency)),
        weight=_weigh_event(event) if is_authentic else "alarm",
        is_authentic=is_authentic,
        fields=_list_fields(event),
    )


def build_field(name: str, value: object, text: str = "") -> RowField:
    """Return the value of a member of events, with the field of the form that finds it."""
    return RowField(name, value, find_filter(name, value), text)


def _list_people(event: Mapping[str, Any]) -> Iterator[RowField]:
    number, account = event.get("number"), event.get("account")
    if number or event.get("number_suffix") or event.get("country"):
        label = describe_person({**event, "account": None}) or str(number)
        yield build_field("number", number or "", label)
    if account:
        yield build_field("account", account, describe_person({"account": account}))


def _list_row_details(event: Mapping[str, Any], currency: str) -> list[str]:
    changed = ["another client IP"] if event.get("client_ip_changed") is True else []
    return changed + list_details(event, currency)


def _weigh_event(event: Mapping[str, Any]) -> RowWeight:
    """Return the weight by the severity of the event, by what it says, and not by its outcome."""
    reason = event.get("reason")
    entry = get_taxonomy_entry(str(event["type"]), reason if isinstance(reason, str) else None)
    is_phished = event["type"] == "otp.verified" and event.get("client_ip_changed") is True
    if entry.severity >= HIGH or is_phished or event.get("copy_of"):
        return "alarm"
    return "notice" if entry.severity == MEDIUM else ""


def _list_fields(event: Mapping[str, Any]) -> list[RowField]:
    rest = sorted(_flatten_fields(event), key=itemgetter(0))
    shown = [build_field(name, value) for name, value in rest[:MAX_ROW_FIELDS]]
    left_out = len(rest) - len(shown)
    return shown + [RowField("…", f"{left_out} fields that are not shown", None)] * (left_out > 0)


def _flatten_fields(event: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in event.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{part}", inner) for part, inner in value.items())
        else:
            yield name, value
