"""The folder of an archive, whose disk may be full or fail, and whose machine may stop at once.

Its files are real, in a temporary folder, and are never synced: what a real disk would have is known from
the calls of `Disk`.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from otp_service.audit.archive_format.segments import LOCK_FILENAME, list_segments
from otp_service.audit.sealer.disk import Disk
from tests.simulation.world.ports import Chance


class ProcessEndedError(BaseException):
    """The process has died in a call to the disk: nothing of it may go on."""


class ArchiveFolder:
    """What all sealers write to. It is deleted with `close`."""

    def __init__(self) -> None:
        self._temporary = TemporaryDirectory(prefix="otp-simulated-archive-")
        self.path: Final = Path(self._temporary.name) / "archive"
        self.is_full = False
        self.failing_calls = 0
        """How many further calls that write or sync fail with an I/O error."""
        self.dropped: list[bytes] = []
        """The lines that retention has deleted, in order."""
        self.sizes: dict[Path, int] = {}
        """Of each file: the bytes that are durable."""
        self.new_paths: set[Path] = set()
        """The files whose names are not durable yet."""
        self._lock_holder = ExitStack()

    def hold_lock(self) -> None:
        """Lock the folder as a sealer that is stopped in the middle of a write."""
        self.path.mkdir(exist_ok=True)
        handle = os.open(self.path / LOCK_FILENAME, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock_holder.callback(os.close, handle)
        fcntl.flock(
            handle, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # no step of the loop is inside of a lock

    def release_lock(self) -> None:
        self._lock_holder.close()

    def lose_unsynced(self, chance: Chance) -> list[bytes]:
        """Lose what is not durable, or a part of it, as when a machine stops.

        Return the whole lines that are lost.
        """
        lost: list[bytes] = []
        for path in list_segments(self.path):
            content = path.read_bytes()
            size = self.sizes.get(path, 0)
            keep = (
                size + chance.draw_below(len(content) - size + 1) if size < len(content) else size
            )
            if path in self.new_paths:
                keep = 0
                path.unlink()
            elif keep < len(content):
                os.truncate(path, keep)
                self.sizes[path] = keep
            lost += content[content.rfind(b"\n", 0, keep) + 1 :].splitlines()
        self.new_paths.clear()
        return lost

    def read_lines(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name of the file and the line, of all that was archived, in order."""
        yield from (("dropped", line) for line in self.dropped)
        for path in list_segments(self.path):
            name = path.relative_to(self.path).as_posix()
            yield from ((name, line) for line in path.read_bytes().splitlines())

    def end_faults(self) -> None:
        self.is_full, self.failing_calls = False, 0
        self.release_lock()

    def close(self) -> None:
        self.release_lock()
        self._temporary.cleanup()


class SealerDisk(Disk):
    """The disk as one process has it, which may die in any call."""

    def __init__(self, folder: ArchiveFolder, die: Callable[[], None]) -> None:
        self.is_dead = False
        self.calls_left: int | None = None
        """The process dies in the call after so many; None for not."""
        self.die = die
        """What ends the process."""
        self._folder = folder
        self._paths: dict[int, Path] = {}

    def open_file(self, path: Path) -> int:
        self._begin(needs_space=not path.exists())
        if not path.exists():
            self._folder.new_paths.add(path)
        handle = super().open_file(path)
        self._paths[handle] = path
        self._folder.sizes.setdefault(path, 0)
        self._end()
        return handle

    def sync_folder(self, folder: Path) -> None:
        self._begin()
        self._folder.new_paths -= {p for p in self._folder.new_paths if p.parent == folder}
        self._end()

    def write_all(self, handle: int, data: bytes) -> None:
        half = len(data) // 2
        if self.calls_left == 0 or self._folder.is_full:
            super().write_all(handle, data[:half])
            data = data[half:]
        self._begin(needs_space=True)
        super().write_all(handle, data)
        self._end()

    def sync_file(self, handle: int) -> None:
        self._begin()
        self._folder.sizes[self._paths[handle]] = os.fstat(handle).st_size
        self._end()

    def truncate_file(self, handle: int, size: int) -> None:
        self._begin()
        os.ftruncate(handle, size)
        self._folder.sizes[self._paths[handle]] = size
        self._end()

    def delete_file(self, path: Path) -> None:
        self._begin()
        if path.exists():
            self._folder.dropped += path.read_bytes().splitlines()
        super().delete_file(path)

    def _begin(self, *, needs_space: bool = False) -> None:
        """Let a call fail before its effect, or the process die."""
        self._count()
        if needs_space and self._folder.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._folder.failing_calls:
            self._folder.failing_calls -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _end(self) -> None:
        """Let the process die after the effect of a call."""
        self._count()

    def _count(self) -> None:
        if self.calls_left == 0:
            self.die()
        if self.is_dead:
            raise ProcessEndedError
        if self.calls_left is not None:
            self.calls_left -= 1
