"""The folder of an archive, for its writer.

Everything written is on the disk when a call returns. Several processes may call: each call locks
DIR/lock, which stores the fencing token of the last writer, and refuses a lower token. The state in
memory equals the folder or is read again: a failed call leaves no half line, and no line that a
seal does not count.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.seals import DroppedPrefix, Seal, decode_seal, hash_seal_line
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.recovery import is_seal, iterate_seals, recover_state
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.state import ArchiveState
from otp_service.core.timestamps import format_rfc3339, parse_rfc3339, to_datetime


LOCK_CONTENT_BYTES = 64
"""Size of the lock's content: the fencing token and the holder of the lease."""


class FencedOffError(Exception):
    """Another process writes this archive, or may have: acquire it again before writing."""


class ArchiveWriter:
    """Writes one archive, for one thread; a seal ends a segment of `segment_bytes` or of a past day."""

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
        """Whether `state` equals the folder."""
        self._older_seals: Iterator[Seal] = iter(())
        """The seals that `find_last_sequence` has not read yet, newest first."""

    def read_last_fence(self) -> int:
        """Return the greatest fencing token that was used."""
        try:
            last = _parse_fence((self.folder / segments.LOCK_FILENAME).read_text("ascii"))
        except FileNotFoundError:
            last = 0
        return max(last, self.state.fence)

    def acquire(self, fence: int, holder: str) -> None:
        """Read the archive's state, and write from now on with this fencing token.

        Raises FencedOffError, ArchiveDamagedError, OSError; BlockingIOError if another is writing.
        """
        with self._lock_folder() as lock:
            wanted, current = f"{fence} {holder}", _read_lock(lock)
            self._recover_state()
            last = max(_parse_fence(current), self.state.fence)
            if last > fence or (last == fence and current != wanted):
                raise FencedOffError
            os.pwrite(lock, wanted.encode().ljust(LOCK_CONTENT_BYTES), 0)
            self._lock_text = wanted

    def append_lines(self, lines: Sequence[bytes], now: int) -> None:
        """Append lines at `now` (ms since 1970). Raises as `acquire` does."""
        with self._lock_folder() as lock:
            self._check_fence(lock)
            self._write_lines(lines, self._clamp_time(now))

    def append_seal(self, signer: Signer, now: int, dropped: DroppedPrefix | None = None) -> bytes:
        """Seal the newest batch and state `dropped`; return the seal's line. Raises as `acquire`."""
        with self._lock_folder() as lock:
            self._check_fence(lock)
            now = self._clamp_time(now)
            self._open_segment(now)  # first: the first seal of a segment states the heads
            self.state.dropped = dropped
            line = signer.build_seal_line(self.state, now, fence=_parse_fence(self._lock_text))
            self._write_lines([line], now)
            return line

    def find_expired(self, before: int) -> DroppedPrefix | None:
        """Return the last seal of the oldest segments that were all sealed before `before` (ms)."""
        expired = None
        for segment in segments.list_segments(self.folder):
            is_open = segment == self._segment and not self.state.is_sealed
            if is_open or segments.parse_segment_day(segment) > format_rfc3339(before)[:10]:
                break
            line = next(filter(is_seal, segments.iterate_lines_backward(segment)), None)
            if line is None or parse_rfc3339(decode_seal(line).at) >= before:
                break
            expired = DroppedPrefix(decode_seal(line).number, hash_seal_line(line))
        return expired

    def delete_segments(self, dropped: DroppedPrefix) -> None:
        """Delete the segments up to a seal, which a later seal states. Raises as `acquire`."""
        with self._lock_folder() as lock:
            self._check_fence(lock)
            for segment, following in pairwise(segments.list_segments(self.folder)):
                if segments.parse_segment_number(following) <= dropped.number + 1:
                    self._disk.delete_file(segment)

    def find_last_sequence(self, partition: int, epoch: int) -> int:
        """Return the last archived sequence of an epoch, or 0. Old epochs can take long to find."""
        state = self.state
        if epoch < state.get_newest_epoch(partition):
            while not state.get_last_sequence(partition, epoch) and (
                seal := next(self._older_seals, None)
            ):
                for run in seal.runs:
                    state.record_sequence(run.partition, run.epoch, run.last)
        return state.get_last_sequence(partition, epoch)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._is_state_current = -1, False

    @contextlib.contextmanager
    def _lock_folder(self) -> Iterator[int]:
        self._disk.make_folder(self.folder)
        path = self.folder / segments.LOCK_FILENAME
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock
        finally:
            os.close(lock)

    def _check_fence(self, lock: int) -> None:
        # With an unknown state, lines that were built on it may be archived already.
        if _read_lock(lock) != self._lock_text or not self._is_state_current:
            self.close()
            raise FencedOffError

    def _write_lines(self, lines: Sequence[bytes], now: int) -> None:
        self._open_segment(now)
        self._is_state_current = False
        data = b"".join(line + b"\n" for line in lines)
        try:
            self._disk.write_all(self._handle, data)
            self._disk.sync_file(self._handle)
        except OSError:
            # Bytes that may not be durable are cut off; if that fails, the state is read again.
            self._disk.truncate_file(self._handle, self._size)
            self._is_state_current = True
            raise
        self._size += len(data)
        for line in lines:
            self.state.add_line(line)
        self._is_state_current = True

    def _open_segment(self, now: int) -> None:
        """Keep the open segment, or begin a new one if that is finished."""
        day = to_datetime(now)
        if self._segment is None or self._is_finished(self._segment, f"{day:%Y-%m-%d}"):
            self.close()
            segment = segments.build_segment_path(self.folder, day, self.state.seal_number + 1)
            self._handle = self._disk.open_file(segment)
            self._segment, self._size, self.state.is_segment_start = segment, 0, True

    def _is_finished(self, segment: Path, day: str) -> bool:
        """Whether a segment ends with a seal, and is full or of an earlier day."""
        if not self._size or not self.state.is_sealed:  # empty after an error of a full disk
            return False
        return self._size >= self._segment_bytes or segments.parse_segment_day(segment) < day

    def _clamp_time(self, now: int) -> int:
        """Return `now`, or the latest time in the archive if the clock was set back."""
        earliest = [self.state.sealed_at] if self.state.sealed_at else []
        if self._segment:
            earliest.append(f"{segments.parse_segment_day(self._segment)}T00:00:00Z")
        return max(now, *map(parse_rfc3339, earliest), 0)

    def _recover_state(self) -> None:
        """Read the archive's state, and cut off an incomplete end."""
        self.close()
        self.state, self._segment, self._size = recover_state(self.folder)
        if self._segment:
            self._handle = self._disk.open_file(self._segment)
            if self._segment.stat().st_size > self._size:
                self._disk.truncate_file(self._handle, self._size)
            self._disk.sync_file(self._handle)  # the bytes may be in the page cache alone
        self._is_state_current, self._older_seals = True, iterate_seals(self.folder)


def _read_lock(lock: int) -> str:
    return os.pread(lock, LOCK_CONTENT_BYTES, 0).decode("ascii", "replace").strip()


def _parse_fence(lock_text: str) -> int:
    fence = lock_text.split(" ", maxsplit=1)[0]
    return int(fence) if fence.isdecimal() else 0
