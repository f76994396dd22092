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
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from otp_service.audit.lines import SEAL
from otp_service.audit.sealing import ArchiveDamaged, Signing, Standing
from otp_service.audit.seals import Dropped, Seal, hash_of, seal_on
from otp_service.audit.segments import (
    day_of,
    lines,
    lines_backward,
    number_of,
    segment_path,
    segments,
)
from otp_service.core.entry import milliseconds_of, rfc3339


class Fenced(Exception):
    """Somebody else writes this archive, or may have: take it again to go on."""


class Disk:
    """What of the operating system a folder uses; tests let each call fail."""

    def open(self, path: Path) -> int:
        """Open a file to append to, which has a name that lasts."""
        self.make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.sync_folder(path.parent)
        return handle

    def make_folder(self, folder: Path) -> None:
        """Make a folder, with those above it."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(mode=0o750, exist_ok=True)
            self.sync_folder(folder.parent)

    def sync_folder(self, folder: Path) -> None:
        """Have the names in a folder on the disk."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def write(self, handle: int, data: bytes) -> None:
        """Append all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def sync(self, handle: int) -> None:
        """Have it on the disk."""
        os.fsync(handle)

    def cut(self, handle: int, size: int) -> None:
        """Cut a file to a size."""
        os.ftruncate(handle, size)
        os.fsync(handle)

    def delete(self, path: Path) -> None:
        """Delete a file, and its folder if nothing else is in it."""
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


class Folder:
    """Writes one archive; for one thread at a time.

    `segment_bytes` is the size from which on the next seal ends a segment.
    """

    def __init__(self, folder: Path, *, segment_bytes: int, disk: Disk | None = None) -> None:
        self.folder = folder
        self.standing = Standing()
        self._disk = disk or Disk()
        self._most = segment_bytes
        self._segment: Path | None = None
        self._handle = -1
        self._size = 0
        self._mine = ""
        self._is_known = False
        """Whether what stands in memory is what stands on the disk."""
        self._has_looked = False

    def floor(self) -> int:
        """Return a fence that is over."""
        try:
            there = _fence((self.folder / "lock").read_text("ascii"))
        except FileNotFoundError:
            there = 0
        return max(there, self.standing.fence)

    def take(self, fence: int, holder: str) -> None:
        """Begin to write with this fence, where the archive stands.

        Raises Fenced, BlockingIOError while somebody writes, ArchiveDamaged and OSError.
        """
        with self._locked() as lock:
            mine, there = f"{fence} {holder}", _words(lock)
            self._recover()
            over = max(_fence(there), self.standing.fence)
            if over > fence or (over == fence and there != mine):
                raise Fenced
            os.pwrite(lock, mine.encode().ljust(_LOCK), 0)
            self._mine = mine

    def append(self, written: Sequence[bytes], now: int) -> None:
        """Append lines at `now` (milliseconds). Raises as `take` does."""
        with self._locked() as lock:
            self._check(lock)
            self._append(written, now)

    def seal(self, signing: Signing, now: int, drop: Dropped | None = None) -> bytes:
        """Seal what is not sealed yet; return the seal's line. Raises as `take` does.

        It states what is to be dropped after it.
        """
        with self._locked() as lock:
            self._check(lock)
            self.standing.dropped = drop
            line = signing.seal(self.standing, now, fence=_fence(self._mine))
            self._append([line], now)
            return line

    def expired(self, before: int) -> Dropped | None:
        """Return up to where all segments are sealed, and were before an instant (milliseconds)."""
        found = None
        for segment in segments(self.folder):
            is_open = segment == self._segment and not self.standing.is_sealed
            if is_open or day_of(segment) > rfc3339(before)[:10]:
                break
            line = next(filter(_is_seal, lines_backward(segment)), None)
            if line is None or milliseconds_of(seal_on(line).at) >= before:
                break
            found = Dropped(seal_on(line).number, hash_of(line))
        return found

    def drop(self, dropped: Dropped) -> None:
        """Delete the segments up to a seal, which another one has to have stated: what is left of
        them by whoever stops here is deleted next time. Raises as `take` does.
        """
        with self._locked() as lock:
            self._check(lock)
            for segment, following in pairwise(segments(self.folder)):
                if number_of(following) <= dropped.number + 1:
                    self._disk.delete(segment)

    def last(self, partition: int, epoch: int) -> int:
        """Return the last sequence of an epoch that is archived; 0 if none is."""
        standing = self.standing
        if epoch < standing.newest(partition) and not standing.last(partition, epoch):
            self._look_everywhere()  # a Redis that has lost the newer one tells of another
        return standing.last(partition, epoch)

    def close(self) -> None:
        """Close what is open."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._is_known = -1, False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self._disk.make_folder(self.folder)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock
        finally:
            os.close(lock)

    def _check(self, lock: int) -> None:
        # What was decided on what is not known may stand there already: `take` has to come first.
        if _words(lock) != self._mine or not self._is_known:
            self.close()
            raise Fenced

    def _append(self, written: Sequence[bytes], now: int) -> None:
        self._open(now)
        self._is_known = False
        data = b"".join(line + b"\n" for line in written)
        try:
            self._disk.write(self._handle, data)
            self._disk.sync(self._handle)
        except OSError:
            # What is not surely there must not be there at all; if this fails, all is read anew.
            self._disk.cut(self._handle, self._size)
            self._is_known = True
            raise
        self._size += len(data)
        for line in written:
            self.standing.add(line)
        self._is_known = True

    def _open(self, now: int) -> None:
        """Have the segment open that is to be gone on with, or a new one if that is over."""
        day = datetime.fromtimestamp(now / 1000, UTC)
        segment = self._segment
        if segment is None or (
            self.standing.is_sealed
            and (self._size >= self._most or day_of(segment) < f"{day:%Y-%m-%d}")
        ):
            self.close()
            segment = segment_path(self.folder, day, self.standing.number + 1)
            self._handle = self._disk.open(segment)
            self._segment, self._size, self.standing.begins = segment, 0, True

    # -------------------------------------------------------------------- what is there

    def _recover(self) -> None:
        """Learn where the archive stands, and cut off what was not written to its end."""
        self.close()
        self.standing, self._segment, self._size = Standing(), None, 0
        for segment in _not_sealed_before(segments(self.folder)):
            self.standing.begins = True
            self._segment, self._size = segment, self._read(segment)
        if self._segment:
            self._handle = self._disk.open(self._segment)
            if self._segment.stat().st_size > self._size:
                self._disk.cut(self._handle, self._size)
            self._disk.sync(self._handle)  # it may be there only because nobody has pulled the plug
        self._is_known, self._has_looked = True, False

    def _read(self, segment: Path) -> int:
        """Learn what stands in a segment; return how far it can be gone on with."""
        *whole, _ = segment.read_bytes().split(b"\n")
        sealed = max((i for i, line in enumerate(whole) if _is_seal(line)), default=-1)
        size = 0
        for i, line in enumerate(whole):
            try:
                if i > sealed or line.startswith(SEAL):
                    self.standing.add(line)
            except ValueError:
                if i > sealed:
                    break  # a machine that stopped may have left anything
                raise ArchiveDamaged(f"line {i + 1} of {segment} is no seal") from None
            size += len(line) + 1
        return size

    def _look_everywhere(self) -> None:
        if not self._has_looked:
            self._has_looked = True
            for seal in _seals(self.folder):
                for run in seal.runs:
                    self.standing.learn(*run[:2], run.last)


_LOCK = 64
"""Bytes of what stands in the lock: the fence, and who has it."""


def _words(lock: int) -> str:
    return os.pread(lock, _LOCK, 0).decode("ascii", "replace").strip()


def _fence(words: str) -> int:
    fence = words.split(" ", maxsplit=1)[0]
    return int(fence) if fence.isdecimal() else 0


def _not_sealed_before(found: Sequence[Path]) -> Sequence[Path]:
    """Return the newest segment that has a seal, and what comes after it."""
    for place in reversed(range(len(found))):
        if any(map(_is_seal, lines_backward(found[place]))):
            return found[place:]
    return found


def _seals(folder: Path) -> Iterator[Seal]:
    for segment in segments(folder):
        yield from map(seal_on, filter(_is_seal, lines(segment)))


def _is_seal(line: bytes) -> bool:
    """Whether it is one that can be read: of what was being written when all ended, some is there."""
    if not line.startswith(SEAL):
        return False
    try:
        seal_on(line)
    except ValueError:
        return False
    return True
