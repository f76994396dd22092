"""What is written into an archive next, decided without reading or writing anything.

`take` turns what Redis has of a partition into lines, and `Standing` is where the archive stands:
it learns of every line that is written or found, and says what the next seal states.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from otp_service.audit import merkle
from otp_service.audit.lines import (
    GAP,
    SEAL,
    Gap,
    entry_on,
    gap_line,
    gap_on,
    line_of,
    place_on,
)
from otp_service.audit.seals import (
    NOTHING,
    Dropped,
    Head,
    NextKey,
    Run,
    Seal,
    hash_of,
    seal_on,
)
from otp_service.core.entry import Entry, Tail, milliseconds_of


Known = Callable[[int, int], int]
"""The last sequence that is archived of a partition's epoch; 0 if there is none."""

IsOurs = Callable[[bytes, str], bool]
"""Whether an event carries the MAC that a worker put on it."""


class ArchiveDamaged(Exception):
    """What is there cannot be gone on with; the text says what it is."""


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


class Standing:
    """Where an archive stands: what is in it, what is not sealed, and what the last seal was."""

    def __init__(self) -> None:
        self.number = self.fence = 0
        self.previous = NOTHING
        self.seal_line = b""
        """The last seal's."""
        self.sealed_at = ""
        self.key: str | None = None
        """The id of the key that is to sign the next seal; None if any may."""
        self.oldest: int | None = None
        """When the first entry was told that is not sealed."""
        self.begins = True
        """Whether the next seal is the first one of its segment."""
        self.dropped: Dropped | None = None
        """What retention has deleted, for the next seal to say."""
        self._last: dict[tuple[int, int], int] = {}
        self._newest: dict[int, int] = {}
        self._leaves: list[bytes] = []
        self._runs: dict[tuple[int, int], tuple[int, int]] = {}

    @property
    def is_sealed(self) -> bool:
        """Whether nothing stands behind the last seal."""
        return not self._leaves

    @property
    def waiting(self) -> int:
        """How many lines are not sealed yet."""
        return len(self._leaves)

    def last(self, partition: int, epoch: int) -> int:
        """Return the last sequence of an epoch that is in the archive."""
        return self._last.get((partition, epoch), 0)

    def newest(self, partition: int) -> int:
        """Return the epoch of a partition that was archived last; 0 if there is none."""
        return self._newest.get(partition, 0)

    def learn(self, partition: int, epoch: int, sequence: int) -> None:
        """Take over what was found of an epoch elsewhere in the archive."""
        self._last[partition, epoch] = max(sequence, self.last(partition, epoch))

    def add(self, line: bytes) -> None:
        """Learn of a line that is written. Raises ValueError if it cannot be read."""
        if line.startswith(SEAL):
            self._add_seal(line)
            return
        if line.startswith(GAP):
            partition, epoch, first, last = msgspec.structs.astuple(gap_on(line))
        else:
            partition, epoch, last = place_on(line)
            first = last
            if self.oldest is None:
                self.oldest = milliseconds_of(entry_on(line).at)
        self._leaves.append(merkle.leaf(line))
        began, _ = self._runs.get((partition, epoch), (first, last))
        self._runs[partition, epoch] = (began, last)
        self._move(partition, epoch, last)

    def seal(self, at: str, *, key: str, fence: int, next_key: NextKey | None = None) -> Seal:
        """Return the seal over everything that is not sealed yet."""
        return Seal(
            number=self.number + 1,
            at=at,
            previous=self.previous,
            count=len(self._leaves),
            root=merkle.root(self._leaves).hex(),
            runs=self._told(),
            key=key,
            fence=fence,
            heads=self._heads() if self.begins else (),
            next=next_key,
            dropped=self.dropped,
        )

    def _told(self) -> tuple[Run, ...]:
        """Return the runs by partition; its epochs stand in the order in which they were met."""
        runs = sorted(self._runs.items(), key=lambda run: run[0][0])
        return tuple(Run(*who, *run) for who, run in runs)

    def _heads(self) -> tuple[Head, ...]:
        newest = sorted(self._newest.items())
        return tuple(Head(p, epoch, self._last[p, epoch]) for p, epoch in newest)

    def _add_seal(self, line: bytes) -> None:
        seal = seal_on(line)
        for head in seal.heads:
            self._move(*head)
        for run in seal.runs:
            self._move(run.partition, run.epoch, run.last)
        self.number, self.fence, self.previous = seal.number, seal.fence, hash_of(line)
        self.seal_line, self.sealed_at = line, seal.at
        self.key = seal.next.id if seal.next else seal.key
        self.oldest, self.begins, self.dropped = None, False, None
        self._leaves.clear()
        self._runs.clear()

    def _move(self, partition: int, epoch: int, last: int) -> None:
        self.learn(partition, epoch, last)
        self._newest[partition] = epoch
