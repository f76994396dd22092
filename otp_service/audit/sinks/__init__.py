"""Where lines go besides the archive: what `type` may be of a sink, and of the anchor's.

Each is a frozen struct with `faults()` and `open()`, which returns what has the lines elsewhere
when it returns. At least once: after any failure the same lines come again, and their ids, or a
seal's number, tell whoever keeps them which ones he has.
"""

from otp_service.audit.sinks.file import FileSinkSettings
from otp_service.audit.sinks.http import HttpSinkSettings
from otp_service.audit.sinks.s3 import S3SinkSettings
from otp_service.audit.sinks.stdout import StdoutSinkSettings
from otp_service.audit.sinks.syslog import SyslogSinkSettings
from otp_service.audit.sinks.threaded import ThreadedSink


LineSinkSettings = HttpSinkSettings | S3SinkSettings | StdoutSinkSettings | SyslogSinkSettings
AnchorSinkSettings = (
    FileSinkSettings | HttpSinkSettings | S3SinkSettings | StdoutSinkSettings | SyslogSinkSettings
)


def create_sink(name: str, settings: AnchorSinkSettings) -> ThreadedSink:
    """Return the sink of these settings; `name` is what it is called in logs."""
    return ThreadedSink(name, settings.create_writer())


__all__ = [
    "AnchorSinkSettings",
    "FileSinkSettings",
    "HttpSinkSettings",
    "LineSinkSettings",
    "S3SinkSettings",
    "StdoutSinkSettings",
    "SyslogSinkSettings",
    "ThreadedSink",
    "create_sink",
]
