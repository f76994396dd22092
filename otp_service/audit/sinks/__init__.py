"""The sinks of the archive: the types that `[audit.sinks.NAME]` and `audit.anchor` may have.

Delivery is at least once: after any failure a sink gets the same lines again.
README.md has the six steps of a new sink.
"""

from otp_service.audit.sinks.file import FileSinkSettings
from otp_service.audit.sinks.http import HttpSinkSettings
from otp_service.audit.sinks.s3 import S3SinkSettings
from otp_service.audit.sinks.stdout import StdoutSinkSettings
from otp_service.audit.sinks.syslog import SyslogSinkSettings
from otp_service.audit.sinks.threaded import ThreadedSink


LineSinkSettings = HttpSinkSettings | S3SinkSettings | StdoutSinkSettings | SyslogSinkSettings
AnchorSinkSettings = FileSinkSettings | LineSinkSettings


def create_sink(name: str, settings: AnchorSinkSettings) -> ThreadedSink:
    """Return the sink for these settings; logs call it `name`."""
    return ThreadedSink(name, settings.create_writer())


__all__ = [
    "AnchorSinkSettings",
    "FileSinkSettings",
    "HttpSinkSettings",
    "LineSinkSettings",
    "S3SinkSettings",
    "StdoutSinkSettings",
    "SyslogSinkSettings",
    "create_sink",
]
