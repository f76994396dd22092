"""Standard output, for a collector of container logs."""

import os
from collections.abc import Sequence

from otp_service.audit.sinks.base import LineWriter, SinkSettings


STDOUT_FD = 1


class StdoutSinkSettings(SinkSettings, frozen=True, tag="stdout"):
    """Each line is written as it is. A line is delivered once it is written to the pipe."""

    def create_writer(self) -> LineWriter:
        return write_lines


def write_lines(lines: Sequence[bytes], handle: int = STDOUT_FD) -> None:
    """Write each line in one call, so that logs of other processes do not split it."""
    for line in lines:
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(handle, view) :]
