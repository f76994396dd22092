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
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from otp_service.core.delivery import Submission
from otp_service.core.events import Event
from otp_service.telemetry.labels import (
    ACCESS_REASONS,
    CALLBACK_REASONS,
    COUNTRIES,
    EVENT_REASONS,
    HTTP_METHODS,
    label_or_other,
    route_or_other,
)


MULTIPROCESS_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

_HISTOGRAM_BUCKETS_SECONDS: Final = (
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    10,
)

BREAKER_STATE_VALUES: Final = {"closed": 0, "half-open": 1, "open": 2}
BREAKER_STATE_HELP: Final = "Breakers of providers: 0 closed, 1 half-open, 2 open."
PROVIDER_SHARE_HELP: Final = "What is left of the shares that are configured, from 0.1 to 1."

ARCHIVE_METRICS: Final = {
    "leader": "Whether somebody seals.",
    "stuck": "Whether the sealer cannot go on.",
    "lag": "Seconds since the oldest event that is not sealed.",
    "waiting": "Events that are not archived.",
    "fullness": "Events that wait in the fullest partition; at 1 nothing is granted.",
    "seal": "The number of the last seal.",
    "sealed_at": "When it was made, in seconds since 1970.",
    "anchored_at": "When the newest anchor was kept elsewhere, in seconds since 1970; 0 if none was.",
    "archived": "Entries that were archived since the sealer began.",
    "missing": "Entries that were declared missing since then.",
    "failed": "Entries whose MAC was not ours since then.",
}
"""Every metric of the archive, with what it is."""

