"""One event with its place in the log, as it is kept."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec


T = TypeVar("T")

MAX_JSON_BRACKETS = 250
"""Of an event or a stamp. Ours have a few; how many more can be followed hangs on who decodes it."""


class StreamPosition(NamedTuple):
    """The id of an entry of one partition: they only ever grow."""

    at: int
    """Milliseconds since 1970, by Redis's clock."""
    sequence: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event, signed by the worker that told it, and what Redis added."""

    partition: int
    position: StreamPosition
    epoch: int
    event: bytes
    mac: str
    stamp: bytes
    """JSON of a Stamp, or empty."""


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What only Redis knew of a refusal; it stands above what the worker said."""

    reason: str | None = None
    limit: str | None = None
    """Which limit refused: `quota` in `period` seconds, and how long to `wait`, in milliseconds."""
    quota: int | None = None
    period: int | None = None
    wait: int | None = None
    folded: int | None = None
    """How many refusals this is, between two instants, in milliseconds, from so many addresses."""
    first: int | None = None
    last: int | None = None
    addresses: int | None = None
    unrecorded: int | None = None
    """How many refusals before this one found no room in the log, and were only counted."""


class PendingEntries(msgspec.Struct, frozen=True, kw_only=True):
    """What Redis has of a partition behind what is archived, and the state of its log then."""

    partition: int
    now: int
    last_position: StreamPosition
    """No entry of the log has a later id; whatever has is not ours."""
    epoch: int
    """The one that `last` is of."""
    archived_position: StreamPosition | None
    """The id up to which an archive has what Redis had."""
    sequence_id: tuple[int, int] | None
    """Epoch and sequence that it had come to with that."""
    waiting_count: int
    """Events behind it; refusals are not counted."""
    events: tuple[Entry, ...]
    """The first ones, in their order."""
    refusals: tuple[Entry, ...]
    is_complete: bool
    """Whether these are all."""

    @property
    def entries(self) -> list[Entry]:
        """Both, in their order."""
        return sorted((*self.events, *self.refusals), key=attrgetter("position"))

    def truncate_after(self, at: int) -> "PendingEntries":
        """Return it without what is later than this instant."""
        events = tuple(entry for entry in self.events if entry.position.at <= at)
        refusals = tuple(entry for entry in self.refusals if entry.position.at <= at)
        is_all = (events, refusals) == (self.events, self.refusals)
        is_whole = self.is_complete and is_all
        return msgspec.structs.replace(self, events=events, refusals=refusals, is_complete=is_whole)


class ArchivedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archive has come in a partition, after what a Tail held."""

    pending: PendingEntries
    from_start: bool
    """Whether the tail was read from the beginning."""
    sequence_id: tuple[int, int]


def create_bounded_decoder(
    target_type: type[T], max_brackets: int | None = None
) -> Callable[[bytes], T]:
    """Return what decodes JSON that anybody may have written, with at most so many brackets.

    It raises MsgspecError, also for what nests too deep.
    """
    decode = msgspec.json.Decoder(target_type).decode

    def decode_bounded(text: bytes) -> T:
        if max_brackets is not None and text.count(b"[") + text.count(b"{") > max_brackets:
            raise msgspec.ValidationError("it nests too deep")
        try:
            return decode(text)
        except RecursionError:
            raise msgspec.ValidationError("it nests too deep") from None

    return decode_bounded


def decode_stamp(stamp: bytes) -> dict[str, Any]:
    """Return what a stamp says: what only Redis may, as no MAC covers it. Raises MsgspecError."""
    said = msgspec.structs.asdict(_decode_stamp_json(stamp)) if stamp else {}
    return {name: value for name, value in said.items() if value is not None}


_decode_stamp_json = create_bounded_decoder(Stamp, MAX_JSON_BRACKETS)
