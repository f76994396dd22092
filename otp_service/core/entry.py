"""One event with its place in the log, as it is kept."""

from typing import NamedTuple

import msgspec


class Position(NamedTuple):
    """The id of an entry of one partition: they only ever grow."""

    at: int
    """Milliseconds since 1970, by Redis's clock."""
    sequence: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event, signed by the worker that told it, and what Redis added."""

    partition: int
    position: Position
    epoch: int
    event: bytes
    mac: str
    stamp: bytes
    """JSON, or empty: the limit that refused, or what was folded."""
