"""An entry of the log as one line of ASCII: nothing in it can end the line, or colour a screen.

What is not printable ASCII is escaped: not only control characters, but also U+2028, which some
readers take for a line's end, and the marks that turn the direction of text (R70, CWE-117).
Only plain values are written; of anything else its type alone, for a `repr` may hold a code.
"""

import json
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final


MOST_BYTES: Final = 4096
"""With its line feed. Linux's PIPE_BUF: workers that share a pipe never cut into each other."""

_LIMITS: Final = ((1024, 64), (128, 16), (48, 6))
"""Characters of a string and items of a list or an object: the next pair if a line is too long."""
_DEPTH: Final = 4
_KEY: Final = 64
_INTEGERS: Final = 2**63
_FIRST: Final = ("timestamp", "level", "logger", "event", "exception")

_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode


def as_line(entry: Mapping[str, Any]) -> str:
    """Return the entry as JSON, without the line feed; what is too long is cut, and ends in …"""
    ordered = {field: entry[field] for field in _FIRST if field in entry} | dict(entry)
    for characters, items in _LIMITS:
        line = _encode(_plain(ordered, characters, items, _DEPTH))
        if len(line) < MOST_BYTES:
            return line
    return _encode({field: _plain(entry.get(field), 48, 0, 1) for field in _FIRST[:4]})


def _plain(value: object, characters: int, items: int, depth: int) -> object:
    if isinstance(value, str):
        return value if len(value) <= characters else value[:characters] + "…"
    if value is None or isinstance(value, bool | float | int):
        return _number(value)
    if not depth or not isinstance(value, Mapping | list | tuple):
        return f"<{type(value).__name__[:_KEY]}>"
    if isinstance(value, Mapping):
        return {
            str(_plain(key, _KEY, 0, 0)): _plain(inner, characters, items, depth - 1)
            for key, inner in islice(value.items(), items)
        }
    return [_plain(inner, characters, items, depth - 1) for inner in value[:items]]


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity, and Python refuses to write an integer of thousands of digits."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) >= _INTEGERS:
        return "<int>"
    return value
