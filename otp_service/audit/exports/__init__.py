"""The archive in the formats of security tools, one JSON object a line.

    from otp_service.audit.exports import EXPORT_FORMATS, export_line

    for line in iterate_lines(segment):
        if text := export_line(line, EXPORT_FORMATS["ocsf"]):
            print(text)

Pure: a line of an archive in, a line of text out. The formats are in `ocsf` and `ecs`, and the
meaning of each event in `taxonomy`.
"""

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from otp_service.audit.exports.ecs import to_ecs
from otp_service.audit.exports.export_record import ExportRecord, decode_line
from otp_service.audit.exports.ocsf import to_ocsf
from otp_service.audit.query.archive_scan import decode_archived_entry
from otp_service.audit.query.filters import EventFilter


__all__ = ["EXPORT_FORMATS", "ExportSelection", "export_line"]

RecordFormatter = Callable[[ExportRecord], dict[str, Any]]

UNTIMED_TYPES: Final = frozenset({"log.gap", "log.unreadable"})

EXPORT_FORMATS: Final[dict[str, RecordFormatter]] = {"ocsf": to_ocsf, "ecs": to_ecs}


class ExportSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are exported. Gaps and unreadable lines always are: they may hide such events."""

    event_filter: EventFilter = EventFilter()
    since: int = 0
    """Inclusive, in milliseconds since 1970."""
    until: int | None = None
    """Exclusive."""

    def has_line(self, line: bytes) -> bool:
        """Whether a line matches the filter, whatever its time. A forged event counts as it claims."""
        try:
            return self.event_filter.matches(decode_archived_entry(line))
        except ValueError:
            return True

    def has_time(self, at: int) -> bool:
        return self.since <= at and (self.until is None or at < self.until)


ALL_EVENTS: Final = ExportSelection()


def export_line(
    line: bytes, formatter: RecordFormatter, selection: ExportSelection = ALL_EVENTS
) -> str | None:
    """Return a line of an archive in another format; None for a seal and for what is not selected.

    Gaps and unreadable lines have no trusted time, so they are always exported.
    """
    record = decode_line(line)
    if record is None or not selection.has_line(line):
        return None
    if record.event_type not in UNTIMED_TYPES and not selection.has_time(record.at):
        return None
    # All but ASCII is escaped, so no value ends a line or reverses the text of a terminal (R70).
    return json.dumps(formatter(record), separators=(",", ":"))
