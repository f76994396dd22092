"""Public events as CSV (RFC 4180), for spreadsheets.

Any client of Redis may have written a value, and a spreadsheet runs a cell that begins like a
formula. Such a cell gets an apostrophe in front, which spreadsheets do not show (OWASP, "CSV Injection").
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final


CSV_COLUMNS: Final = (
    *("event_id", "at", "type", "outcome", "reason", "tenant", "key_id"),
    *("client_ip", "client_ip_changed", "country", "number_suffix", "number", "account"),
    *("challenge", "purpose", "provider", "status", "attempts_left", "limit", "folded"),
    *("request", "integrity", "copy_of"),
)
"""Members that have a column of their own; the last column, `others`, holds the rest as JSON."""

FORMULA_STARTS: Final = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)
"""First characters of a formula, also in full width, and those before which spreadsheets look on."""


def format_csv(events: Iterable[Mapping[str, Any]]) -> str:
    """Return a header and one line for each event, as `DecodedEvent.to_public` has them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow((*CSV_COLUMNS, "others"))
    writer.writerows(map(_list_cells, events))
    return text.getvalue()


def _list_cells(event: Mapping[str, Any]) -> list[str]:
    others = {name: value for name, value in event.items() if name not in CSV_COLUMNS}
    cells = [_to_text(event.get(name)) for name in CSV_COLUMNS]
    return [*map(_defuse_formula, cells), json.dumps(others, sort_keys=True, default=str)]


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _defuse_formula(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA_STARTS) else cell
