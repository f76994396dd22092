"""What is written into an archive next, decided without reading or writing anything.

`take` turns what Redis has of a partition into lines.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.entries import (
    Gap,
    gap_line,
    line_of,
)
from otp_service.core.log_entry import Entry, Tail


Known = Callable[[int, int], int]
"""The last sequence that is archived of a partition's epoch; 0 if there is none."""

IsOurs = Callable[[bytes, str], bool]
"""Whether an event carries the MAC that a worker put on it."""


class Line(NamedTuple):
    """A line and what it is sorted by."""

    at: int
    partition: int
    text: bytes


class Taken(msgspec.Struct, frozen=True):
    """What the tail of a partition adds to an archive."""

    lines: list[Line]
    place: tuple[int, int]
    """Epoch and sequence that the archive has come to with it."""
    missing: int
    """Entries that are declared as gaps."""
    failed: int
    """Entries without a MAC of ours."""


def take(tail: Tail, known: Known, is_ours: IsOurs) -> Taken:
    """Return what the archive lacks of a tail.

    What it has already is left out, and so is what claims a place that the log has not given yet:
    only somebody else can have appended that.
    """
    taking = _Taking(tail, known, is_ours)
    for entry in tail.entries:
        taking.entry(entry)
    if tail.is_whole:
        taking.gap(tail.epoch, tail.last.sequence + 1, tail.last.at)
    return Taken(taking.lines, taking.place, taking.missing, taking.failed)


class _Taking:
    def __init__(self, tail: Tail, known: Known, is_ours: IsOurs) -> None:
        self._tail = tail
        self._known = known
        self._is_ours = is_ours
        self._last: dict[int, int] = {}
        self.lines: list[Line] = []
        self.place = tail.place or (0, 0)
        self.missing = self.failed = 0

    def entry(self, entry: Entry) -> None:
        """Add an entry, unless it is there or cannot be."""
        epoch, sequence = entry.epoch, entry.position.sequence
        if (epoch, sequence) > (self._tail.epoch, self._tail.last.sequence):
            return
        self.place = (epoch, max(self._last_of(epoch), sequence))
        if sequence <= self._last_of(epoch):
            return
        self.gap(epoch, sequence, entry.position.at)
        is_ours = self._is_ours(entry.event, entry.mac)
        self.failed += not is_ours
        self._add(entry.position.at, line_of(entry, is_ours=is_ours))
        self._last[epoch] = sequence

    def gap(self, epoch: int, until: int, at: int) -> None:
        """Declare what is missing before this sequence."""
        first, last = self._last_of(epoch) + 1, until - 1
        if first <= last:
            self._add(at, gap_line(Gap(self._tail.partition, epoch, first, last)))
            self.missing += last - first + 1
            self._last[epoch] = last
            self.place = (epoch, last)

    def _last_of(self, epoch: int) -> int:
        if epoch not in self._last:
            self._last[epoch] = self._known(self._tail.partition, epoch)
        return self._last[epoch]

    def _add(self, at: int, text: bytes) -> None:
        self.lines.append(Line(at, self._tail.partition, text))


def in_time(tails: Sequence[Tail]) -> list[Tail]:
    """Return of each tail what no other one can have anything before.

    Whoever reads an archive from its end relies on that also where a sealer has had to catch up.
    """
    read_to = [t.entries[-1].position.at for t in tails if t.entries and not t.is_whole]
    return [tail.until(min(read_to)) for tail in tails] if read_to else [*tails]


def merged(taken: Iterable[Taken]) -> Iterator[bytes]:
    """Give the lines of several partitions by time, and of one in the order that they have."""
    for line in heapq.merge(*(one.lines for one in taken), key=lambda line: line[:2]):
        yield line.text
