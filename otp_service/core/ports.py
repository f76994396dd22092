"""What the service asks of its store and its router, in the words of the core."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.events import Event
from otp_service.core.limits import Bucket, Charge, Refusal


class Stored(msgspec.Struct, frozen=True):
    """A challenge as it stood at `now`, by Redis's clock; None where there is none."""

    now: int
    challenge: Challenge | None
    secret: ChallengeSecret | None


class Swap(msgspec.Struct, frozen=True):
    """Put `new` where `old` is (None: where nothing is), unless somebody moved first."""

    old: Challenge | None
    new: Challenge
    secret: ChallengeSecret | msgspec.UnsetType | None = msgspec.UNSET
    """None deletes it, unset leaves it as it is."""
    before: int = 0
    """An instant from which it is too late; 0 for never."""


class GiveBack(msgspec.Struct, frozen=True):
    """Undo what this operation spent; doing so twice undoes it once."""

    charge: Charge
    operation: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one partition: all of it happens, with its events, or none of it.

    `refusal` is the event that is appended instead if a charge or the guard refuses. `denial` is
    the event of a refusal that was decided before; it folds as refusals do. `durable` waits for
    replicas before it answers.
    """

    partition: int
    operation: str
    swap: Swap | None = None
    guard: str | None = None
    """A number that must not be on the do-not-send list."""
    charges: tuple[Charge, ...] = ()
    give_backs: tuple[GiveBack, ...] = ()
    clear: tuple[Bucket, ...] = ()
    events: tuple[Event, ...] = ()
    refusal: Event | None = None
    denial: Event | None = None
    durable: bool = False
    grants: bool = False
    """It is the beginning of what an event of `events.GRANTS` will tell."""
    label: str = ""
    """How operators see the number that a row of failures belongs to (masked)."""


class Done(msgspec.Struct, frozen=True):
    """The commit happened."""

    now: int
    in_a_row: int = 0
    """Failures in a row, if the commit charged that."""


class Blocked(msgspec.Struct, frozen=True):
    """The number is on the do-not-send list."""

    now: int


class Replayed(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an Idempotency-Key: the request it was used for, and its challenge."""

    version: int
    fingerprint: bytes
    challenge: str
    lease: int
    """Until when the first call may still be running."""
    finished: bool = False


class Store(Protocol):
    """Challenges, buckets and events. Raises StoreUnavailable when in any doubt."""

    def partition_of(self, number: str) -> int:
        """Return the partition in which everything about a (collapsed) number lives."""

    def partition_of_bucket(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not a number's own."""

    def fetch(self, tenant: str, challenge_id: str) -> Awaitable[Stored]:
        """Read a challenge. Raises StoreTampered if it is not ours."""

    def commit(self, commit: Commit) -> Awaitable[Done | Blocked | Refusal | Stored]:
        """Decide; a Stored answer means that somebody moved first, or that it is too late."""

    def commit_all(
        self, commits: Sequence[Commit]
    ) -> Awaitable[list[Done | Blocked | Refusal | Stored]]:
        """Decide each by itself, all at once; raises if one of them cannot be decided."""

    def recall(self, tenant: str, key: str) -> Awaitable[tuple[int, Replayed | None]]:
        """Read what is known of an Idempotency-Key, and the time."""

    def remember(
        self, tenant: str, key: str, old: Replayed | None, new: Replayed | None, operation: str
    ) -> Awaitable[bool]:
        """Replace what is known of an Idempotency-Key; False if somebody was first."""


class Router(Protocol):
    """The chain of providers."""

    def send(self, message: Message) -> Awaitable[tuple[Submission, ...]]:
        """Hand the message to providers until one takes it; never raises for their faults."""

    def received(self, made: Submission, news: Receipt, country: str, number: str) -> None:
        """Let a trusted receipt say how good its provider is; `number` is a pseudonym."""


class Hasher(Protocol):
    """argon2id in a bounded pool."""

    def slow(self, code: str, salt: bytes) -> Awaitable[bytes]:
        """Return argon2id(code, salt)."""
