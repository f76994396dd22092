"""The ports of the core, watched: each does what it wraps does, and counts it.

What a commit tells the audit log is counted by what became of the commit, so the metric agrees
with the log: its events once it is done, its refusal if it is refused, nothing if somebody else
moved first.
"""

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

from prometheus_client import Gauge

from otp_service.core.admission import Gate, Place
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.errors import ChallengeNotFound, StoreUnavailable
from otp_service.core.events import Verified
from otp_service.core.limits import Refusal
from otp_service.core.ports import Blocked, Commit, Done, Hasher, Replayed, Router, Store, Stored
from otp_service.telemetry.metrics import Metrics


T = TypeVar("T")


class Metered:
    """Implements `core.ports.Store`."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self.partition_of = store.partition_of
        self.partition_of_bucket = store.partition_of_bucket

    async def fetch(self, tenant: str, challenge_id: str) -> Stored:
        """Read a challenge."""
        return await self._measured("fetch", self._store.fetch(tenant, challenge_id))

    async def commit(self, commit: Commit) -> Done | Blocked | Refusal | Stored:
        """Decide, and count what was told."""
        outcome = await self._measured("commit", self._store.commit(commit))
        self._count(commit, outcome)
        return outcome

    async def commit_all(
        self, commits: Sequence[Commit]
    ) -> list[Done | Blocked | Refusal | Stored]:
        """Decide, and count what was told."""
        outcomes = await self._measured("commit", self._store.commit_all(commits))
        for commit, outcome in zip(commits, outcomes, strict=True):
            self._count(commit, outcome)
        return outcomes

    async def recall(self, tenant: str, key: str) -> tuple[int, Replayed | None]:
        """Read what is known of an Idempotency-Key."""
        return await self._measured("recall", self._store.recall(tenant, key))

    async def remember(
        self, tenant: str, key: str, old: Replayed | None, new: Replayed | None, operation: str
    ) -> bool:
        """Replace what is known of an Idempotency-Key."""
        call = self._store.remember(tenant, key, old, new, operation)
        return await self._measured("remember", call)

    async def _measured(self, name: str, call: Awaitable[T]) -> T:
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
            self._metrics.store_seconds(name).observe(perf_counter() - began)

    def _count(self, commit: Commit, outcome: Done | Blocked | Refusal | Stored) -> None:
        if isinstance(outcome, Done):
            for event in commit.events:
                self._metrics.event(event)
                if isinstance(event, Verified) and not event.repeated:
                    self._count_conversion(commit)
            if commit.denial:
                self._metrics.event(commit.denial)
        elif isinstance(outcome, Refusal):
            self._metrics.refusals(outcome.limit.value).inc()
            if commit.refusal:
                locked = outcome.wait < 0
                self._metrics.event(commit.refusal, "number_locked" if locked else "rate_limited")
        elif isinstance(outcome, Blocked) and commit.refusal:
            self._metrics.event(commit.refusal, "blocked")

    def _count_conversion(self, commit: Commit) -> None:
        """Count the success for whoever took the newest message: its code is the likeliest."""
        if commit.swap:
            challenge = commit.swap.new
            taken = [one for one in challenge.submissions if one.may_be_billed]
            if taken:
                newest = max(taken, key=lambda one: (one.send, one.place))
                self._metrics.conversion(newest.provider, challenge.country)


class TimedHasher:
    """Implements `core.ports.Hasher`."""

    def __init__(self, hasher: Hasher, metrics: Metrics) -> None:
        self._hasher = hasher
        self._metrics = metrics

    async def slow(self, code: str, salt: bytes) -> bytes:
        """Return argon2id(code, salt)."""
        with self._metrics.argon2_seconds.time():
            return await self._hasher.slow(code, salt)


class CountedRouter:
    """Implements `core.ports.Router`."""

    def __init__(self, router: Router, metrics: Metrics) -> None:
        self._router = router
        self._metrics = metrics

    async def send(self, message: Message) -> tuple[Submission, ...]:
        """Hand the message to providers until one takes it."""
        submissions = await self._router.send(message)
        for submission in submissions:
            self._metrics.submission(submission)
        return submissions

    def received(self, made: Submission, news: Receipt, country: str, number: str) -> None:
        """Let a trusted receipt say how good its provider is."""
        self._router.received(made, news, country, number)


class WatchedGate(Gate):
    """A gate that tells how many places it has, and how many are taken whenever that changes."""

    taken: Gauge

    @classmethod
    def named(cls, name: str, metrics: Metrics, *, places: int, tenants: int) -> Gate:
        """Return a fair gate that tells under this name."""
        gate = cls.fair(places, tenants)
        assert isinstance(gate, cls)  # fair makes what it is called on
        metrics.places(name).set(places)
        gate.taken = metrics.places_taken(name)
        gate.taken.set(0)
        return gate

    def enter(self, tenant: str) -> Place:
        """Take a place."""
        place = super().enter(tenant)
        self.taken.set(self.inside)
        return place

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        super().leave(tenant)
        self.taken.set(self.inside)
