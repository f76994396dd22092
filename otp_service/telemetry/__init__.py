"""What is seen from outside: JSON lines, Prometheus metrics, traces, and counts of refused access.

    configure_logging        one ASCII line of JSON an entry, whatever is in it      logs.py,
                             and of exceptions class and way                         failures.py
    RequestLog               one line and three samples a request                    requests.py
    AccessCounter            calls without a valid key, until they become an event   requests.py
    Metrics                  every metric                                            metrics.py
    shared_by_workers        what lets one page speak for several processes          metrics.py
                             the closed sets that labels are drawn from              labels.py
    Metered, TimedHasher,    the ports of `core.ports` and its gate, watched         ports.py
    InstrumentedRouter, InstrumentedAdmission
    Tracing                  spans around the same ports; with the extra otel only   tracing.py,
                             and so not imported here

No line, label or span ever holds a code, a whole number, a key or the text of a library's exception
(R68).
"""

from otp_service.telemetry.instrumentation import (
    InstrumentedAdmission,
    InstrumentedHasher,
    InstrumentedRouter,
    InstrumentedStore,
)
from otp_service.telemetry.logs import configure_logging
from otp_service.telemetry.metrics import Metrics, share_metrics_folder
from otp_service.telemetry.request_log import DeniedAccessCounter, RequestLog


__all__ = [
    "DeniedAccessCounter",
    "InstrumentedAdmission",
    "InstrumentedHasher",
    "InstrumentedRouter",
    "InstrumentedStore",
    "Metrics",
    "RequestLog",
    "configure_logging",
    "share_metrics_folder",
]
