"""What of the operating system the writer of an archive uses: nothing returns before it lasts."""

import contextlib
import os
from pathlib import Path


class Disk:
    """What of the operating system a folder uses; tests let each call fail."""

    def open_file(self, path: Path) -> int:
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

    def write_all(self, handle: int, data: bytes) -> None:
        """Append all of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def sync_file(self, handle: int) -> None:
        """Have it on the disk."""
        os.fsync(handle)

    def truncate_file(self, handle: int, size: int) -> None:
        """Cut a file to a size."""
        os.ftruncate(handle, size)
        os.fsync(handle)

    def delete_file(self, path: Path) -> None:
        """Delete a file, and its folder if nothing else is in it."""
        path.unlink(missing_ok=True)
        self.sync_folder(path.parent)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
