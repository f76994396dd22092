"""The report of `pumping replay`: the formulas side by side, and what the replay does not know."""

from collections.abc import Iterator, Sequence

import msgspec

from otp_service.audit.reports.pumping_log import LogExtent, LogProblems
from otp_service.cli import tables
from otp_service.core.pumping.prices import format_money
from otp_service.core.pumping.replay_result import (
    LogTotals,
    ReplayPeriod,
    ReplayRemarks,
    ReplayResult,
)
from otp_service.core.timestamps import format_rfc3339


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay has found; amounts are in millionths of the currency."""

    currency: str
    archive: LogExtent
    period: ReplayPeriod
    totals: LogTotals
    formulas: dict[str, ReplayResult]
    remarks: ReplayRemarks
    problems: LogProblems


def format_report(report: ReplayReport) -> Iterator[str]:
    """Yield the lines of a report."""
    archive, period = report.archive, report.period
    start, end = max(archive.start, period.start), min(archive.end + 1, period.end)
    yield f"archive  {_format_instant(archive.start)} to {_format_instant(archive.end)} UTC"
    yield f"counted  {_format_instant(start)} to {_format_instant(end)} UTC"
    if start > archive.start:
        yield "         what is before that was only used to learn from"
    yield from _format_totals(report)
    yield ""
    yield from tables.format_table(list(_list_rows(report)))
    remarks = list(_list_remarks(report))
    yield from ["", *remarks] if remarks else []


def _format_totals(report: ReplayReport) -> Iterator[str]:
    totals = report.totals
    yield f"sends    {totals.sends:,}, of which {totals.deliveries:,} are deliveries"
    yield f"spent    {format_money(totals.spent, report.currency)}"
    yield f"verified {totals.verified:,} challenges"
    if totals.over:
        yield f"recorded {totals.over:,} sends over a limit, by the service itself"
    if totals.denials:
        yield f"refused  {totals.denials:,} further sends, by the brake of the service itself"


def _list_rows(report: ReplayReport) -> Iterator[Sequence[str]]:
    """Yield the rows: what is counted, then a cell for each formula."""
    results = tuple(report.formulas.values())
    yield "", *report.formulas
    yield "would refuse", *(f"{one.refused:,}" for one in results)
    limits = sorted({limit for one in results for limit in one.refused_by})
    for limit in limits:
        yield f"  {limit}", *(f"{one.refused_by[limit]:,}" for one in results)
    yield "verified within a day", *(f"{one.later_verified:,}" for one in results)
    yield "saves", *(format_money(one.saved, report.currency) for one in results)
    yield (
        "first refusal",
        *(
            "-" if one.first_refused_at is None else _format_instant(one.first_refused_at)
            for one in results
        ),
    )
    yield "worst day", *(_format_worst(one) for one in results)
    if report.totals.denials:
        yield "admits of the refused", *(f"{one.admitted_denials:,}" for one in results)


def _format_worst(result: ReplayResult) -> str:
    if not result.refused_in:
        return "-"
    (country, day), count = result.refused_in.most_common(1)[0]
    return f"{country or '?'} {day}: {count:,}"


def _list_remarks(report: ReplayReport) -> Iterator[str]:
    remarks, problems = report.remarks, report.problems
    if any(one.later_verified for one in report.formulas.values()):
        yield (
            "'verified within a day' estimates how many persons were refused wrongly: their number"
            " verified in the day after the refusal."
        )
    counts = (
        (remarks.without_price, "sends have no price in their event: the price table counts."),
        (remarks.without_range, "sends have no range in their event: ranges do not refuse them."),
        (
            remarks.without_block,
            "sends have no operator block in their event: blocks do not refuse them.",
        ),
        (remarks.unknown_challenges, "resends are left out: the log lacks their issue."),
        (
            remarks.late_events,
            "events are more than a minute late, and counted at a later instant.",
        ),
        (problems.invalid_macs, "events are left out: their MAC was invalid."),
        (problems.unreadable, "lines are left out: they are unreadable."),
        (problems.missing, "events are declared missing."),
        (report.totals.deliveries, "deliveries never verify here: they are compared by volume."),
    )
    yield from (f"{count:,} {text}" for count, text in counts if count)
    yield from _list_key_changes(remarks)


def _list_key_changes(remarks: ReplayRemarks) -> Iterator[str]:
    keys = sorted(remarks.pseudonym_keys.items(), key=lambda pair: pair[1])
    for key, at in keys[1:]:
        yield (
            f"The pseudonym key {key} names numbers from {_format_instant(at)} UTC on: every number"
            " and range is new then, and no number is known, so more is refused than in the service."
        )


def _format_instant(epoch_ms: int) -> str:
    return format_rfc3339(epoch_ms)[:16].replace("T", " ")


def to_json_members(report: ReplayReport) -> dict[str, object]:
    """Return the report for JSON; instants are RFC 3339, and amounts millionths of the currency."""
    archive, period = report.archive, report.period
    return {
        "currency": report.currency,
        "archive": _to_span(archive.start, archive.end),
        "counted": _to_span(max(archive.start, period.start), min(archive.end + 1, period.end)),
        "log": msgspec.to_builtins(report.totals),
        "formulas": {name: _to_members(result) for name, result in report.formulas.items()},
        "remarks": list(_list_remarks(report)),
    }


def _to_members(result: ReplayResult) -> dict[str, object]:
    first = result.first_refused_at
    return {
        "refused": result.refused,
        "refused_by": dict(result.refused_by),
        "later_verified": result.later_verified,
        "saved": result.saved,
        "first_refused_at": None if first is None else format_rfc3339(first),
        "refused_in": [
            {"country": country, "day": day, "refused": count}
            for (country, day), count in result.refused_in.most_common()
        ],
        "admitted_denials": result.admitted_denials,
    }


def _to_span(start: int, end: int) -> dict[str, str]:
    return {"from": format_rfc3339(start), "until": format_rfc3339(end)}
