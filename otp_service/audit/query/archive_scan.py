"""Entries of an archive's folder, newest first, and how far the archive extends.

Changed files are found by `audit verify`, not here: an unreadable line is counted and skipped.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec

from otp_service.audit.archive_format import entries, seals
from otp_service.audit.archive_format.segments import (
    MAX_LINE_BYTES,
    iterate_blocks_backward,
    list_segments,
    parse_segment_number,
)
from otp_service.audit.query.page_cursor import FileOffset
from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.core.timestamps import HOUR_MS, format_rfc3339, parse_rfc3339


MAX_UNSEALED_LINES = 10_000
"""Lines that are kept until their seal is read."""

CLOCK_TOLERANCE_MS = HOUR_MS
"""Milliseconds by which the sealer's clock may be wrong, or a line may be out of order."""

_ENTRY_TIME = re.compile(rb'\{"id":"[^"]*","at":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)"')
_SEAL_TIME = re.compile(rb'\n\{"seal":\{"number":\d+,"at":"([^"]*)"')
_MAX_OFFSET = 2**63 - 1


class ArchivedEntry(Entry, frozen=True, kw_only=True):
    """An entry of an archive; its MAC is invalid if no key in force had made it when it was archived."""

    has_invalid_mac: bool


ScanItem = tuple[FileOffset, ArchivedEntry | None]


class ArchiveExtent(NamedTuple):
    heads: Mapping[int, tuple[int, int]]
    """Of each partition the last epoch, and the last sequence in it."""
    newest_at: int
    """The time of the newest event, in milliseconds since 1970."""

    def has_entry(self, entry: Entry) -> bool:
        """Whether the archive certainly has this entry.

        An attacker who can write to Redis can append an entry that looks old, without an epoch or
        with a sequence that is taken. It must not hide the entries after it; its MAC marks it later.
        """
        head = self.heads.get(entry.partition, (0, 0))
        is_before_head = (entry.epoch, entry.position.sequence) <= head
        return entry.epoch > 0 and is_before_head and entry.position.at <= self.newest_at


