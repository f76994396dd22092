"""Public events as CSV (RFC 4180), for spreadsheets.

Any client of Redis may have written a value, and a spreadsheet runs a cell that begins like a
formula. Such a cell gets an apostrophe in front, which spreadsheets do not show (OWASP, "CSV Injection").
Where the decimal sign is a comma, they divide lines at semicolons, also inside a value: what follows one
counts as the beginning of a cell.
"""

import csv
import io
import json
import re
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

_CELL_STARTS: Final = re.compile(
    rf'(\A|[;\t\r\n])(?=[ "]*(?:{"|".join(map(re.escape, FORMULA_STARTS))}))'
)
"""Where a cell may begin, before a formula; the first quote of a quoted cell is not shown."""


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
    return [*map(_defuse_formula, cells), _to_json(others)]


def _to_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else _to_json(value)


def _to_json(value: Any) -> str:
    """Return JSON without a semicolon, which it has in strings alone."""
    return json.dumps(value, sort_keys=True, default=str).replace(";", r"\u003b")


def _defuse_formula(cell: str) -> str:
    return _CELL_STARTS.sub(r"\1'", cell)
