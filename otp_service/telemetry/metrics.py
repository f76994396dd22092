"""Every metric, on a registry of its own, for one process or several.

Label values are from closed sets (`labels.py`), so no label contains a number, an id, an address, a
code or a key, and no caller can create series without limit.

With several workers, each writes its values to files of prometheus-client once a second
(`metric_buffer.py`), in the folder that PROMETHEUS_MULTIPROC_DIR names, and the process that renders the
page adds them up. `share_metrics_folder` sets the variable before the workers are spawned.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Final, Literal, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from otp_service.core.delivery import Submission
from otp_service.core.events import Event
from otp_service.core.factor import Factor
from otp_service.core.risk import RiskAnswer, RiskAssessment
from otp_service.core.tenant import ApiKey
from otp_service.core.timestamps import SECOND_MS
from otp_service.schemas import ServiceStatus
from otp_service.telemetry.brake_metrics import BrakeMetrics
from otp_service.telemetry.labels import (
    ACCESS_REASONS,
    CALLBACK_REASONS,
    COUNTRY_CODES,
    EVENT_REASONS,
    HOOK_RESULTS,
    HTTP_METHODS,
    INBOUND_RESULTS,
    RISK_FAULTS,
    label_or_other,
    route_or_other,
)
from otp_service.telemetry.metric_buffer import MULTIPROCESS_FOLDER_VARIABLE
from otp_service.telemetry.process_metrics import ProcessCollector


_HISTOGRAM_BUCKETS_SECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

BREAKER_STATE_VALUES: Final = {"closed": 0, "half-open": 1, "open": 2}

ARCHIVE_METRICS: Final = {
    "leader": "1 while a sealer holds the lease.",
    "stuck": "1 while the sealer cannot continue.",
    "lag": "Age of the oldest event that is not sealed, in seconds.",
    "waiting": "Events that are not archived.",
    "fullness": "Used share of the log in the fullest partition; at 1 every change there is refused.",
    "seal": "The number of the last seal.",
    "sealed_at": "Time of the last seal, in seconds since 1970.",
    "anchored_at": "Time of the newest anchor that was delivered, in seconds since 1970, or 0.",
    "archived": "Entries archived since the sealer started.",
    "missing": "Entries declared missing since the sealer started.",
    "failed": "Entries with an invalid MAC since the sealer started.",
}
"""Help text of each metric of the archive, by the name after `otp_audit_`."""

TOKEN_FACTORS: Final = (Factor.AUTHENTICATOR, Factor.RECOVERY_CODE)

PREPARED_CODE_OUTCOMES: Final = ("taken", "missing")

MultiprocessMode = Literal["livesum", "livemax", "livemin"]
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """Every metric. A method counts where label values must be restricted first."""

    def __init__(
        self,
        version: str,
        *,
        tenants: Collection[str],
        providers: Collection[str],
        hooks: Collection[str] = (),
        token_keys: Collection[str] = (),
    ):
        """Allow these tenants, providers, hooks and ids of `authenticator` keys as label values."""
        # `_created` series would double the number of series, and do not exist with workers.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._tenants, self._providers = frozenset(tenants), frozenset(providers)
        self._hooks, self._token_keys = frozenset(hooks), frozenset(token_keys)
        self._registry = CollectorRegistry()
        self._make_counters()
        self._make_histograms()
        self._make_gauges(version)
        self.brake = BrakeMetrics(self._registry, tenants)
        # What the process that renders knows itself, for all workers.
        self._own_registry = CollectorRegistry()
        text = "Time at which an API key expires, in seconds since 1970."
        self._key_expiries = Gauge(
            "otp_api_key_expires_at", text, ("tenant", "key"), registry=self._own_registry
        )
        text = "1 while a master of Redis has an issue with this setting."
        self._redis_issues = Gauge(
            "otp_redis_issues", text, ("setting",), registry=self._own_registry
        )
        self._archive_gauges: dict[str, Gauge] = {}

    def observe_status(self, read_status: Callable[[], ServiceStatus]) -> None:
        """Show each process with its configuration, as `read_status` has it at each scrape."""
        self._own_registry.register(ProcessCollector(read_status))

    def render_metrics(self) -> tuple[bytes, str]:
        """Return the page for Prometheus and its content type, for all workers if there are any.

        With workers, only one process may call it, and not in two threads at once.
        """
        registry = self._registry
        if folder := os.environ.get(MULTIPROCESS_FOLDER_VARIABLE):
            registry = CollectorRegistry()
            _remove_ended_workers(Path(folder))
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        pages = (prometheus_client.generate_latest(each) for each in (registry, self._own_registry))
        return b"".join(pages), prometheus_client.CONTENT_TYPE_LATEST

    def count_request(
        self, method: str, route: str, status: int, seconds: float
    ) -> tuple[str, str]:
        """Count a response; return method and route as restricted label values."""
        method, route = label_or_other(HTTP_METHODS, method), route_or_other(route)
        self._requests(method, route, str(status)).inc()
        self._request_seconds(route).observe(seconds)
        return method, route

    def count_event(self, event: Event, reason: str | None = None) -> None:
        """Count an appended event; `reason` is that of a refusal decided by the commit."""
        self._events(
            str(type(event).__struct_config__.tag),
            event.outcome,
            label_or_other(EVENT_REASONS, reason or event.reason),
            label_or_other(self._tenants, event.tenant),
            label_or_other(COUNTRY_CODES, event.country),
            label_or_other(self._providers, getattr(event, "provider", None)),
        ).inc()

    def count_submission(self, submission: Submission) -> None:
        provider = label_or_other(self._providers, submission.provider)
        fault = submission.fault.value if submission.fault else ""
        scope = submission.scope.value if submission.scope else ""
        self._submissions(provider, submission.outcome, fault, scope).inc()
        self._submission_seconds(provider).observe(submission.milliseconds / 1000)

    def count_receipt(self, provider: str, status: str) -> None:
        """Count a receipt; `status` is `unknown` if its message is unknown."""
        self._receipts(label_or_other(self._providers, provider), status).inc()

    def count_inbound_message(self, provider: str, result: str) -> tuple[str, str]:
        """Count a message from a phone; return provider and result as restricted label values."""
        labels = label_or_other(self._providers, provider), label_or_other(INBOUND_RESULTS, result)
        self._inbound_messages(*labels).inc()
        return labels

    def count_conversion(self, provider: str, country: str) -> None:
        """Count a verified challenge for the provider that `core.conversion` credits."""
        self._conversions(
            label_or_other(self._providers, provider), label_or_other(COUNTRY_CODES, country)
        ).inc()

    def count_token_attempt(self, factor: Factor, key_id: str | None) -> None:
        """Count an attempt with a token that was sealed under this key."""
        self._token_attempts(factor.value, label_or_other(self._token_keys, key_id)).inc()

    def set_provider_share(self, provider: str, share: float) -> None:
        self._provider_shares(label_or_other(self._providers, provider)).set(share)

    def set_breaker_state(self, provider: str, country: str, state: str) -> None:
        labels = label_or_other(self._providers, provider), label_or_other(COUNTRY_CODES, country)
        self._breaker_states(*labels).set(BREAKER_STATE_VALUES[state])

    def set_argon2_engine(self, engine: str, hash_ms: float) -> None:
        """Publish the engine that computes argon2id, and the CPU time of one hash."""
        self._argon2_hash_seconds(engine).set(hash_ms / SECOND_MS)

    def set_archive_metrics(self, **values: float) -> None:
        """Set metrics of the archive, by their names in ARCHIVE_METRICS."""
        for name, value in values.items():
            if name not in self._archive_gauges:
                self._archive_gauges[name] = Gauge(
                    f"otp_audit_{name}", ARCHIVE_METRICS[name], registry=self._own_registry
                )
            self._archive_gauges[name].set(value)

    def set_key_expiries(self, keys: Iterable[ApiKey]) -> None:
        """Publish when each API key expires; a key without an expiry has no series."""
        for key in keys:
            if key.expires_at is not None:
                self._key_expiries.labels(key.tenant, key.id).set(key.expires_at / SECOND_MS)

    def set_redis_issue(self, setting: str, *, exists: bool) -> None:
        self._redis_issues.labels(setting).set(exists)

    def count_unauthenticated(self, reason: str) -> str:
        """Count a call without a valid key or scope; return the reason as a restricted label value."""
        reason = label_or_other(ACCESS_REASONS, reason)
        self._unauthenticated(reason).inc()
        return reason

    def count_rejected_callback(self, provider: str, reason: str) -> tuple[str, str]:
        """Count a refused callback; return provider and reason as restricted label values."""
        labels = label_or_other(self._providers, provider), label_or_other(CALLBACK_REASONS, reason)
        self._callbacks_rejected(*labels).inc()
        return labels

    def count_risk_check(self, assessment: RiskAssessment) -> None:
        """Count a check by the risk service; only a failure has a fault."""
        is_failure = assessment.answer is RiskAnswer.FAILED
        fault = label_or_other(RISK_FAULTS, assessment.reason) if is_failure else ""
        self._risk_checks(assessment.answer.value, fault).inc()

    def count_hook_request(self, hook: str, result: str) -> None:
        """Count an answered request of an identity product; `result`: see `labels.HOOK_RESULTS`."""
        labels = label_or_other(self._hooks, hook), label_or_other(HOOK_RESULTS, result)
        self._hook_requests(*labels).inc()

    def _make_counters(self) -> None:
        def add(name: str, text: str, *labels: str) -> Callable[..., Counter]:
            return _cache_children(Counter(name, text, labels, registry=self._registry))

        self._requests = add("otp_requests", "Responses.", "method", "route", "status")
        text = "Calls without a valid key or scope."
        self._unauthenticated = add("otp_unauthenticated", text, "reason")
        text = "Callbacks and parts without an effect; unsigned, incomplete and other: with a 2xx."
        self._callbacks_rejected = add("otp_callbacks_rejected", text, "provider", "reason")
        text = "Requests of identity products to hooks."
        self._hook_requests = add("otp_hook_requests", text, "hook", "result")
        text = "Checks of a send by the risk service, by its answer."
        self._risk_checks = add("otp_risk_checks", text, "answer", "fault")
        event_labels = ("type", "outcome", "reason", "tenant", "country", "provider")
        self._events = add("otp_events", "Events of the audit log.", *event_labels)
        text = "Messages submitted to providers."
        self._submissions = add("otp_submissions", text, "provider", "outcome", "fault", "scope")
        self._receipts = add("otp_receipts", "Receipts from providers.", "provider", "status")
        text = "Messages from phones, by what came of them."
        self._inbound_messages = add("otp_inbound_messages", text, "provider", "result")
        text = "Verified challenges, by provider of the newest message."
        self._conversions = add("otp_conversions", text, "provider", "country")
        text = "Attempts with a sealed token, by the key that sealed it."
        self._token_attempts = add("otp_token_attempts", text, "factor", "key")
        for factor, key_id in product(TOKEN_FACTORS, self._token_keys):
            self._token_attempts(factor.value, key_id)  # an old key that is unused has a zero
        self.limit_refusals = add("otp_limit_refusals", "Charges that a limit refused.", "limit")
        text = "Issues that took a prepared code, or for which none was left."
        self.prepared_code_requests = add("otp_prepared_code_requests", text, "outcome")
        for outcome in PREPARED_CODE_OUTCOMES:
            self.prepared_code_requests(outcome)  # an outcome that is missing so far has a zero
        text = "Times at which a listener reached its limit of connections."
        name = "otp_connection_limit_reached"
        self.connection_limit_reached = Counter(name, text, registry=self._registry)
        self.store_failures = add("otp_store_failures", "Failed calls of the store.", "kind")

    def _make_histograms(self) -> None:
        def add(name: str, text: str, *labels: str) -> Histogram:
            buckets = _HISTOGRAM_BUCKETS_SECONDS
            return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

        requests = add("otp_request_seconds", "Duration of requests.", "route")
        self._request_seconds = _cache_children(requests)
        text = "Duration of submissions to providers."
        self._submission_seconds = _cache_children(add("otp_submission_seconds", text, "provider"))
        store = add("otp_store_seconds", "Duration of calls of the store.", "call")
        self.store_seconds = _cache_children(store)
        text = "Duration of argon2, with the wait for a thread."
        self.argon2_seconds = add("otp_argon2_seconds", text)
        self.risk_seconds = add("otp_risk_seconds", "Duration of checks by the risk service.")

    def _make_gauges(self, version: str) -> None:
        def add(name: str, text: str, mode: MultiprocessMode, *labels: str) -> Callable[..., Gauge]:
            gauge = Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)
            return _cache_children(gauge)

        def add_single(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=self._registry, multiprocess_mode="livesum")

        self.slots = add("otp_admission_slots", "Slots of admission control.", "livesum", "gate")
        self.slots_in_use = add("otp_admission_slots_in_use", "Slots in use.", "livesum", "gate")
        text = "Codes that were hashed in idle time, for a burst of issues."
        self.prepared_codes = add_single("otp_prepared_codes", text)
        text = "Connections that wait to be accepted, because the limit is reached or the CPU busy."
        self.connections_waiting = add_single("otp_connections_waiting", text)
        text = "Open files and sockets, connections included."
        self.open_descriptors = add_single("otp_open_descriptors", text)
        text = "CPU of one hash with the profile in force, by the engine, measured at the start."
        self._argon2_hash_seconds = add("otp_argon2_hash_seconds", text, "livemax", "engine")
        # All workers have the same provider health within a second, so none is added up.
        text = "Circuit breaker of a provider: 0 closed, 1 half-open, 2 open."
        self._breaker_states = add("otp_provider_state", text, "livemax", "provider", "country")
        text = "Part of its configured shares that a provider's receipts have left it, 0.1 to 1."
        self._provider_shares = add("otp_provider_share", text, "livemin", "provider")
        add("otp_build_info", "Version of the service.", "livemax", "version")(version).set(1)


def _cache_children(metric: M) -> Callable[..., M]:
    """Return a cached `metric.labels`: ten look-ups a request, 0.7 µs each without the cache."""
    return cache(metric.labels)


@contextlib.contextmanager
def share_metrics_folder() -> Iterator[Path]:
    """Create a private folder for the metrics of the workers that are started inside the block."""
    with tempfile.TemporaryDirectory(prefix="otp-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ[MULTIPROCESS_FOLDER_VARIABLE]


def _remove_ended_workers(folder: Path) -> None:
    """Remove ended workers from the gauges; their counters stay in their files."""
    for pid in {file.stem.rpartition("_")[2] for file in folder.glob("gauge_*.db")}:
        try:
            os.kill(int(pid), 0)  # signal 0 only tests whether the process exists
        except OSError:
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
