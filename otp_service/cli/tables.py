"""Events and their statistics in columns: one line each, whatever they contain (R70)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from otp_service.audit.reports.brake_stats import (
    RANGE_COLUMNS,
    REFUSAL_COLUMNS,
    BrakeStats,
)
from otp_service.audit.reports.delivery_stats import DELIVERY_COLUMNS
from otp_service.audit.reports.event_record import (
    MAX_PSEUDONYM_CHARS,
    describe_person,
    list_details,
)
from otp_service.audit.reports.factor_stats import FACTOR_COLUMNS, sum_by_factor
from otp_service.audit.reports.opt_out_stats import OPT_OUT_COLUMNS
from otp_service.audit.reports.stats import TOP_OFFENDERS, Offender, StatsOverview, StatsRow
from otp_service.core.printable_text import format_value
from otp_service.core.pumping.prices import format_money
from otp_service.core.timestamps import format_rfc3339


EVENT_HEADER = ("TIME (UTC)", "TYPE", "TENANT", "PERSON", "CLIENT IP", "CHALLENGE", "DETAILS")
COUNT_HEADER: tuple[str, ...] = (
    *("ISSUED", "SENT", "FAILED", "DELIVERED", "VERIFIED", "PENDING", "CONVERSION"),
    *("REJECTED", "REFUSED", "LOCKED"),
)

EVENT_COLUMN_WIDTHS = (23, 23, 10, 20, 15, 36, 0)
"""Widths for rows that are printed one by one, before the next ones are known."""

OFFENDER_TITLES = {"numbers": "numbers", "accounts": "accounts", "client_ips": "client IPs"}
"""The lists of offenders, by the field of `StatsOverview`."""


def format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield format_row(row, widths)


def format_row(row: Sequence[str], widths: Sequence[int] = EVENT_COLUMN_WIDTHS) -> str:
    cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def format_event(event: Mapping[str, Any], currency: str) -> tuple[str, ...]:
    """Return the cells of an event under EVENT_HEADER; its amounts are in the currency."""
    invalid = [] if event["integrity"] == "ok" else ["MAC INVALID"]
    cells = (
        event["at"].replace("T", " ").removesuffix("Z"),
        event["type"],
        event.get("tenant", "-"),
        _format_person(event),
        event.get("client_ip", "-"),
        event.get("challenge", "-"),
        ", ".join(invalid + list_details(event, currency)) or "-",
    )
    return tuple(map(format_value, cells))


def _format_person(event: Mapping[str, Any]) -> str:
    if "number" not in event:
        return describe_person(event) or "-"
    number = str(event["number"])[:MAX_PSEUDONYM_CHARS]
    return f"{event.get('country', '?')} …{event.get('number_suffix', '?')} {number}"


def format_overview(
    overview: StatsOverview, group: str, title: str, triage: Iterable[str], currency: str
) -> Iterator[str]:
    """Yield the lines of the tables, with one row for each value of `group`, and of the triage."""
    rows = {
        "hour": [(format_rfc3339(at)[:16].replace("T", " "), row) for at, row in overview.hours],
        "country": overview.countries,
        "provider": overview.providers,
        "tenant": overview.tenants,
    }[group]
    yield title
    yield ""
    counts = (*rows, ("all", overview.total))
    cells = [_format_counts(format_value(name), row) for name, row in counts]
    yield from format_table([(group.upper(), *COUNT_HEADER), *cells])
    reasons = ((str(count), reason) for reason, count in overview.reasons[:TOP_OFFENDERS])
    yield from _format_section("Refused at every factor, by reason", reasons)
    yield from _format_factors(overview)
    yield from _format_deliveries(overview)
    yield from _format_opt_outs(overview)
    yield from format_brake_stats(overview.brake, currency)
    for kind, plural in OFFENDER_TITLES.items():
        offenders: Sequence[Offender] = getattr(overview, kind)
        heading = f"Refused or wrong most often, {plural}"
        yield from _format_section(heading, map(_format_offender, offenders))
    yield from triage
    if overview.earlier:
        yield f"\nCodes verified for challenges that were issued before: {overview.earlier}."
    if overview.without_key:
        yield f"\nCalls without a valid key or scope: {overview.without_key}."


def _format_factors(overview: StatsOverview) -> Iterator[str]:
    """Yield the table of authenticators and recovery codes, if there are any."""
    rows = [
        (row.factor, *(str(getattr(row, name)) for name in FACTOR_COLUMNS))
        for row in sum_by_factor(overview.factors)
    ]
    if rows:
        header = ("FACTOR", *(name.upper() for name in FACTOR_COLUMNS))
        yield ""
        yield from format_table([header, *rows])


def _format_deliveries(overview: StatsOverview) -> Iterator[str]:
    """Yield the table of codes of other products, if there are any."""
    rows = [
        (format_value(row.tenant or "-"), *(str(getattr(row, name)) for name in DELIVERY_COLUMNS))
        for row in overview.deliveries
    ]
    if rows:
        header = ("DELIVERIES", *(name.upper() for name in DELIVERY_COLUMNS))
        yield ""
        yield from format_table([header, *rows])


def _format_opt_outs(overview: StatsOverview) -> Iterator[str]:
    """Yield the table of what people answered, and what it refused, if there is any of it."""
    stats = overview.opt_outs
    rows = [
        (
            *(format_value(name or "-") for name in (row.day, row.provider, row.own_number)),
            *(str(getattr(row, name)) for name in OPT_OUT_COLUMNS),
        )
        for row in stats.rows
    ]
    if rows:
        header = ("ANSWERS", "PROVIDER", "OWN NUMBER")
        columns = (name.upper().replace("_", " ") for name in OPT_OUT_COLUMNS)
        yield ""
        yield from format_table([(*header, *columns), *rows])
    if stats.refused:
        yield f"\nSends refused because of an opt-out: {stats.refused}."
    ignored = ((str(one.times), one.provider, one.reason) for one in stats.ignored)
    yield from _format_section(
        "Messages from phones without an effect, by provider and reason", ignored
    )


def to_json_members(overview: StatsOverview) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(overview),
        "total": _row_to_json_members(overview.total),
        "hours": {format_rfc3339(at): _row_to_json_members(row) for at, row in overview.hours},
        "countries": {name: _row_to_json_members(row) for name, row in overview.countries},
        "providers": {name: _row_to_json_members(row) for name, row in overview.providers},
        "tenants": {name: _row_to_json_members(row) for name, row in overview.tenants},
        "reasons": dict(overview.reasons),
        "factor_refusals": {
            refusals.factor: {format_rfc3339(at): count for at, count in refusals.hours}
            for refusals in overview.factor_refusals
        },
    }


def _format_counts(name: str, row: StatsRow) -> tuple[str, ...]:
    conversion = "-" if row.conversion is None else f"{row.conversion:.0%}"
    counts = (row.issued, row.sent, row.failed, row.delivered, row.verified, row.pending)
    refusals = (row.rejected, row.refused, row.locked)
    return (name, *map(str, counts), conversion, *map(str, refusals))


def _row_to_json_members(row: StatsRow) -> dict[str, object]:
    return msgspec.structs.asdict(row) | {"conversion": row.conversion}


def _format_offender(offender: Offender) -> tuple[str, ...]:
    suffix = offender.number_suffix
    number = f"{offender.country or '?'} …{suffix}" if suffix else ""
    return (str(offender.times), format_value(offender.name), format_value(number))


def format_brake_stats(stats: BrakeStats, currency: str) -> Iterator[str]:
    """Yield the tables of the brake on SMS pumping, if it has counted or refused messages."""
    if not (stats.sent_money or stats.refusals):
        return
    sent, unverified = (
        format_money(amount, currency) for amount in (stats.sent_money, stats.unverified_money)
    )
    pending = format_money(stats.pending_money, currency)
    rest = f", and {pending} for codes that still can be" if stats.pending_money else ""
    yield f"\nMessages cost {sent}; {unverified} of it for codes that were not entered{rest}."
    saved = format_money(stats.saved_money, currency)
    recorded = format_money(stats.recorded_money, currency)
    yield f"Refusals saved at most {saved}; record mode would have saved {recorded} more."
    yield from _format_money_table(
        ("BRAKE", "MODE"),
        REFUSAL_COLUMNS,
        [(r, (r.limit, r.mode), r.money) for r in stats.refusals],
        currency,
    )
    yield from _format_money_table(
        ("RANGE", "COUNTRY"),
        RANGE_COLUMNS,
        [(r, (r.prefix, r.country or "-"), r.unverified_money) for r in stats.ranges],
        currency,
    )


def _format_money_table(
    names: tuple[str, ...],
    columns: Sequence[str],
    rows: Sequence[tuple[object, tuple[str, ...], int]],
    currency: str,
) -> Iterator[str]:
    """Yield a table with its columns of counts and a price; nothing without rows."""
    if rows:
        header = (*names, *(name.upper().replace("_", " ") for name in columns), "PRICE")
        cells = [
            (
                *map(format_value, texts),
                *(str(getattr(row, name)) for name in columns),
                format_money(money, currency),
            )
            for row, texts, money in rows
        ]
        yield ""
        yield from format_table([header, *cells])


def _format_section(title: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    cells = [tuple(map(format_value, row)) for row in rows]
    if cells:
        yield f"\n{title}:"
        yield from (f"  {line}" for line in format_table(cells))
