"""Wrappers around the ports of the core: each forwards a call, counts it, and puts it into a span.

A commit's events are counted by its outcome, so that the metric agrees with the audit log: the
events if it is committed, the event of the refusal if it is refused, none if it conflicts.
"""

from collections.abc import Awaitable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from time import perf_counter
from typing import Any, Final, Literal, Protocol, TypeVar

from prometheus_client import Gauge

from otp_service.core import ports
from otp_service.core.admission import AdmissionControl
from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.commit import (
    Blocked,
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    Committed,
    Conflict,
    Inspection,
    Locked,
    OverDebt,
    Pointer,
    PointerName,
    RecordConflict,
    RecordName,
    StoredRecord,
    Undone,
)
from otp_service.core.conversion import find_credited_submission
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.errors import ChallengeNotFound, StoreUnavailable
from otp_service.core.events import AuthenticatorAttempted, BrakedSend, RecoveryAttempted, Verified
from otp_service.core.factor import Factor
from otp_service.core.limits import LimitRefusal
from otp_service.core.prepared_codes import CodeReservation, HashedCode, PreparedCodes
from otp_service.core.risk import RiskAssessment, RiskQuery
from otp_service.telemetry.metrics import Metrics


T = TypeVar("T")
Outcome = TypeVar("Outcome", CommitOutcome, CommitOutcome | Undone)
SpanKindName = Literal["internal", "client", "server", "consumer"]

_OUTCOME_NAMES: Final = {
    Committed: "done",
    Blocked: "blocked",
    LimitRefusal: "refused",
    Locked: "locked",
    OverDebt: "over_debt",
    Conflict: "conflict",
    RecordConflict: "conflict",
    Undone: "undone",
}


class Tracer(Protocol):
    """Implemented by `tracing.Tracing`, which needs an extra; without it no span is made."""

    def start_span(self, name: str, kind: SpanKindName = "internal") -> AbstractContextManager[Any]:
        """Return a context manager that gives a span with `set_attribute(name, value)`."""


class _NoSpan:
    def set_attribute(self, name: str, value: object) -> None:
        """Ignore it."""


class NoTracer:
    """Implements `Tracer` where the settings name no collector."""

    _context = nullcontext(_NoSpan())

    def start_span(self, name: str, kind: SpanKindName = "internal") -> nullcontext[_NoSpan]:  # noqa: ARG002
        return self._context


