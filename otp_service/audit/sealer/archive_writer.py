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

from otp_service.audit.archive_format.seals import Dropped, Seal, hash_of, seal_on
from otp_service.audit.archive_format.segments import (
    day_of,
    lines_backward,
    number_of,
    segment_path,
    segments,
)
from otp_service.audit.sealer.disk import Disk
from otp_service.audit.sealer.recovery import is_seal, recover, seals
from otp_service.audit.sealer.signer import Signing
from otp_service.audit.sealer.state import Standing
from otp_service.core.log_entry import milliseconds_of, rfc3339


class Fenced(Exception):
    """Somebody else writes this archive, or may have: take it again to go on."""


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
        self._older: Iterator[Seal] = iter(())
        """Seals that nobody has looked at yet, newest first."""

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
            self._append(written, self._not_back(now))

    def seal(self, signing: Signing, now: int, drop: Dropped | None = None) -> bytes:
        """Seal what is not sealed yet; return the seal's line. Raises as `take` does.

        It states what is to be dropped after it.
        """
        with self._locked() as lock:
            self._check(lock)
            now = self._not_back(now)
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
            line = next(filter(is_seal, lines_backward(segment)), None)
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
        """Return the last sequence of an epoch that is archived; 0 if none is.

        An older one than the newest may have to be looked for, which can take long.
        """
        standing = self.standing
        if epoch < standing.newest(partition):
            while not standing.last(partition, epoch) and (seal := next(self._older, None)):
                for run in seal.runs:
                    standing.learn(*run[:2], run.last)
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
            self._size  # one that came to have nothing, on a full disk, is still the next
            and self.standing.is_sealed
            and (self._size >= self._most or day_of(segment) < f"{day:%Y-%m-%d}")
        ):
            self.close()
            segment = segment_path(self.folder, day, self.standing.number + 1)
            self._handle = self._disk.open(segment)
            self._segment, self._size, self.standing.begins = segment, 0, True

    def _not_back(self, now: int) -> int:
        """Return `now`, or what the archive has said already: a clock may have been set back."""
        said = [self.standing.sealed_at] if self.standing.sealed_at else []
        if self._segment:
            said.append(f"{day_of(self._segment)}T00:00:00Z")
        return max(now, *map(milliseconds_of, said), 0)

    def _recover(self) -> None:
        """Learn where the archive stands, and cut off what was not written to its end."""
        self.close()
        self.standing, self._segment, self._size = recover(self.folder)
        if self._segment:
            self._handle = self._disk.open(self._segment)
            if self._segment.stat().st_size > self._size:
                self._disk.cut(self._handle, self._size)
            self._disk.sync(self._handle)  # it may be there only because nobody has pulled the plug
        self._is_known, self._older = True, seals(self.folder)


_LOCK = 64
"""Bytes of what stands in the lock: the fence, and who has it."""


def _words(lock: int) -> str:
    return os.pread(lock, _LOCK, 0).decode("ascii", "replace").strip()


def _fence(words: str) -> int:
    fence = words.split(" ", maxsplit=1)[0]
    return int(fence) if fence.isdecimal() else 0
