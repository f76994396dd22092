"""How events and their numbers stand on a screen: one line each, whatever is in them (R70)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.audit.reports.anomalies import Anomaly
from otp_service.audit.reports.event_record import plain
from otp_service.audit.reports.stats import TOP, Offender, Overview, Row
from otp_service.core.log_entry import rfc3339


EVENTS = ("TIME (UTC)", "TYPE", "TENANT", "NUMBER", "ADDRESS", "CHALLENGE", "WHAT")
COUNTS: tuple[str, ...] = (
    *("ISSUED", "SENT", "FAILED", "DELIVERED", "VERIFIED", "CONVERSION"),
    *("REJECTED", "REFUSED", "LOCKED"),
)

WIDTHS = (23, 18, 10, 19, 15, 36, 0)
"""Of columns that are printed before it is known what will stand in them."""


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the rows as lines, each column as wide as it has to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield line(row, widths)


def line(row: Sequence[str], widths: Sequence[int] = WIDTHS) -> str:
    """Return one row as a line."""
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def event_row(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an event, as the reader shows it, in columns."""
    return tuple(
        plain(cell)
        for cell in (
            event["at"].replace("T", " ").removesuffix("Z"),
            event["type"],
            event.get("tenant", "-"),
            _number(event),
            event.get("client_address", "-"),
            event.get("challenge", "-"),
            ", ".join(_what(event)) or "-",
        )
    )


def _number(event: Mapping[str, Any]) -> str:
    if "number" not in event:
        return "-"
    return f"{event.get('country', '?')} …{event.get('tail', '?')} {str(event['number'])[:12]}"


def _what(event: Mapping[str, Any]) -> Iterator[str]:
    if event["integrity"] != "ok":
        yield "NOT TOLD BY A WORKER"
    for name in ("provider", "status", "reason", "limit", "by"):
        if event.get(name):
            yield plain(event[name])
    if event.get("outcome") == "unknown":
        yield "outcome unknown"
    if event.get("folded"):
        yield f"{plain(event['folded'])} times"


# ------------------------------------------------------------------------------------ numbers


def overview_lines(
    overview: Overview, by: str, anomalies: Sequence[Anomaly], head: str
) -> Iterator[str]:
    """Give what was counted, in tables."""
    rows = {
        "hour": [(rfc3339(at)[:16].replace("T", " "), row) for at, row in overview.hours],
        "country": overview.countries,
        "provider": overview.providers,
        "tenant": overview.tenants,
    }[by]
    yield head
    yield ""
    cells = [_cells(plain(name), row) for name, row in (*rows, ("all", overview.total))]
    yield from table([(by.upper(), *COUNTS), *cells])
    yield from _section("Refused, and why", ((str(n), why) for why, n in overview.reasons[:TOP]))
    yield from _section("Refused or wrong most often, numbers", map(_offender, overview.numbers))
    yield from _section(
        "Refused or wrong most often, addresses", map(_offender, overview.addresses)
    )
    yield from _section("To look at", ((one.sentence,) for one in anomalies))
    if overview.earlier:
        yield f"\n{overview.earlier} more codes came back for challenges that were issued before."
    if overview.without_key:
        yield f"\n{overview.without_key} calls had no valid key."


def overview_plain(overview: Overview) -> dict[str, object]:
    """Return what was counted, for programs."""
    return {
        **msgspec.structs.asdict(overview),
        "total": _plain(overview.total),
        "hours": {rfc3339(at): _plain(row) for at, row in overview.hours},
        "countries": {name: _plain(row) for name, row in overview.countries},
        "providers": {name: _plain(row) for name, row in overview.providers},
        "tenants": {name: _plain(row) for name, row in overview.tenants},
        "reasons": dict(overview.reasons),
    }


def _cells(name: str, row: Row) -> tuple[str, ...]:
    conversion = "-" if row.conversion is None else f"{row.conversion:.0%}"
    before = (row.issued, row.sent, row.failed, row.delivered, row.verified)
    after = (row.rejected, row.refused, row.locked)
    return (name, *map(str, before), conversion, *map(str, after))


def _plain(row: Row) -> dict[str, object]:
    return msgspec.structs.asdict(row) | {"conversion": row.conversion}


def _offender(one: Offender) -> tuple[str, ...]:
    tail = f"{one.country or '?'} …{one.tail}" if one.tail else ""
    return (str(one.times), plain(one.name), plain(tail))


def _section(head: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    found = [tuple(map(plain, row)) for row in rows]
    if found:
        yield f"\n{head}:"
        yield from (f"  {row}" for row in table(found))
