"""Standard output, for whatever collects what containers say."""

import os
from collections.abc import Sequence

from otp_service.audit.sinks.base import Put, SinkSettings


STDOUT = 1


class Stdout(SinkSettings, frozen=True, tag="stdout"):
    """A line of JSON for each line. It has them once the pipe has."""

    def open(self) -> Put:
        """Return what writes them."""
        return put


def put(lines: Sequence[bytes], handle: int = STDOUT) -> None:
    """Write each line at once, so that none is torn by the other processes' logs in that pipe."""
    for line in lines:
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(handle, view) :]
