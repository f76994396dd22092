"""What is written into an archive next, decided without reading or writing anything.

`take` turns what Redis has of a partition into lines.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format.entries import (
    Gap,
    encode_entry,
    encode_gap,
)
from otp_service.core.log_entry import Entry, PendingEntries


SequenceLookup = Callable[[int, int], int]
"""The last sequence that is archived of a partition's epoch; 0 if there is none."""

MacVerifier = Callable[[bytes, str], bool]
"""Whether an event carries the MAC that a worker put on it."""


class ArchiveLine(NamedTuple):
    """A line and what it is sorted by."""

    at: int
    partition: int
    text: bytes


class PartitionLines(msgspec.Struct, frozen=True):
    """What the tail of a partition adds to an archive."""

    lines: list[ArchiveLine]
    head: tuple[int, int]
    """Epoch and sequence that the archive has come to with it."""
    missing: int
    """Entries that are declared as gaps."""
    failed: int
    """Entries without a MAC of ours."""


def build_partition_lines(
    pending: PendingEntries, last_sequence: SequenceLookup, has_valid_mac: MacVerifier
) -> PartitionLines:
    """Return what the archive lacks of a tail.

    What it has already is left out, and so is what claims a place that the log has not given yet:
    only somebody else can have appended that.
    """
    taking = _PartitionLinesBuilder(pending, last_sequence, has_valid_mac)
    for entry in pending.entries:
        taking.add_entry(entry)
    if pending.is_complete:
        taking.add_gap(pending.epoch, pending.last_position.sequence + 1, pending.last_position.at)
    return PartitionLines(taking.lines, taking.head, taking.missing, taking.failed)


class _PartitionLinesBuilder:
    def __init__(
        self, pending: PendingEntries, last_sequence: SequenceLookup, has_valid_mac: MacVerifier
    ) -> None:
        self._pending = pending
        self._last_sequence = last_sequence
        self._has_valid_mac = has_valid_mac
        self._last_sequences: dict[int, int] = {}
        self.lines: list[ArchiveLine] = []
        self.head = pending.sequence_id or (0, 0)
        self.missing = self.failed = 0

    def add_entry(self, entry: Entry) -> None:
        """Add an entry, unless it is there or cannot be."""
        epoch, sequence = entry.epoch, entry.position.sequence
        if (epoch, sequence) > (self._pending.epoch, self._pending.last_position.sequence):
            return
        self.head = (epoch, max(self._get_last_sequence(epoch), sequence))
        if sequence <= self._get_last_sequence(epoch):
            return
        self.add_gap(epoch, sequence, entry.position.at)
        is_ours = self._has_valid_mac(entry.event, entry.mac)
        self.failed += not is_ours
        self._add_line(entry.position.at, encode_entry(entry, has_valid_mac=is_ours))
        self._last_sequences[epoch] = sequence

    def add_gap(self, epoch: int, until: int, at: int) -> None:
        """Declare what is missing before this sequence."""
        first, last = self._get_last_sequence(epoch) + 1, until - 1
        if first <= last:
            self._add_line(at, encode_gap(Gap(self._pending.partition, epoch, first, last)))
            self.missing += last - first + 1
            self._last_sequences[epoch] = last
            self.head = (epoch, last)

    def _get_last_sequence(self, epoch: int) -> int:
        if epoch not in self._last_sequences:
            self._last_sequences[epoch] = self._last_sequence(self._pending.partition, epoch)
        return self._last_sequences[epoch]

    def _add_line(self, at: int, text: bytes) -> None:
        self.lines.append(ArchiveLine(at, self._pending.partition, text))


def align_by_time(pending: Sequence[PendingEntries]) -> list[PendingEntries]:
    """Return of each tail what no other one can have anything before.

    Whoever reads an archive from its end relies on that also where a sealer has had to catch up.
    """
    read_to = [t.entries[-1].position.at for t in pending if t.entries and not t.is_complete]
    return [tail.truncate_after(min(read_to)) for tail in pending] if read_to else [*pending]


def merge_lines(partition_lines: Iterable[PartitionLines]) -> Iterator[bytes]:
    """Give the lines of several partitions by time, and of one in the order that they have."""
    for line in heapq.merge(*(one.lines for one in partition_lines), key=lambda line: line[:2]):
        yield line.text
