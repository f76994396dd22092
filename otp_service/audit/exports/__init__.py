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

from otp_service.audit.exports.ecs import to_ecs
from otp_service.audit.exports.export_record import ExportRecord, decode_line
from otp_service.audit.exports.ocsf import to_ocsf


__all__ = ["EXPORT_FORMATS", "export_line"]

RecordFormatter = Callable[[ExportRecord], dict[str, Any]]

UNTIMED_TYPES: Final = frozenset({"log.gap", "log.unreadable"})

EXPORT_FORMATS: Final[dict[str, RecordFormatter]] = {"ocsf": to_ocsf, "ecs": to_ecs}


def export_line(line: bytes, formatter: RecordFormatter, since: int = 0) -> str | None:
    """Return a line of an archive in another format; None for a seal, and for an event before `since`.

    `since` is in milliseconds since 1970. Gaps and unreadable lines have no trusted time, so they
    are always exported.
    """
    record = decode_line(line)
    if record is None or (record.at < since and record.event_type not in UNTIMED_TYPES):
        return None
    # All but ASCII is escaped, so no value ends a line or reverses the text of a terminal (R70).
    return json.dumps(formatter(record), separators=(",", ":"))