class ArchiveReader:
    """Reads a folder of segments. Every method reads files: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unreadable_lines = 0
        self._heads: dict[int, tuple[int, int]] = {}
        self._newest_at = format_rfc3339(0).encode()
        self._read_offset = FileOffset(0, 0)
        self._lock = Lock()

    def read_extent(self) -> ArchiveExtent:
        """Return how far the archive extends now; only lines since the last call are read."""
        with self._lock:
            paths, last_read = list_segments(self.folder), self._read_offset.segment
            # A segment's first seal has the heads of all partitions; the newest may lack it yet.
            newer = [p for p in paths if parse_segment_number(p) >= last_read]
            for path in newer if last_read else paths[-2:]:
                self._read_new_lines(path)
            return ArchiveExtent(dict(self._heads), parse_rfc3339(self._newest_at.decode()))

    def scan_backward(
        self,
        before: FileOffset | None,
        *,
        can_match: Callable[[bytes], bool],
        since: int = 0,
        until: int | None = None,
    ) -> Iterator[ScanItem]:
        """Yield the entries before an offset (None: all), newest first, each with its offset.

        Without an entry, the offset marks the progress, at least once a block.
        """
        first, last = _encode_time(since), b"~" if until is None else _encode_time(until)
        for segment in self._select_segments(before, until):
            number = parse_segment_number(segment)
            end = before.offset if before and before.segment == number else _MAX_OFFSET
            for offset, block in iterate_blocks_backward(segment, end):
                self.unreadable_lines += not block
                if block and can_match(block):  # else it is not split into lines
                    place = offset + len(block)
                    for line in reversed(block[:-1].split(b"\n")):
                        place -= len(line) + 1
                        if can_match(line) and (entry := self._decode_in_range(line, first, last)):
                            yield FileOffset(number, place), entry
                yield FileOffset(number, offset), None
                if since > 0 and _find_seal_time(block) < _encode_time(since - CLOCK_TOLERANCE_MS):
                    return  # lines before a seal are older than the seal

    def _select_segments(self, before: FileOffset | None, until: int | None) -> Iterator[Path]:
        """Yield the segments that may have matching entries, newest first."""
        for segment in reversed(list_segments(self.folder)):
            if before is not None and parse_segment_number(segment) > before.segment:
                continue
            times = (_match_entry_time(line) for _, line in _iterate_whole_lines(segment, 0))
            first = next(filter(None, times), b"")
            if until is None or first < _encode_time(until + CLOCK_TOLERANCE_MS):
                yield segment

    def _decode_in_range(self, line: bytes, start: bytes, end: bytes) -> ArchivedEntry | None:
        """Return the entry on a line if its time is in this range."""
        at = _match_entry_time(line)
        if (at and not start <= at < end) or line.startswith(
            (entries.GAP_PREFIX, entries.SEAL_PREFIX)
        ):
            return None
        try:
            return decode_archived_entry(line)
        except ValueError:
            self.unreadable_lines += 1
            return None

    def _read_new_lines(self, segment: Path) -> None:
        number = parse_segment_number(segment)
        offset = self._read_offset.offset if number == self._read_offset.segment else 0
        unsealed: list[bytes] = []
        for end, line in _iterate_whole_lines(segment, offset):
            offset = end
            if line.startswith(entries.SEAL_PREFIX):
                self._apply_line(line)
                unsealed = unsealed[-1:]  # the seal covers the others
            unsealed.append(line)
            if len(unsealed) == MAX_UNSEALED_LINES:
                self._apply_lines(unsealed)
        self._apply_lines(unsealed)
        self._read_offset = FileOffset(number, offset)

    def _apply_lines(self, lines: list[bytes]) -> None:
        for line in lines:
            self._apply_line(line)
        lines.clear()

    def _apply_line(self, line: bytes) -> None:
        try:
            if line.startswith(entries.SEAL_PREFIX):
                seal = seals.decode_seal(line)
                for head in seal.heads:
                    self._advance_head(head)
                for run in seal.runs:
                    self._advance_head(entries.SequenceId(run.partition, run.epoch, run.last))
            elif line.startswith(entries.GAP_PREFIX):
                gap = entries.decode_gap(line)
                self._advance_head(entries.SequenceId(gap.partition, gap.epoch, gap.last))
            else:
                place, at = entries.sequence_id_from_line(line), _match_entry_time(line)
                parse_rfc3339(at.decode())
                self._advance_head(place)
                self._newest_at = max(self._newest_at, at)
        except ValueError:
            self.unreadable_lines += 1

    def _advance_head(self, sequence_id: entries.SequenceId) -> None:
        head = self._heads.get(sequence_id.partition, (0, 0))
        self._heads[sequence_id.partition] = max(head, (sequence_id.epoch, sequence_id.sequence))


def decode_archived_entry(line: bytes) -> ArchivedEntry:
    """Return the entry on a line. Raises ValueError (a MsgspecError is one)."""
    entry = entries.decode_entry(line)
    if _match_entry_time(line) != entry.at.encode():
        raise ValueError(entry.at)
    place = entries.parse_sequence_id(entry.id)
    return ArchivedEntry(
        partition=place.partition,
        position=StreamPosition(parse_rfc3339(entry.at), place.sequence),
        epoch=place.epoch,
        event=bytes(entry.event),
        mac=entry.mac,
        stamp=b"" if entry.stamp is msgspec.UNSET else bytes(entry.stamp),
        has_invalid_mac=entry.integrity is not msgspec.UNSET,
    )


def _match_entry_time(line: bytes) -> bytes:
    """Return the time on a line as bytes, empty if the line is not an entry."""
    at = _ENTRY_TIME.match(line)
    return at[1] if at else b""


def _find_seal_time(block: bytes) -> bytes:
    """Return the time of the first seal in a block, or a value after every time."""
    at = _SEAL_TIME.search(block)
    return at[1] if at else b"~"


def _encode_time(at: int) -> bytes:
    return format_rfc3339(max(0, at)).encode()


def _iterate_whole_lines(segment: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines from an offset on, each with the offset of its end.

    A line over the limit is skipped, and so is a last line that is being written.
    """
    with suppress(FileNotFoundError), segment.open("rb") as file:
        end, is_cut = file.seek(start), False
        for line in iter(partial(file.readline, MAX_LINE_BYTES), b""):
            end, was_cut, is_cut = end + len(line), is_cut, not line.endswith(b"\n")
            if not is_cut and not was_cut:
                yield end, line[:-1]
