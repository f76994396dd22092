"""The folder of an archive, for the one who writes it.

Everything that is written is there when the call returns, whatever the machine does then. Several
processes may try: each call holds DIR/lock, in which stands the fence of whoever wrote last, and
one with a lower fence is refused. What stands in memory is what stands on the disk, or it is read
anew: a call that failed leaves no half line behind, and no line that a seal does not know of.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from otp_service.audit.archive_format.seals import DroppedPrefix, Seal, decode_seal, hash_seal_line
from otp_service.audit.archive_format.segments import (
    build_segment_path,
    iterate_lines_backward,
    list_segments,
    parse_segment_day,
    parse_segment_number,
)
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.recovery import is_seal, iterate_seals, recover_state
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.state import ArchiveState
from otp_service.core.timestamps import format_rfc3339, parse_rfc3339, to_datetime


class FencedOff(Exception):
    """Somebody else writes this archive, or may have: take it again to go on."""


class ArchiveWriter:
    """Writes one archive; for one thread at a time.

    `segment_bytes` is the size from which on the next seal ends a segment.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, disk: Disk | None = None) -> None:
        self.folder = folder
        self.state = ArchiveState()
        self._disk = disk or Disk()
        self._segment_bytes = segment_bytes
        self._segment: Path | None = None
        self._handle = -1
        self._size = 0
        self._lock_text = ""
        self._is_state_current = False
        """Whether what stands in memory is what stands on the disk."""
        self._older_seals: Iterator[Seal] = iter(())
        """Seals that nobody has looked at yet, newest first."""

    def read_last_fence(self) -> int:
        """Return a fence that is over."""
        try:
            there = _parse_fence((self.folder / "lock").read_text("ascii"))
        except FileNotFoundError:
            there = 0
        return max(there, self.state.fence)

    def acquire(self, fence: int, holder: str) -> None:
        """Begin to write with this fence, where the archive stands.

        Raises Fenced, BlockingIOError while somebody writes, ArchiveDamaged and OSError.
        """
        with self._lock_folder() as lock:
            mine, there = f"{fence} {holder}", _read_lock(lock)
            self._recover_state()
            over = max(_parse_fence(there), self.state.fence)
            if over > fence or (over == fence and there != mine):
                raise FencedOff
            os.pwrite(lock, mine.encode().ljust(_LOCK_BYTES), 0)
            self._lock_text = mine

    def append_lines(self, lines: Sequence[bytes], now: int) -> None:
        """Append lines at `now` (milliseconds). Raises as `take` does."""
        with self._lock_folder() as lock:
            self._check_fence(lock)
            self._write_lines(lines, self._clamp_time(now))

    def append_seal(self, signer: Signer, now: int, dropped: DroppedPrefix | None = None) -> bytes:
        """Seal what is not sealed yet; return the seal's line. Raises as `take` does.

        It states what is to be dropped after it.
        """
        with self._lock_folder() as lock:
            self._check_fence(lock)
            now = self._clamp_time(now)
            self.state.dropped = dropped
            line = signer.build_seal_line(self.state, now, fence=_parse_fence(self._lock_text))
            self._write_lines([line], now)
            return line

    def find_expired(self, before: int) -> DroppedPrefix | None:
        """Return up to where all segments are sealed, and were before an instant (milliseconds)."""
        found = None
        for segment in list_segments(self.folder):
            is_open = segment == self._segment and not self.state.is_sealed
            if is_open or parse_segment_day(segment) > format_rfc3339(before)[:10]:
                break
            line = next(filter(is_seal, iterate_lines_backward(segment)), None)
            if line is None or parse_rfc3339(decode_seal(line).at) >= before:
                break
            found = DroppedPrefix(decode_seal(line).number, hash_seal_line(line))
        return found

    def delete_segments(self, dropped: DroppedPrefix) -> None:
        """Delete the segments up to a seal, which another one has to have stated: what is left of
        them by whoever stops here is deleted next time. Raises as `take` does.
        """
        with self._lock_folder() as lock:
            self._check_fence(lock)
            for segment, following in pairwise(list_segments(self.folder)):
                if parse_segment_number(following) <= dropped.number + 1:
                    self._disk.delete_file(segment)

    def find_last_sequence(self, partition: int, epoch: int) -> int:
        """Return the last sequence of an epoch that is archived; 0 if none is.

        An older one than the newest may have to be looked for, which can take long.
        """
        standing = self.state
        if epoch < standing.get_newest_epoch(partition):
            while not standing.get_last_sequence(partition, epoch) and (
                seal := next(self._older_seals, None)
            ):
                for run in seal.runs:
                    standing.record_sequence(*run[:2], run.last)
        return standing.get_last_sequence(partition, epoch)

    def close(self) -> None:
        """Close what is open."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._is_state_current = -1, False

    @contextlib.contextmanager
    def _lock_folder(self) -> Iterator[int]:
        self._disk.make_folder(self.folder)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock
        finally:
            os.close(lock)

    def _check_fence(self, lock: int) -> None:
        # What was decided on what is not known may stand there already: `take` has to come first.
        if _read_lock(lock) != self._lock_text or not self._is_state_current:
            self.close()
            raise FencedOff

    def _write_lines(self, lines: Sequence[bytes], now: int) -> None:
        self._open_segment(now)
        self._is_state_current = False
        data = b"".join(line + b"\n" for line in lines)
        try:
            self._disk.write_all(self._handle, data)
            self._disk.sync_file(self._handle)
        except OSError:
            # What is not surely there must not be there at all; if this fails, all is read anew.
            self._disk.truncate_file(self._handle, self._size)
            self._is_state_current = True
            raise
        self._size += len(data)
        for line in lines:
            self.state.add_line(line)
        self._is_state_current = True

    def _open_segment(self, now: int) -> None:
        """Have the segment open that is to be gone on with, or a new one if that is over."""
        day = to_datetime(now)
        segment = self._segment
        if segment is None or (
            self._size  # one that came to have nothing, on a full disk, is still the next
            and self.state.is_sealed
            and (
                self._size >= self._segment_bytes or parse_segment_day(segment) < f"{day:%Y-%m-%d}"
            )
        ):
            self.close()
            segment = build_segment_path(self.folder, day, self.state.seal_number + 1)
            self._handle = self._disk.open_file(segment)
            self._segment, self._size, self.state.is_segment_start = segment, 0, True

    def _clamp_time(self, now: int) -> int:
        """Return `now`, or what the archive has said already: a clock may have been set back."""
        said = [self.state.sealed_at] if self.state.sealed_at else []
        if self._segment:
            said.append(f"{parse_segment_day(self._segment)}T00:00:00Z")
        return max(now, *map(parse_rfc3339, said), 0)

    def _recover_state(self) -> None:
        """Learn where the archive stands, and cut off what was not written to its end."""
        self.close()
        self.state, self._segment, self._size = recover_state(self.folder)
        if self._segment:
            self._handle = self._disk.open_file(self._segment)
            if self._segment.stat().st_size > self._size:
                self._disk.truncate_file(self._handle, self._size)
            self._disk.sync_file(
                self._handle
            )  # it may be there only because nobody has pulled the plug
        self._is_state_current, self._older_seals = True, iterate_seals(self.folder)


_LOCK_BYTES = 64
"""Bytes of what stands in the lock: the fence, and who has it."""


def _read_lock(lock: int) -> str:
    return os.pread(lock, _LOCK_BYTES, 0).decode("ascii", "replace").strip()


def _parse_fence(lock_text: str) -> int:
    fence = lock_text.split(" ", maxsplit=1)[0]
    return int(fence) if fence.isdecimal() else 0
