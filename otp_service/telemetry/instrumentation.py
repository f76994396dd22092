"""The ports of the core, watched: each does what it wraps does, and counts it.

What a commit tells the audit log is counted by what became of the commit, so the metric agrees
with the log: its events once it is done, its refusal if it is refused, nothing if somebody else
moved first.
"""

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

from prometheus_client import Gauge

from otp_service.core.admission import AdmissionControl, Slot
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.errors import ChallengeNotFound, StoreUnavailable
from otp_service.core.events import Verified
from otp_service.core.limits import LimitRefusal
from otp_service.core.ports import (
    Blocked,
    ChallengeSnapshot,
    Commit,
    Committed,
    Hasher,
    IdempotencyRecord,
    Router,
    Store,
)
from otp_service.telemetry.metrics import Metrics


T = TypeVar("T")


class InstrumentedStore:
    """Implements `core.ports.Store`."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self.get_number_partition = store.get_number_partition
        self.get_bucket_partition = store.get_bucket_partition

    async def fetch_challenge(self, tenant: str, challenge_id: str) -> ChallengeSnapshot:
        """Read a challenge."""
        return await self._measure_call("fetch", self._store.fetch_challenge(tenant, challenge_id))

    async def commit(
        self, commit: Commit
    ) -> Committed | Blocked | LimitRefusal | ChallengeSnapshot:
        """Decide, and count what was told."""
        outcome = await self._measure_call("commit", self._store.commit(commit))
        self._count_outcome(commit, outcome)
        return outcome

    async def commit_all(
        self, commits: Sequence[Commit]
    ) -> list[Committed | Blocked | LimitRefusal | ChallengeSnapshot]:
        """Decide, and count what was told."""
        outcomes = await self._measure_call("commit", self._store.commit_all(commits))
        for commit, outcome in zip(commits, outcomes, strict=True):
            self._count_outcome(commit, outcome)
        return outcomes

    async def get_idempotency_record(
        self, tenant: str, key: str
    ) -> tuple[int, IdempotencyRecord | None]:
        """Read what is known of an Idempotency-Key."""
        return await self._measure_call("recall", self._store.get_idempotency_record(tenant, key))

    async def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: IdempotencyRecord | None,
        new: IdempotencyRecord | None,
        operation_id: str,
    ) -> bool:
        """Replace what is known of an Idempotency-Key."""
        call = self._store.swap_idempotency_record(tenant, key, old, new, operation_id)
        return await self._measure_call("remember", call)

    async def _measure_call(self, call_name: str, call: Awaitable[T]) -> T:
        began = perf_counter()  # prometheus-client's timer takes half a microsecond more
        try:
            return await call
        except ChallengeNotFound:
            raise  # it is an answer
        except Exception as error:
            # Redis is a stranger here: how it failed is told by the name of a class.
            behind = error.__cause__ if type(error) is StoreUnavailable else None
            self._metrics.store_failures(type(behind or error).__name__).inc()
            raise
        finally:
            self._metrics.store_seconds(call_name).observe(perf_counter() - began)

    def _count_outcome(
        self, commit: Commit, outcome: Committed | Blocked | LimitRefusal | ChallengeSnapshot
    ) -> None:
        if isinstance(outcome, Committed):
            for event in commit.events:
                self._metrics.count_event(event)
                if isinstance(event, Verified) and not event.repeated:
                    self._count_conversion(commit)
            if commit.foldable_event:
                self._metrics.count_event(commit.foldable_event)
        elif isinstance(outcome, LimitRefusal):
            self._metrics.limit_refusals(outcome.limit.value).inc()
            if commit.event_if_refused:
                locked = outcome.wait_ms < 0
                self._metrics.count_event(
                    commit.event_if_refused, "number_locked" if locked else "rate_limited"
                )
        elif isinstance(outcome, Blocked) and commit.event_if_refused:
            self._metrics.count_event(commit.event_if_refused, "blocked")

    def _count_conversion(self, commit: Commit) -> None:
        """Count the success for whoever took the newest message: its code is the likeliest."""
        if commit.swap:
            challenge = commit.swap.new
            taken = [one for one in challenge.submissions if one.may_be_billed]
            if taken:
                newest = max(taken, key=lambda one: (one.send, one.ordinal))
                self._metrics.count_conversion(newest.provider, challenge.country)


class InstrumentedHasher:
    """Implements `core.ports.Hasher`."""

    def __init__(self, hasher: Hasher, metrics: Metrics) -> None:
        self._hasher = hasher
        self._metrics = metrics

    async def compute_argon2id(self, code: str, salt: bytes) -> bytes:
        """Return argon2id(code, salt)."""
        with self._metrics.argon2_seconds.time():
            return await self._hasher.compute_argon2id(code, salt)


class InstrumentedRouter:
    """Implements `core.ports.Router`."""

    def __init__(self, router: Router, metrics: Metrics) -> None:
        self._router = router
        self._metrics = metrics

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Hand the message to providers until one takes it."""
        submissions = await self._router.send(message)
        for submission in submissions:
            self._metrics.count_submission(submission)
        return submissions

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        """Let a trusted receipt say how good its provider is."""
        self._router.record_receipt(submission, receipt, country, number_pseudonym)


class InstrumentedAdmission(AdmissionControl):
    """A gate that tells how many places it has, and how many are taken whenever that changes."""

    in_use_gauge: Gauge

    @classmethod
    def create_named(
        cls, name: str, metrics: Metrics, *, slots: int, tenants: int
    ) -> AdmissionControl:
        """Return a fair gate that tells under this name."""
        gate = cls.create_fair(slots, tenants)
        assert isinstance(gate, cls)  # fair makes what it is called on
        metrics.slots(name).set(slots)
        gate.in_use_gauge = metrics.slots_in_use(name)
        gate.in_use_gauge.set(0)
        return gate

    def acquire(self, tenant: str) -> Slot:
        """Take a place."""
        place = super().acquire(tenant)
        self.in_use_gauge.set(self.in_use)
        return place

    def release(self, tenant: str) -> None:
        """Give a place back."""
        super().release(tenant)
        self.in_use_gauge.set(self.in_use)
