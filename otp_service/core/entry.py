"""One event with its place in the log, as it is kept."""

from datetime import UTC, datetime, timedelta
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


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis has of a partition behind what is archived, and the state of its log then."""

    partition: int
    now: int
    last: Position
    """No entry of the log has a later id; whatever has is not ours."""
    epoch: int
    """The one that `last` is of."""
    archived: Position | None
    """The id up to which an archive has what Redis had."""
    place: tuple[int, int] | None
    """Epoch and sequence that it had come to with that."""
    waiting: int
    """Events behind it; refusals are not counted."""
    entries: tuple[Entry, ...]
    """In their order; the first ones, if there are more."""
    events: int
    """How many of them are no refusals."""
    is_whole: bool


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archive has come in a partition, after what a Tail held."""

    tail: Tail
    anew: bool
    """Whether the tail was read from the beginning."""
    place: tuple[int, int]


def rfc3339(at: int) -> str:
    """Return an instant, in milliseconds, as the contract and the archive write it; the last one if too late."""
    try:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    except OverflowError:
        instant = datetime.max.replace(tzinfo=UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds_of(text: str) -> int:
    """Return the instant that `rfc3339` wrote, in milliseconds. Raises ValueError."""
    elapsed = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return elapsed // timedelta(milliseconds=1)
