"""A file on another disk: for anchors alone, because the file grows without end."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from otp_service.audit.sinks.base import LineWriter, SinkSettings
from otp_service.core.url_check import FieldErrors


class FileSinkSettings(SinkSettings, frozen=True, tag="file"):
    """Lines are appended and fsynced. The folder must exist: it may be a mount."""

    path: str

    def find_errors(self) -> FieldErrors:
        if not self.path.startswith("/"):
            yield "path", "write the absolute path of a file on another disk"

    def create_writer(self) -> LineWriter:
        return partial(write_lines, Path(self.path))


def write_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Append the lines; they are on the disk on return. Raises OSError."""
    is_new = not path.exists()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o640), "ab") as file:
        file.write(b"".join(line + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
