"""The archive in the formats that security teams feed to their tools, one JSON object a line.

    from otp_service.audit.exports import FORMATS, exported

    for line in lines(segment):
        if text := exported(line, FORMATS["ocsf"]):
            print(text)

Pure: a line of an archive in, a line of text out. What the formats say is in `ocsf` and `ecs`; what
an event means in them, in `audit/vocabulary.py`.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from otp_service.audit.exports.ecs import to_ecs
from otp_service.audit.exports.export_record import ExportRecord, decode_line
from otp_service.audit.exports.ocsf import to_ocsf


__all__ = ["FORMATS", "export_line"]

RecordFormatter = Callable[[ExportRecord], dict[str, Any]]

UNTIMED_TYPES: Final = frozenset({"log.gap", "log.unreadable"})

FORMATS: Final[dict[str, RecordFormatter]] = {"ocsf": to_ocsf, "ecs": to_ecs}


def export_line(line: bytes, formatter: RecordFormatter, since: int = 0) -> str | None:
    """Return a line of an archive in another format, or None for a seal and for what was before.

    `since` is in milliseconds. Gaps and lines that cannot be read have no time that could be
    trusted, so they are always told.
    """
    told = decode_line(line)
    if told is None or (told.at < since and told.event_type not in UNTIMED_TYPES):
        return None
    # All but ASCII is escaped, so no value ends a line or turns a terminal around (R70).
    return json.dumps(formatter(told), separators=(",", ":"))