class InstrumentedStore:
    """Implements `core.ports.Store`."""

    def __init__(self, store: ports.Store, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._start_span = (tracer or NoTracer()).start_span
        self.limit_key_id = store.limit_key_id
        self.get_number_partition = store.get_number_partition
        self.get_bucket_partition = store.get_bucket_partition
        self.get_account_partition = store.get_account_partition

    async def fetch_challenge(self, tenant: str, challenge_id: str) -> ChallengeSnapshot:
        with self._start_span("store fetch", "client"):
            call = self._store.fetch_challenge(tenant, challenge_id)
            return await self._measure_call("fetch", call)

    async def commit(self, commit: Commit) -> CommitOutcome:
        with self._start_span("store commit", "client") as span:
            outcome = await self._measure_call("commit", self._store.commit(commit))
            span.set_attribute("otp.outcome", _OUTCOME_NAMES[type(outcome)])
        self._count_outcome(commit, outcome)
        return outcome

    async def commit_together(self, commits: Sequence[Commit]) -> list[CommitOutcome | Undone]:
        return await self._count_outcomes(commits, self._store.commit_together(commits))

    async def commit_all(self, commits: Sequence[Commit]) -> list[CommitOutcome]:
        return await self._count_outcomes(commits, self._store.commit_all(commits))

    async def _count_outcomes(
        self, commits: Sequence[Commit], call: Awaitable[list[Outcome]]
    ) -> list[Outcome]:
        with self._start_span("store commit", "client") as span:
            outcomes = await self._measure_call("commit", call)
            span.set_attribute("otp.outcomes", [_OUTCOME_NAMES[type(one)] for one in outcomes])
        for commit, outcome in zip(commits, outcomes, strict=True):
            self._count_outcome(commit, outcome)
        return outcomes

    async def inspect(self, commits: Sequence[Commit]) -> list[Inspection]:
        with self._start_span("store fetch", "client"):
            return await self._measure_call("fetch", self._store.inspect(commits))

    async def get_record(self, partition: int, name: RecordName) -> tuple[int, StoredRecord | None]:
        with self._start_span("store recall", "client"):
            return await self._measure_call("recall", self._store.get_record(partition, name))

    async def get_pointer(self, name: PointerName) -> Pointer:
        with self._start_span("store recall", "client"):
            return await self._measure_call("recall", self._store.get_pointer(name))

    async def get_idempotency_record(
        self, tenant: str, key: str
    ) -> tuple[int, ports.IdempotencyRecord | None]:
        with self._start_span("store recall", "client"):
            call = self._store.get_idempotency_record(tenant, key)
            return await self._measure_call("recall", call)

    async def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: ports.IdempotencyRecord | None,
        new: ports.IdempotencyRecord | None,
        operation_id: str,
    ) -> bool:
        with self._start_span("store remember", "client"):
            call = self._store.swap_idempotency_record(tenant, key, old, new, operation_id)
            return await self._measure_call("remember", call)

    async def _measure_call(self, call_name: str, call: Awaitable[T]) -> T:
        began = perf_counter()  # prometheus-client's timer takes half a microsecond more
        try:
            return await call
        except ChallengeNotFound:
            raise  # an answer, not a failure
        except Exception as error:
            self._metrics.store_failures(_name_failure(error)).inc()
            raise
        finally:
            self._metrics.store_seconds(call_name).observe(perf_counter() - began)

    def _count_outcome(self, commit: Commit, outcome: CommitOutcome | Undone) -> None:
        match outcome:
            case Committed():
                self._count_committed(commit)
                self._metrics.brake.count_outcome(commit, outcome)
            case Conflict() | RecordConflict() | Undone():
                pass
            case LimitRefusal(limit=limit):
                self._metrics.limit_refusals(limit.value).inc()
                self._count_refused(commit, "rate_limited")
            case OverDebt():
                self._metrics.brake.count_outcome(commit, outcome)
                self._count_refused(commit, "rate_limited")
            case Locked(limit=limit):
                self._metrics.limit_refusals(limit.value).inc()
                self._count_refused(commit, outcome.to_error().audit_reason)
            case Blocked():
                self._count_refused(commit, outcome.reason)

    def _count_committed(self, commit: Commit) -> None:
        for event in commit.events:
            self._metrics.count_event(event)
            if isinstance(event, BrakedSend):
                self._metrics.brake.count_send(event)
            elif isinstance(event, Verified) and not event.repeated:
                self._count_conversion(commit)
            elif isinstance(event, AuthenticatorAttempted):
                self._metrics.count_token_attempt(Factor.AUTHENTICATOR, event.sealed_under)
            elif isinstance(event, RecoveryAttempted):
                self._metrics.count_token_attempt(Factor.RECOVERY_CODE, event.sealed_under)
        if commit.foldable_event:
            self._metrics.count_event(commit.foldable_event)

    def _count_refused(self, commit: Commit, reason: str) -> None:
        if commit.event_if_refused:
            self._metrics.count_event(commit.event_if_refused, reason)

    def _count_conversion(self, commit: Commit) -> None:
        challenge = commit.swap.new if commit.swap else None
        credited = find_credited_submission(challenge.submissions) if challenge else None
        if challenge and credited:
            self._metrics.count_conversion(credited.provider, challenge.country)


