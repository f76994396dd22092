"""The lines that an archive lacks: `align_by_time`, then `build_lines`, then `merge_lines`."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from otp_service.audit.archive_format.entries import Gap, encode_entry, encode_gap
from otp_service.core.log_entry import Entry, PendingEntries


SequenceLookup = Callable[[int, int], int]
"""Returns the last archived sequence of a partition and an epoch; 0 if the archive has none."""

MacVerifier = Callable[[bytes, str], bool]
"""Returns whether an event has the MAC of a worker."""


class ArchiveLine(NamedTuple):
    """A line, after the values that order it."""

    at: int
    partition: int
    text: bytes


def align_by_time(pending: Sequence[PendingEntries]) -> list[PendingEntries]:
    """Return the entries up to a time before which no partition has further ones.

    So an archive stays in the order of time while a sealer catches up; searches rely on it.
    """
    read_to = [p.entries[-1].position.at for p in pending if p.entries and not p.is_complete]
    return [p.truncate_after(min(read_to)) for p in pending] if read_to else [*pending]


class PartitionLines:
    """The lines that one partition adds to an archive."""

    def __init__(
        self, pending: PendingEntries, find_last: SequenceLookup, has_valid_mac: MacVerifier
    ) -> None:
        self.lines: list[ArchiveLine] = []
        self.head = pending.sequence_id or (0, 0)
        """Epoch and sequence up to which the partition is archived with these lines."""
        self.missing = self.failed = 0
        """The entries that are declared as gaps, and those without a valid MAC."""
        self._pending = pending
        self._find_last = find_last
        self._has_valid_mac = has_valid_mac
        self._last_sequences: dict[int, int] = {}

    def add_entry(self, entry: Entry) -> None:
        """Add an entry, after the gap before it.

        Archived entries are left out. So are entries with an id that the log has not assigned yet:
        only an attacker with write access to Redis can have appended those.
        """
        epoch, sequence, at = entry.epoch, entry.position.sequence, entry.position.at
        if (epoch, sequence) > (self._pending.epoch, self._pending.last_position.sequence):
            return
        last = self._get_last_sequence(epoch)
        self.head = (epoch, max(last, sequence))
        if sequence <= last:
            return
        self.add_gap(epoch, sequence, at)
        is_valid = self._has_valid_mac(entry.event, entry.mac)
        self.failed += not is_valid
        self._add_line(at, encode_entry(entry, has_valid_mac=is_valid))
        self._last_sequences[epoch] = sequence

    def add_gap(self, epoch: int, until: int, at: int) -> None:
        """Declare the sequences that are missing before `until`, if any."""
        first, last = self._get_last_sequence(epoch) + 1, until - 1
        if first <= last:
            self._add_line(at, encode_gap(Gap(self._pending.partition, epoch, first, last)))
            self.missing += last - first + 1
            self._last_sequences[epoch] = last
            self.head = (epoch, last)

    def _get_last_sequence(self, epoch: int) -> int:
        if epoch not in self._last_sequences:
            self._last_sequences[epoch] = self._find_last(self._pending.partition, epoch)
        return self._last_sequences[epoch]

    def _add_line(self, at: int, text: bytes) -> None:
        self.lines.append(ArchiveLine(at, self._pending.partition, text))


def build_lines(
    pending: Iterable[PendingEntries], find_last: SequenceLookup, has_valid_mac: MacVerifier
) -> list[PartitionLines]:
    return [build_partition_lines(p, find_last, has_valid_mac) for p in pending]


def build_partition_lines(
    pending: PendingEntries, find_last: SequenceLookup, has_valid_mac: MacVerifier
) -> PartitionLines:
    partition_lines = PartitionLines(pending, find_last, has_valid_mac)
    for entry in pending.entries:
        partition_lines.add_entry(entry)
    if pending.is_complete:
        last = pending.last_position
        partition_lines.add_gap(pending.epoch, last.sequence + 1, last.at)
    return partition_lines


def merge_lines(partition_lines: Iterable[PartitionLines]) -> Iterator[bytes]:
    """Yield the lines of all partitions by time; those of one partition keep their order."""
    for line in heapq.merge(*(p.lines for p in partition_lines), key=lambda line: line[:2]):
        yield line.text
