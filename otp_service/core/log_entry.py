"""Entries of the event log: an event with its position in a partition."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec


T = TypeVar("T")

MAX_JSON_BRACKETS = 250
"""Brackets of an event or a stamp. Ours have a few; the depth that can be decoded depends on the reader."""


class StreamPosition(NamedTuple):
    """The id of an entry in its partition. Later entries have higher ids."""

    at: int
    """Milliseconds since 1970, by Redis's clock."""
    sequence: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event with the MAC of the worker that wrote it, and the stamp that Redis added."""

    partition: int
    position: StreamPosition
    epoch: int
    event: bytes
    mac: str
    stamp: bytes
    """JSON of a Stamp, or empty."""


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What only Redis knew of a refusal or a fold. Its members replace those of the event."""

    reason: str | None = None
    limit: str | None = None
    """The limit that refused: `quota` in `period` seconds. `wait` is in milliseconds."""
    quota: int | None = None
    period: int | None = None
    wait: int | None = None
    unverified: int | None = None
    """In the scope of a limit of the brake, and how much may be: millionths of the currency."""
    allowance: int | None = None
    folded: int | None = None
    """How many events this one counts, from `first` to `last` (ms since 1970) and `client_ips`."""
    first: int | None = None
    last: int | None = None
    client_ips: int | None = None
    unrecorded: int | None = None
    """Events of `FOLDABLE_EVENTS` before this one that are only counted: the log was full."""


class PendingEntries(msgspec.Struct, frozen=True, kw_only=True):
    """The entries of a partition that are not archived yet, and the state of its log at that time."""

    partition: int
    now: int
    last_position: StreamPosition
    """The last id that the log has given out. An entry with a later id is not authentic."""
    epoch: int
    """The epoch of `last_position`."""
    archived_position: StreamPosition | None
    """The id up to which an archive has every entry."""
    sequence_id: tuple[int, int] | None
    """Epoch and sequence of that entry."""
    waiting_count: int
    """Events after it, without refusals."""
    events: tuple[Entry, ...]
    """The first of them, in order."""
    refusals: tuple[Entry, ...]
    is_complete: bool
    """Whether `events` and `refusals` are all of them."""

    @property
    def entries(self) -> list[Entry]:
        """Return events and refusals in the order of their positions."""
        return sorted((*self.events, *self.refusals), key=attrgetter("position"))

    def truncate_after(self, at: int) -> "PendingEntries":
        """Return a copy without the entries after this instant (ms since 1970)."""
        events = tuple(entry for entry in self.events if entry.position.at <= at)
        refusals = tuple(entry for entry in self.refusals if entry.position.at <= at)
        is_whole = self.is_complete and (events, refusals) == (self.events, self.refusals)
        return msgspec.structs.replace(self, events=events, refusals=refusals, is_complete=is_whole)


class ArchivedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """The position of an archive in a partition, once it has the pending entries."""

    pending: PendingEntries
    from_start: bool
    """Whether the pending entries were read from the beginning of the stream."""
    sequence_id: tuple[int, int]


def create_bounded_decoder(kind: type[T], max_brackets: int | None = None) -> Callable[[bytes], T]:
    """Return a decoder for untrusted JSON, with at most `max_brackets` brackets.

    The decoder raises MsgspecError for invalid JSON, and for JSON that nests too deep.
    """
    decode = msgspec.json.Decoder(kind).decode

    def decode_bounded(text: bytes) -> T:
        if max_brackets is not None and text.count(b"[") + text.count(b"{") > max_brackets:
            raise msgspec.ValidationError("it nests too deep")
        try:
            return decode(text)
        except RecursionError:
            raise msgspec.ValidationError("it nests too deep") from None

    return decode_bounded


def decode_stamp(stamp: bytes) -> dict[str, Any]:
    """Return the members of a stamp that Redis may set, as no MAC covers it. Raises MsgspecError."""
    members = msgspec.structs.asdict(_decode_stamp_json(stamp)) if stamp else {}
    return {name: value for name, value in members.items() if value is not None}


_decode_stamp_json = create_bounded_decoder(Stamp, MAX_JSON_BRACKETS)