M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """What is counted and measured; a method where labels have to be looked at first."""

    def __init__(self, version: str, *, tenants: Collection[str], providers: Collection[str]):
        """Take the names that may stand in labels; of others it is told that there were some."""
        # They double the series, and with workers there are none.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._tenants, self._providers = frozenset(tenants), frozenset(providers)
        self._registry = CollectorRegistry()
        self._make_counters()
        self._make_histograms()
        gauge = partial(Gauge, registry=self._registry)
        self.slots = _cache_children(
            gauge(
                "otp_admission_slots",
                "Slots of admission control.",
                ["gate"],
                multiprocess_mode="livesum",
            )
        )
        self.slots_in_use = _cache_children(
            gauge(
                "otp_admission_slots_in_use", "Slots in use.", ["gate"], multiprocess_mode="livesum"
            )
        )
        # Every worker knows the same of providers, within a second.
        self._breaker_states = _cache_children(
            gauge(
                "otp_provider_state",
                BREAKER_STATE_HELP,
                ["provider", "country"],
                multiprocess_mode="livemax",
            )
        )
        self._provider_shares = _cache_children(
            gauge(
                "otp_provider_share", PROVIDER_SHARE_HELP, ["provider"], multiprocess_mode="livemin"
            )
        )
        # Whoever renders looks at the archive himself, for all of them.
        self._archive_registry = CollectorRegistry()
        self._archive_gauges: dict[str, Gauge] = {}
        info = gauge("otp_build_info", "What runs.", ["version"], multiprocess_mode="livemax")
        info.labels(version).set(1)

    def render_metrics(self) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type, for all workers if there are.

        Then only one process may call it, and not in two threads at once.
        """
        registry = self._registry
        if folder := os.environ.get(MULTIPROCESS_FOLDER_VARIABLE):
            registry = CollectorRegistry()
            _remove_ended_workers(Path(folder))
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        pages = (
            prometheus_client.generate_latest(one) for one in (registry, self._archive_registry)
        )
        return b"".join(pages), prometheus_client.CONTENT_TYPE_LATEST

    def count_request(
        self, method: str, route: str, status: int, seconds: float
    ) -> tuple[str, str]:
        """Count a request that was answered; return method and route as they may be told."""
        method, route = label_or_other(HTTP_METHODS, method), route_or_other(route)
        self._requests(method, route, str(status)).inc()
        self._request_seconds(route).observe(seconds)
        return method, route

    def count_event(self, event: Event, reason: str | None = None) -> None:
        """Count an event that was appended, with the reason where the event had none yet."""
        self._events(
            str(type(event).__struct_config__.tag),
            event.outcome,
            label_or_other(EVENT_REASONS, reason or event.reason),
            label_or_other(self._tenants, event.tenant),
            label_or_other(COUNTRIES, event.country),
            label_or_other(self._providers, getattr(event, "provider", None)),
        ).inc()

    def count_submission(self, submission: Submission) -> None:
        """Count what a provider made of a message."""
        provider = label_or_other(self._providers, submission.provider)
        fault = submission.fault.value if submission.fault else ""
        scope = submission.scope.value if submission.scope else ""
        self._submissions(provider, submission.outcome, fault, scope).inc()
        self._submission_seconds(provider).observe(submission.milliseconds / 1000)

    def count_receipt(self, provider: str, status: str) -> None:
        """Count a receipt; its status is `unknown` if it is about nothing of ours."""
        self._receipts(label_or_other(self._providers, provider), status).inc()

    def count_conversion(self, provider: str, country: str) -> None:
        """Count a challenge that was verified, for whoever took its newest message."""
        self._conversions(
            label_or_other(self._providers, provider), label_or_other(COUNTRIES, country)
        ).inc()

    def set_provider_share(self, provider: str, share: float) -> None:
        """Tell what a provider's receipts have left it of the shares that are configured."""
        self._provider_shares(label_or_other(self._providers, provider)).set(share)

    def set_breaker_state(self, provider: str, country: str, state: str) -> None:
        """Tell where the breaker of a provider stands in a country."""
        labels = label_or_other(self._providers, provider), label_or_other(COUNTRIES, country)
        self._breaker_states(*labels).set(BREAKER_STATE_VALUES[state])

    def set_archive_metrics(self, **values: float) -> None:
        """Tell where the archive of the events stands: a value for each of ARCHIVE."""
        for name, value in values.items():
            if name not in self._archive_gauges:
                self._archive_gauges[name] = Gauge(
                    f"otp_audit_{name}", ARCHIVE_METRICS[name], registry=self._archive_registry
                )
            self._archive_gauges[name].set(value)

    def count_unauthenticated(self, reason: str) -> str:
        """Count a call without a valid key or scope; return the reason as it may be told."""
        reason = label_or_other(ACCESS_REASONS, reason)
        self._unauthenticated(reason).inc()
        return reason

    def count_rejected_callback(self, provider: str, reason: str) -> tuple[str, str]:
        """Count a callback that was refused; return provider and reason as they may be told."""
        labels = label_or_other(self._providers, provider), label_or_other(CALLBACK_REASONS, reason)
        self._callbacks_rejected(*labels).inc()
        return labels

    def _make_counters(self) -> None:
        def add_counter(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            return _cache_children(Counter(name, text, labels, registry=self._registry))

        self._requests = add_counter("otp_requests", "Answers.", "method", "route", "status")
        self._unauthenticated = add_counter(
            "otp_unauthenticated", "Calls without a valid key or scope.", "reason"
        )
        self._callbacks_rejected = add_counter(
            "otp_callbacks_rejected", "Callbacks that were refused.", "provider", "reason"
        )
        about = ("type", "outcome", "reason", "tenant", "country", "provider")
        self._events = add_counter("otp_events", "Events of the audit log.", *about)
        how = ("provider", "outcome", "fault", "scope")
        self._submissions = add_counter("otp_submissions", "Messages handed to providers.", *how)
        self._receipts = add_counter(
            "otp_receipts", "Receipts that providers have brought.", "provider", "status"
        )
        self._conversions = add_counter(
            "otp_conversions", "Challenges verified, by newest provider.", "provider", "country"
        )
        self.limit_refusals = add_counter(
            "otp_limit_refusals", "Charges that a limit refused.", "limit"
        )
        self.store_failures = add_counter(
            "otp_store_failures", "Calls of the store that could not be decided.", "kind"
        )

    def _make_histograms(self) -> None:
        seconds = partial(Histogram, registry=self._registry, buckets=_HISTOGRAM_BUCKETS_SECONDS)
        self._request_seconds = _cache_children(
            seconds("otp_request_seconds", "How long requests took.", ["route"])
        )
        self._submission_seconds = _cache_children(
            seconds("otp_submission_seconds", "How long providers took.", ["provider"])
        )
        self.store_seconds = _cache_children(
            seconds("otp_store_seconds", "How long calls of the store took.", ["call"])
        )
        self.argon2_seconds = seconds("otp_argon2_seconds", "Argon2, with the wait for it.")


def _cache_children(metric: M) -> Callable[..., M]:
    """Return what finds a child by its labels; the metric's own search takes 0.7 µs, ten a call."""
    return cache(metric.labels)


@contextlib.contextmanager
def share_metrics_folder() -> Iterator[Path]:
    """Give the workers that are started inside a folder for their metrics, for nobody else."""
    with tempfile.TemporaryDirectory(prefix="otp-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[MULTIPROCESS_FOLDER_VARIABLE]


def _remove_ended_workers(folder: Path) -> None:
    """Take workers that ended out of the gauges; what they have counted stays, in their files."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_*.db")}:
        try:
            os.kill(int(pid), 0)  # no signal: it only looks
        except OSError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
