"""The calls of the operating system for an archive; each returns once its effect is durable."""

import contextlib
import os
from pathlib import Path


class Disk:
    """Durable file operations. Tests replace it to let each call fail."""

    def open_file(self, path: Path) -> int:
        """Open a file to append to, and create it with its folders; return its descriptor."""
        self.make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.sync_folder(path.parent)
        return handle

    def make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(mode=0o750, exist_ok=True)
            self.sync_folder(folder.parent)

    def sync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def write_all(self, handle: int, data: bytes) -> None:
        """Append all bytes; `sync_file` makes them durable."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def sync_file(self, handle: int) -> None:
        os.fsync(handle)

    def truncate_file(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)
        os.fsync(handle)

    def delete_file(self, path: Path) -> None:
        """Delete a file, and its folder if it is empty."""
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
