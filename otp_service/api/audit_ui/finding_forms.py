"""What looks wrong, with the form that finds the events of each finding."""

from typing import NamedTuple

from otp_service.api.audit_ui.search_period import format_instant
from otp_service.audit.query.criteria import EventCriteria
from otp_service.audit.reports.anomaly import Anomaly


MAX_FIELD_CHARS = 200
"""Characters of a value of an event that becomes part of a form."""


class Finding(NamedTuple):
    anomaly: Anomaly
    fields: dict[str, str]
    """Of the search form; empty if no search finds the events."""


def build_finding(anomaly: Anomaly, since: int) -> Finding:
    """Return the finding of a page that counts events since an instant."""
    filters = anomaly.criteria.to_filters()
    if not filters:
        return Finding(anomaly, {})
    fields = {name: _format_field(value) for name, value in filters.items()}
    fields |= _format_period(anomaly.criteria, since)
    is_safe = all(text.isprintable() and len(text) <= MAX_FIELD_CHARS for text in fields.values())
    return Finding(anomaly, fields if is_safe else {})


def _format_field(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _format_period(criteria: EventCriteria, since: int) -> dict[str, str]:
    begin = since if criteria.since is None else criteria.since
    period = {"hours": "range", "since": format_instant(begin)}
    if criteria.until is not None:
        # The field includes the last millisecond that it names.
        period["until"] = format_instant(criteria.until - 1)
    return period
