"""What `audit stats` says to look at, with the command that finds the events of each finding."""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomalies import Baseline
from otp_service.audit.reports.anomaly import Anomaly
from otp_service.core.printable_text import format_value
from otp_service.core.timestamps import format_rfc3339


def format_triage(
    anomalies: Sequence[Anomaly],
    baseline: Baseline,
    since: int,
    until: int,
    places: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the lines of a section; the instants of the period are in milliseconds since 1970.

    `places` are the options of this call that name configuration and archive, for the commands.
    """
    yield "\nTo look at:"
    for anomaly in anomalies:
        yield f"  {anomaly.weight.upper()}  {format_value(anomaly.sentence)}"
        yield f"    means: {anomaly.meaning}"
        yield f"    to do: {anomaly.remedy}"
        if command := format_search(anomaly.criteria, since, until, places):
            yield f"    events: {command}"
    if not anomalies:
        yield "  Nothing, by the rules that need no comparison."
    yield f"  {baseline.sentence}"


def format_search(
    criteria: EventCriteria, since: int, until: int, places: Sequence[str] = ()
) -> str:
    """Return the command that finds the events; empty if no search finds them.

    A value of an event becomes one quoted word of the shell.
    """
    filters = criteria.to_filters()
    if not filters:
        return ""
    words = ["otp-service", "audit", "search", *places]
    for name, value in _bound(filters, since, until).items():
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [f"{option}={format_value(value)}"]
    return shlex.join(words)


def to_json_members(
    anomalies: Sequence[Anomaly], baseline: Baseline, since: int, until: int
) -> dict[str, Any]:
    """Return the members of the report in JSON; `criteria` include the period."""
    found = []
    for anomaly in anomalies:
        filters = anomaly.criteria.to_filters()
        criteria = _bound(filters, since, until) if filters else {}
        found.append(msgspec.structs.asdict(anomaly) | {"criteria": criteria})
    return {"anomalies": found, "baseline": baseline}


def _bound(filters: dict[str, Any], since: int, until: int) -> dict[str, Any]:
    """Return the filters in the period, unless they have their own, with instants as RFC 3339."""
    bounded = {"since": since, "until": until} | filters
    return bounded | {name: format_rfc3339(bounded[name]) for name in ("since", "until")}
