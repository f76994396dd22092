"""Where lines go besides the archive: what `type` may be of a sink, and of the anchor's.

Each is a frozen struct with `faults()` and `open()`, which returns what has the lines elsewhere
when it returns. At least once: after any failure the same lines come again, and their ids, or a
seal's number, tell whoever keeps them which ones he has.
"""

from otp_service.audit.sinks.file import File
from otp_service.audit.sinks.http import Http
from otp_service.audit.sinks.s3 import S3
from otp_service.audit.sinks.stdout import Stdout
from otp_service.audit.sinks.syslog import Syslog
from otp_service.audit.sinks.threaded import Threaded


LineSink = Http | S3 | Stdout | Syslog
AnchorSink = File | Http | S3 | Stdout | Syslog


def sink_of(name: str, settings: AnchorSink) -> Threaded:
    """Return the sink of these settings; `name` is what it is called in logs."""
    return Threaded(name, settings.open())


__all__ = [
    "S3",
    "AnchorSink",
    "File",
    "Http",
    "LineSink",
    "Stdout",
    "Syslog",
    "Threaded",
    "sink_of",
]
