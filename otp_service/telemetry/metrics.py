"""Every metric, on a registry of its own, in one process or in several.

Labels are drawn from closed sets (`labels.py`), so no label holds a number, an id, an address, a
code or a key, and nobody can make series without end.

With several workers, prometheus-client keeps the values in files of the folder that
PROMETHEUS_MULTIPROC_DIR names, and whoever renders adds them up. It reads the variable when it is
imported, so `shared_by_workers` sets it before the workers are started: spawned, not forked.
"""

import contextlib
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from otp_service.core.delivery import Submission
from otp_service.core.events import Event
from otp_service.core.limits import Limit
from otp_service.telemetry.labels import (
    ACCESS_REASONS,
    COUNTRIES,
    METHODS,
    REASONS,
    Routes,
    among,
    failure_of,
)


FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_ENDED: Final = "ended"

_QUICK: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2)
_USUAL: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_HASHING: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)

M = TypeVar("M", Counter, Gauge, Histogram)
Mode = Literal["livesum", "livemax"]
"""How the gauges of workers that live become one."""


class Children(dict[tuple[str, ...], M], Generic[M]):
    """A metric's children by their labels: a quarter of what its own look-up takes."""

    def __init__(self, metric: M) -> None:
        self._metric: M = metric

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child: M = self._metric.labels(*labels)
        self[labels] = child
        return child


class Metrics:
    """What is counted and measured, one method for each thing that happens."""

    def __init__(self, version: str, *, tenants: Collection[str], providers: Collection[str]):
        """Take the names that may stand in labels; of others it is told that there were some."""
        # They double the series, and with workers there are none.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._tenants, self._providers = frozenset(tenants), frozenset(providers)
        self._routes = Routes()
        self._registry = CollectorRegistry()
        self._make_requests()
        self._make_events()
        self._make_parts()
        info = self._gauge("otp_build_info", "The version that runs.", ["version"], "livemax")
        info.labels(version).set(1)

    def render(self) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type, for all workers if there are.

        Then only one process may call it, and not in two threads at once.
        """
        registry = self._registry
        if folder := os.environ.get(FOLDER):
            registry = CollectorRegistry()
            _forget_ended(Path(folder))
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST

    # ------------------------------------------------------------------ what happens

    def request(self, method: str, route: str, status: int, seconds: float) -> tuple[str, str]:
        """Count a request that was answered; return method and route as they may be told."""
        method, route = among(METHODS, method), self._routes.label(route)
        self._requests[method, route, str(status)].inc()
        self._request_seconds[(route,)].observe(seconds)
        return method, route

    def event(self, event: Event, reason: str | None = None) -> None:
        """Count an event that was appended, with the reason where the event had none yet."""
        labels = (
            str(type(event).__struct_config__.tag),
            event.outcome,
            among(REASONS, reason or event.reason),
            among(self._tenants, event.tenant),
            among(COUNTRIES, event.country),
            among(self._providers, getattr(event, "provider", None)),
        )
        self._events[labels].inc()

    def refused(self, limit: Limit) -> None:
        """Count a limit that refused."""
        self._refusals[(limit.value,)].inc()

    def submission(self, submission: Submission) -> None:
        """Count what a provider made of a message."""
        provider = among(self._providers, submission.provider)
        fault = submission.fault.value if submission.fault else ""
        self._submissions[provider, submission.outcome, fault].inc()
        self._submission_seconds[(provider,)].observe(submission.milliseconds / 1000)

    def hashed(self, seconds: float) -> None:
        """Measure an argon2 that was waited for."""
        self._argon2_seconds.observe(seconds)

    def places(self, gate: str, taken: int) -> None:
        """Tell how many places of a gate are taken."""
        self._places[(gate,)].set(taken)

    def store(self, call: str, seconds: float) -> None:
        """Measure a call of the store, whatever came of it."""
        self._store_seconds[(call,)].observe(seconds)

    def store_failed(self, error: Exception) -> None:
        """Count a call that could not be decided."""
        self._store_failures[(failure_of(error),)].inc()

    def unauthenticated(self, reason: str) -> str:
        """Count a call without a valid key or scope; return the reason as it may be told."""
        reason = among(ACCESS_REASONS, reason)
        self._unauthenticated[(reason,)].inc()
        return reason

    # ------------------------------------------------------------------ what there is

    def _make_requests(self) -> None:
        self._requests = self._counter(
            "otp_requests", "Requests that were answered.", ["method", "route", "status"]
        )
        self._request_seconds = self._histogram(
            "otp_request_seconds", "How long requests took.", ["route"], _USUAL
        )
        self._unauthenticated = self._counter(
            "otp_unauthenticated", "Calls without a valid key or scope.", ["reason"]
        )

    def _make_events(self) -> None:
        labels = ["type", "outcome", "reason", "tenant", "country", "provider"]
        self._events = self._counter("otp_events", "Events of the audit log.", labels)
        self._refusals = self._counter(
            "otp_limit_refusals", "Charges that a limit refused.", ["limit"]
        )

    def _make_parts(self) -> None:
        self._submissions = self._counter(
            "otp_submissions",
            "Messages handed to providers.",
            ["provider", "outcome", "fault"],
        )
        self._submission_seconds = self._histogram(
            "otp_submission_seconds", "How long providers took.", ["provider"], _USUAL
        )
        self._argon2_seconds = Histogram(
            "otp_argon2_seconds",
            "How long argon2 took, with the wait for it.",
            registry=self._registry,
            buckets=_HASHING,
        )
        self._store_seconds = self._histogram(
            "otp_store_seconds", "How long calls of the store took.", ["call"], _QUICK
        )
        self._store_failures = self._counter(
            "otp_store_failures", "Calls of the store that could not be decided.", ["kind"]
        )
        places = self._gauge("otp_places_taken", "Places taken.", ["gate"], "livesum")
        self._places = Children(places)

    def _counter(self, name: str, text: str, labels: list[str]) -> Children[Counter]:
        return Children(Counter(name, text, labels, registry=self._registry))

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: tuple[float, ...]
    ) -> Children[Histogram]:
        metric = Histogram(name, text, labels, registry=self._registry, buckets=buckets)
        return Children(metric)

    def _gauge(self, name: str, text: str, labels: list[str], mode: Mode) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)


@contextlib.contextmanager
def shared_by_workers() -> Iterator[Path]:
    """Give the workers that are started inside a folder for their metrics, for nobody else."""
    with tempfile.TemporaryDirectory(prefix="otp-metrics-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[FOLDER]


def _forget_ended(folder: Path) -> None:
    """Take workers that ended out of the gauges; what they have counted stays counted.

    That goes into one file for all of them: a worker that dies again and again must not fill the
    disk, nor make the page slower each time.
    """
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("*.db")} - {_ENDED}:
        if _is_alive(int(pid)):
            continue
        mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
        for kind in ("counter", "histogram"):
            mine = folder / f"{kind}_{pid}.db"
            if mine.exists():
                with contextlib.suppress(RuntimeError):  # it was killed in the middle of writing
                    _add(mine, folder / f"{kind}_{_ENDED}.db")
                mine.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # no signal: it only looks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _add(one: Path, total: Path) -> None:
    values = list(MmapedDict.read_all_values_from_file(str(one)))  # type: ignore[no-untyped-call]
    into = MmapedDict(str(total))  # type: ignore[no-untyped-call]
    try:
        for key, value, *_ in values:
            before, _ = into.read_value(key)  # type: ignore[no-untyped-call]
            into.write_value(key, before + value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        into.close()  # type: ignore[no-untyped-call]
