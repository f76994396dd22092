"""How events and their numbers stand on a screen: one line each, whatever is in them (R70)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.audit.reports.anomalies import Anomaly
from otp_service.audit.reports.event_record import escape_unprintable, list_details
from otp_service.audit.reports.stats import TOP_OFFENDERS, Offender, StatsOverview, StatsRow
from otp_service.core.timestamps import format_rfc3339


EVENT_HEADER = ("TIME (UTC)", "TYPE", "TENANT", "NUMBER", "ADDRESS", "CHALLENGE", "DETAILS")
COUNT_HEADER: tuple[str, ...] = (
    *("ISSUED", "SENT", "FAILED", "DELIVERED", "VERIFIED", "CONVERSION"),
    *("REJECTED", "REFUSED", "LOCKED"),
)

EVENT_COLUMN_WIDTHS = (23, 18, 10, 19, 15, 36, 0)
"""Of columns that are printed before it is known what will stand in them."""


def format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the rows as lines, each column as wide as it has to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield format_row(row, widths)


def format_row(row: Sequence[str], widths: Sequence[int] = EVENT_COLUMN_WIDTHS) -> str:
    """Return one row as a line."""
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def format_event(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an event, as the reader shows it, in columns."""
    invalid = [] if event["integrity"] == "ok" else ["MAC INVALID"]
    return tuple(
        escape_unprintable(cell)
        for cell in (
            event["at"].replace("T", " ").removesuffix("Z"),
            event["type"],
            event.get("tenant", "-"),
            _format_number(event),
            event.get("client_address", "-"),
            event.get("challenge", "-"),
            ", ".join(invalid + list_details(event)) or "-",
        )
    )


def _format_number(event: Mapping[str, Any]) -> str:
    if "number" not in event:
        return "-"
    return f"{event.get('country', '?')} …{event.get('number_suffix', '?')} {str(event['number'])[:12]}"


# ------------------------------------------------------------------------------------ numbers


def format_overview(
    overview: StatsOverview, group: str, anomalies: Sequence[Anomaly], title: str
) -> Iterator[str]:
    """Give what was counted, in tables."""
    rows = {
        "hour": [(format_rfc3339(at)[:16].replace("T", " "), row) for at, row in overview.hours],
        "country": overview.countries,
        "provider": overview.providers,
        "tenant": overview.tenants,
    }[group]
    yield title
    yield ""
    cells = [
        _format_counts(escape_unprintable(name), row)
        for name, row in (*rows, ("all", overview.total))
    ]
    yield from format_table([(group.upper(), *COUNT_HEADER), *cells])
    yield from _format_section(
        "Refused, and why", ((str(n), why) for why, n in overview.reasons[:TOP_OFFENDERS])
    )
    yield from _format_section(
        "Refused or wrong most often, numbers", map(_format_offender, overview.numbers)
    )
    yield from _format_section(
        "Refused or wrong most often, addresses", map(_format_offender, overview.addresses)
    )
    yield from _format_section("To look at", ((one.sentence,) for one in anomalies))
    if overview.earlier:
        yield f"\n{overview.earlier} more codes came back for challenges that were issued before."
    if overview.without_key:
        yield f"\n{overview.without_key} calls had no valid key."


def to_json_members(overview: StatsOverview) -> dict[str, object]:
    """Return what was counted, for programs."""
    return {
        **msgspec.structs.asdict(overview),
        "total": _row_to_json_members(overview.total),
        "hours": {format_rfc3339(at): _row_to_json_members(row) for at, row in overview.hours},
        "countries": {name: _row_to_json_members(row) for name, row in overview.countries},
        "providers": {name: _row_to_json_members(row) for name, row in overview.providers},
        "tenants": {name: _row_to_json_members(row) for name, row in overview.tenants},
        "reasons": dict(overview.reasons),
    }


def _format_counts(name: str, row: StatsRow) -> tuple[str, ...]:
    conversion = "-" if row.conversion is None else f"{row.conversion:.0%}"
    before = (row.issued, row.sent, row.failed, row.delivered, row.verified)
    after = (row.rejected, row.refused, row.locked)
    return (name, *map(str, before), conversion, *map(str, after))


def _row_to_json_members(row: StatsRow) -> dict[str, object]:
    return msgspec.structs.asdict(row) | {"conversion": row.conversion}


def _format_offender(one: Offender) -> tuple[str, ...]:
    number = f"{one.country or '?'} …{one.number_suffix}" if one.number_suffix else ""
    return (str(one.times), escape_unprintable(one.name), escape_unprintable(number))


def _format_section(title: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    found = [tuple(map(escape_unprintable, row)) for row in rows]
    if found:
        yield f"\n{title}:"
        yield from (f"  {row}" for row in format_table(found))
