"""Standard output, for whatever collects what containers say."""

import os
from collections.abc import Sequence

from otp_service.audit.sinks.base import LineWriter, SinkSettings


STDOUT_FD = 1


class StdoutSinkSettings(SinkSettings, frozen=True, tag="stdout"):
    """A line of JSON for each line. It has them once the pipe has."""

    def create_writer(self) -> LineWriter:
        """Return what writes them."""
        return write_lines


def write_lines(lines: Sequence[bytes], handle: int = STDOUT_FD) -> None:
    """Write each line at once, so that none is torn by the other processes' logs in that pipe."""
    for line in lines:
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(handle, view) :]
