"""Telemetry: JSON log lines, Prometheus metrics, spans, and counters of refused access.

    configure_logging        the log: one ASCII line of JSON an entry                logs.py,
                             exceptions as classes and stacks, without texts         exceptions.py
    RequestLog               one line and three samples a request                    request_log.py
    DeniedAccessCounter      calls without a valid key, until they become an event   request_log.py
    Metrics                  every metric                                            metrics.py
    share_metrics_folder     one metrics page for several processes                  metrics.py
    MetricBuffer             values in memory, written once a second                 metric_buffer.py
                             the closed sets of label values                         labels.py
    InstrumentedStore, …     the ports of `core.ports`, with metrics and spans       instrumentation.py
    Tracing                  the spans; needs the extra otel, so not imported here   tracing.py

No line, label or span contains a code, a whole number, a key or the text of a library's exception
(R68).
"""

from otp_service.telemetry.instrumentation import (
    InstrumentedAdmission,
    InstrumentedHasher,
    InstrumentedPreparedCodes,
    InstrumentedRiskService,
    InstrumentedRouter,
    InstrumentedStore,
)
from otp_service.telemetry.logs import configure_logging, set_log_level
from otp_service.telemetry.metric_buffer import MetricBuffer
from otp_service.telemetry.metrics import Metrics, share_metrics_folder
from otp_service.telemetry.request_log import DeniedAccessCounter, RequestLog


__all__ = [
    "DeniedAccessCounter",
    "InstrumentedAdmission",
    "InstrumentedHasher",
    "InstrumentedPreparedCodes",
    "InstrumentedRiskService",
    "InstrumentedRouter",
    "InstrumentedStore",
    "MetricBuffer",
    "Metrics",
    "RequestLog",
    "configure_logging",
    "set_log_level",
    "share_metrics_folder",
]
