"""Metrics of the processes of the service, from the status that /status of the admin listener shows."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from otp_service.schemas import ServiceStatus


PROCESS_METRICS: Final = {
    "otp_process_configuration": (
        "1 for each process that is ready, with the hash of its configuration.",
        ("process", "configuration"),
    ),
    "otp_reload_refused": ("1 if the last reload (SIGHUP) was refused.", ()),
    "otp_status_problems": ("Number of problems that 'otp-service status' lists.", ()),
}
"""Help text and labels of each metric."""


class ProcessCollector(Collector):
    """Reads the status at each scrape, so that a process that has ended leaves no series."""

    def __init__(self, read_status: Callable[[], ServiceStatus]) -> None:
        self._read_status = read_status

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of PROCESS_METRICS."""
        status = self._read_status()
        processes = _create_gauge("otp_process_configuration")
        for process in status.processes:
            if process.ready:
                processes.add_metric([process.role, process.configuration], 1)
        yield processes
        yield _create_gauge("otp_reload_refused", status.reload_refused)
        yield _create_gauge("otp_status_problems", len(status.problems))


def _create_gauge(name: str, value: float | None = None) -> GaugeMetricFamily:
    text, labels = PROCESS_METRICS[name]
    return GaugeMetricFamily(name, text, value=value, labels=labels or None)
