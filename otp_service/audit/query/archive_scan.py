"""The entries that stand in an archive's folder: newest first, and how far they reach.

Whoever has changed the files is found by `audit verify`, not here: a line that cannot be read is
counted and left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.entries import (
    GAP,
    SEAL,
    Place,
    entry_on,
    gap_on,
    place_named,
    place_on,
)
from otp_service.audit.archive_format.seals import seal_on
from otp_service.audit.archive_format.segments import (
    LONGEST_LINE,
    blocks_backward,
    number_of,
    segments,
)
from otp_service.audit.query.page_cursor import Spot
from otp_service.core.log_entry import Entry, Position, milliseconds_of, rfc3339


LONGEST_TAIL = 10_000
"""Lines that are kept, in case that a seal follows."""

SLACK = 3600_000
"""Milliseconds by which the sealer's clock may be wrong, or a line may stand in the wrong place."""

_AT = re.compile(rb'\{"id":"[^"]*","at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')
_SEALED_AT = re.compile(rb'\n\{"seal":\{"number":\d+,"at":"([^"]*)"')
_FROM_THE_END = 2**63 - 1


class Archived(Entry, frozen=True, kw_only=True):
    """An entry out of an archive; `failed`: no key in force had made its MAC when it got there."""

    failed: bool


class Reach(NamedTuple):
    """How far an archive reaches."""

    heads: Mapping[int, tuple[int, int]]
    """The last epoch of each partition, and the last sequence in it."""
    at: int
    """When the newest event in it was, in milliseconds."""

    def holds(self, entry: Entry) -> bool:
        """Whether the archive has this entry, as far as that is for sure.

        Whoever can write to Redis can append what looks like an old one, without an epoch or with
        a place that is taken; it must not hide what stands behind it, and is told apart later.
        """
        head = self.heads.get(entry.partition, (0, 0))
        place = (entry.epoch, entry.position.sequence)
        return entry.epoch > 0 and place <= head and entry.position.at <= self.at


class Archive:
    """A folder with segments; all methods read files, and are for threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unreadable = 0
        """Lines that could not be read, since this was made."""
        self._heads: dict[int, tuple[int, int]] = {}
        self._at = rfc3339(0).encode()
        self._read = Spot(0, 0)
        self._lock = Lock()

    def reach(self) -> Reach:
        """Return how far it reaches now; only what is new since the last time is read."""
        with self._lock:
            found = segments(self.folder)
            newer = [path for path in found if number_of(path) >= self._read.segment]
            # A segment's first seal says where every partition stands; the newest may lack it yet.
            for path in newer if self._read.segment else found[-2:]:
                self._follow(path)
            return Reach(dict(self._heads), milliseconds_of(self._at.decode()))

    def backward(
        self,
        before: Spot | None,
        *,
        may_want: Callable[[bytes], bool],
        since: int = 0,
        until: int | None = None,
    ) -> Iterator[tuple[Spot, Archived | None]]:
        """Give the entries before a spot (None: all), newest first, and where each stands.

        A None without an entry says how far it has come, at least once a block.
        """
        first, last = _text(since), b"~" if until is None else _text(until)
        for segment in self._segments(before, until):
            number = number_of(segment)
            end = before.offset if before and before.segment == number else _FROM_THE_END
            for offset, block in blocks_backward(segment, end):
                self.unreadable += not block
                if block and may_want(block):  # or there is no need to cut it into lines
                    place = offset + len(block)
                    for line in reversed(block[:-1].split(b"\n")):
                        place -= len(line) + 1
                        if may_want(line) and (entry := self._entry(line, first, last)):
                            yield Spot(number, place), entry
                yield Spot(number, offset), None
                if since > 0 and _sealed_at(block) < _text(since - SLACK):
                    return  # what stands before a seal was told before it

    def _segments(self, before: Spot | None, until: int | None) -> Iterator[Path]:
        """Give the segments that may hold what is asked for, newest first."""
        for segment in reversed(segments(self.folder)):
            if before is not None and number_of(segment) > before.segment:
                continue
            begun = next(filter(None, (_at(line) for _, line in _whole_lines(segment, 0))), b"")
            if until is None or begun < _text(until + SLACK):
                yield segment

    def _entry(self, line: bytes, first: bytes, last: bytes) -> Archived | None:
        """Return the entry on a line if it is of this time."""
        at = _at(line)
        if (at and not first <= at < last) or line.startswith((GAP, SEAL)):
            return None
        try:
            return archived(line)
        except ValueError:
            self.unreadable += 1
            return None

    def _follow(self, segment: Path) -> None:
        number = number_of(segment)
        offset = self._read.offset if number == self._read.segment else 0
        unsealed: list[bytes] = []
        for end, line in _whole_lines(segment, offset):
            offset = end
            if line.startswith(SEAL):
                self._note(line)
                unsealed = unsealed[-1:]  # of the others a seal tells all that is needed
            unsealed.append(line)
            if len(unsealed) == LONGEST_TAIL:
                self._note_all(unsealed)
        self._note_all(unsealed)
        self._read = Spot(number, offset)

    def _note_all(self, lines: list[bytes]) -> None:
        for line in lines:
            self._note(line)
        lines.clear()

    def _note(self, line: bytes) -> None:
        """Let a line say how far the archive reaches."""
        try:
            if line.startswith(SEAL):
                seal = seal_on(line)
                for head in seal.heads:
                    self._reached(Place(*head))
                for run in seal.runs:
                    self._reached(Place(run.partition, run.epoch, run.last))
            elif line.startswith(GAP):
                gap = gap_on(line)
                self._reached(Place(gap.partition, gap.epoch, gap.last))
            else:
                place, at = place_on(line), _at(line)
                milliseconds_of(at.decode())
                self._reached(place)
                self._at = max(self._at, at)
        except ValueError:
            self.unreadable += 1

    def _reached(self, place: Place) -> None:
        head = self._heads.get(place.partition, (0, 0))
        self._heads[place.partition] = max(head, (place.epoch, place.sequence))


def archived(line: bytes) -> Archived:
    """Return the entry on a line. Raises ValueError (a MsgspecError is one)."""
    told = entry_on(line)
    if _at(line) != told.at.encode():
        raise ValueError(told.at)
    place = place_named(told.id)
    return Archived(
        partition=place.partition,
        position=Position(milliseconds_of(told.at), place.sequence),
        epoch=place.epoch,
        event=bytes(told.event),
        mac=told.mac,
        stamp=b"" if told.stamp is msgspec.UNSET else bytes(told.stamp),
        failed=told.integrity is not msgspec.UNSET,
    )


def _at(line: bytes) -> bytes:
    """Return when the entry on a line was, as it stands there; nothing if it is no entry."""
    at = _AT.match(line)
    return at[1] if at else b""


def _sealed_at(block: bytes) -> bytes:
    """Return when the first seal in a block was made, or what is later than any."""
    at = _SEALED_AT.search(block)
    return at[1] if at else b"~"


def _text(at: int) -> bytes:
    return rfc3339(max(0, at)).encode()


def _whole_lines(segment: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Give the lines from here on, and where each ends.

    One that is far too long is left out, and so is a last one that is being written.
    """
    with suppress(FileNotFoundError), segment.open("rb") as file:
        end, is_cut = file.seek(start), False
        for line in iter(partial(file.readline, LONGEST_LINE), b""):
            end, was_cut, is_cut = end + len(line), is_cut, not line.endswith(b"\n")
            if not is_cut and not was_cut:
                yield end, line[:-1]