def _name_failure(error: Exception) -> str:
    """Return the code that Redis answered, or the class of the error."""
    if type(error) is not StoreUnavailable:
        return type(error).__name__
    return error.kind or type(error.__cause__ or error).__name__


class InstrumentedHasher:
    """Implements `core.ports.Hasher`."""

    def __init__(
        self, hasher: ports.Hasher, metrics: Metrics, tracer: Tracer | None = None
    ) -> None:
        self._hasher = hasher
        self._metrics = metrics
        self._start_span = (tracer or NoTracer()).start_span

    @property
    def profile(self) -> Argon2Profile:
        return self._hasher.profile

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: ports.HashPriority = ports.HashPriority.ISSUE,
    ) -> bytes:
        with self._start_span("argon2"), self._metrics.argon2_seconds.time():
            call = self._hasher.compute_argon2id(code, salt, profile, priority=priority)
            return await call


class InstrumentedRouter:
    """Implements `core.ports.Router`."""

    def __init__(
        self, router: ports.Router, metrics: Metrics, tracer: Tracer | None = None
    ) -> None:
        self._router = router
        self._metrics = metrics
        self._start_span = (tracer or NoTracer()).start_span

    async def send(self, message: Message) -> tuple[Submission, ...]:
        with self._start_span("send"):
            submissions = await self._router.send(message)
        for submission in submissions:
            self._metrics.count_submission(submission)
        return submissions

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        self._router.record_receipt(submission, receipt, country, number_pseudonym)


class InstrumentedRiskService:
    """Implements `core.ports.RiskService`."""

    def __init__(
        self, risk_service: ports.RiskService, metrics: Metrics, tracer: Tracer | None = None
    ) -> None:
        self._risk_service = risk_service
        self._metrics = metrics
        self._start_span = (tracer or NoTracer()).start_span

    async def assess(self, query: RiskQuery) -> RiskAssessment:
        with self._start_span("risk"), self._metrics.risk_seconds.time():
            assessment = await self._risk_service.assess(query)
        self._metrics.count_risk_check(assessment)
        return assessment


class InstrumentedPreparedCodes(PreparedCodes):
    """Prepared codes that report how many there are, and which issues needed argon2 instead."""

    def __init__(
        self, capacity: int, digits: int, profile: Argon2Profile, metrics: Metrics
    ) -> None:
        super().__init__(capacity, digits, profile)
        self._size, self._requests = metrics.prepared_codes, metrics.prepared_code_requests
        self._size.set(0)

    def add(self, code: HashedCode) -> None:
        super().add(code)
        self._size.set(len(self))

    def reserve(self, digits: int, profile: Argon2Profile) -> CodeReservation | None:
        reservation = super().reserve(digits, profile)
        if reservation is None:
            self._requests("missing").inc()
        return reservation

    def pop_reserved(self) -> HashedCode | None:
        code = super().pop_reserved()
        self._requests("taken" if code else "missing").inc()
        self._size.set(len(self))
        return code

    def close(self) -> None:
        super().close()
        self._size.set(0)


class InstrumentedAdmission(AdmissionControl):
    """Admission control that reports its slots, and those in use at each change."""

    in_use_gauge: Gauge

    @classmethod
    def create_named(
        cls, name: str, metrics: Metrics, *, slots: int, tenants: int
    ) -> AdmissionControl:
        """Return a fair admission control whose metrics have this name as `gate`."""
        admission = cls.create_fair(slots, tenants)
        assert isinstance(admission, cls)  # create_fair returns the class it is called on
        metrics.slots(name).set(slots)
        admission.in_use_gauge = metrics.slots_in_use(name)
        admission.in_use_gauge.set(0)
        return admission

    def acquire(self, tenant: str, count: int = 1) -> ExitStack:
        slots = super().acquire(tenant, count)
        self.in_use_gauge.set(self.in_use)
        return slots

    def release(self, tenant: str, count: int = 1) -> None:
        super().release(tenant, count)
        self.in_use_gauge.set(self.in_use)
