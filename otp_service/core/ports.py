"""What the service asks of its store and its router, in the words of the core."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.events import Event
from otp_service.core.limits import Bucket, Charge, Limit, LimitRefusal
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.tenant import Tenant


class ChallengeSnapshot(msgspec.Struct, frozen=True):
    """A challenge as it stood at `now`, by Redis's clock; None where there is none."""

    now: int
    challenge: Challenge | None
    secret: ChallengeSecret | None


class CompareAndSwap(msgspec.Struct, frozen=True):
    """Put `new` where `old` is (None: where nothing is), unless somebody moved first."""

    old: Challenge | None
    new: Challenge
    secret: ChallengeSecret | msgspec.UnsetType | None = msgspec.UNSET
    """None deletes it, unset leaves it as it is."""
    deadline: int = 0
    """The instant from which the swap is refused (exclusive); 0 for none."""


class Refund(msgspec.Struct, frozen=True):
    """Undo what this operation spent; doing so twice undoes it once."""

    charge: Charge
    operation_id: str


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about one partition: all of it happens, with its events, or none of it.

    `refusal` is the event that is appended instead if a charge or the guard refuses. `denial` is
    the event of a refusal that was decided before; it folds as refusals do. `durable` waits for
    replicas before it answers.
    """

    partition: int
    operation_id: str
    swap: CompareAndSwap | None = None
    unless_blocked: str | None = None
    """A number that must not be on the do-not-send list."""
    charges: tuple[Charge, ...] = ()
    refunds: tuple[Refund, ...] = ()
    reset_buckets: tuple[Bucket, ...] = ()
    events: tuple[Event, ...] = ()
    event_if_refused: Event | None = None
    foldable_event: Event | None = None
    durable: bool = False
    requires_log_capacity: bool = False
    """It is the beginning of what an event of `events.GRANTS` will tell."""
    masked_number: str = ""
    """How operators see the number that a row of failures belongs to (masked)."""


class Committed(msgspec.Struct, frozen=True):
    """The commit happened."""

    now: int
    consecutive_failures: int = 0
    """Failures in a row, if the commit charged that."""


class Conflict(msgspec.Struct, frozen=True):
    """Another commit changed the challenge first, or the deadline of the swap has passed."""

    snapshot: ChallengeSnapshot
    """The challenge as it is now."""


class Locked(msgspec.Struct, frozen=True):
    """This limit refuses until an operator unlocks the subject: no wait helps."""

    limit: Limit


class Blocked(msgspec.Struct, frozen=True):
    """The number is on the do-not-send list."""


CommitRefusal = LimitRefusal | Locked | Blocked
"""Nothing was changed; `event_if_refused` was appended."""

CommitOutcome = Committed | Conflict | CommitRefusal


class IdempotencyRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is known of an Idempotency-Key: the request it was used for, and its challenge."""

    version: int
    fingerprint: bytes
    challenge_id: str
    lease_until: int
    """Until when the first call may still be running."""
    finished: bool = False


class Store(Protocol):
    """Challenges, buckets and events. Raises StoreUnavailable when in any doubt."""

    def get_number_partition(self, number: str) -> int:
        """Return the partition in which everything about a (collapsed) number lives."""

    def get_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not a number's own."""

    def fetch_challenge(self, tenant: str, challenge_id: str) -> Awaitable[ChallengeSnapshot]:
        """Read a challenge. Raises StoreTampered if it is not ours."""

    def commit(self, commit: Commit) -> Awaitable[CommitOutcome]:
        """Apply all of the commit with its events, or none of it."""

    def commit_all(self, commits: Sequence[Commit]) -> Awaitable[list[CommitOutcome]]:
        """Run each commit by itself, all at once; raises if one of them cannot be decided."""

    def get_idempotency_record(
        self, tenant: str, key: str
    ) -> Awaitable[tuple[int, IdempotencyRecord | None]]:
        """Read what is known of an Idempotency-Key, and the time."""

    def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: IdempotencyRecord | None,
        new: IdempotencyRecord | None,
        operation_id: str,
    ) -> Awaitable[bool]:
        """Replace what is known of an Idempotency-Key; False if somebody was first."""


class LockedNumber(msgspec.Struct, frozen=True):
    """A number that is locked at one tenant until an operator unlocks it."""

    tenant: str
    masked_number: str
    failures: int
    last_failure_at: int
    """Milliseconds since 1970."""


class ErasedCounts(msgspec.Struct, frozen=True):
    """The records of a number that were deleted."""

    buckets: int
    challenges: int


ProgressCallback = Callable[[int, int], None]
"""Called with the number of keys that were scanned, and roughly of how many."""


class NumberRegistry(Protocol):
    """What operators change about a number. Every method raises StoreUnavailable.

    A change and its event are one commit; a repeated `operation_id` changes nothing.
    """

    def block_number(self, phone: PhoneNumber, event: Event, operation_id: str) -> Awaitable[None]:
        """Put a number on the do-not-send list, for all tenants and without an end."""

    def unblock_number(
        self, phone: PhoneNumber, event: Event, operation_id: str
    ) -> Awaitable[None]:
        """Take a number off the do-not-send list."""

    def erase_number(
        self,
        phone: PhoneNumber,
        event: Event,
        operation_id: str,
        *,
        tenants: Iterable[str],
        progress: ProgressCallback,
    ) -> Awaitable[ErasedCounts]:
        """Delete the challenges and the buckets of a number at these tenants."""

    def list_blocked_numbers(self, progress: ProgressCallback) -> Awaitable[list[str]]:
        """Return the numbers on the do-not-send list, masked."""

    def list_locked_numbers(
        self, tenants: Mapping[str, Tenant], progress: ProgressCallback
    ) -> Awaitable[list[LockedNumber]]:
        """Return the numbers that are locked at these tenants, the latest failure first."""


class MessageIdRecord(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a submission whose provider knows only a name of its own for it."""

    reference: str
    number_suffix: str
    """The last digits of its number: a name may be written in two ways, and this tells them apart."""


class MessageIdIndex(Protocol):
    """Those that all processes know of, by the name that a provider gave them."""

    def put(self, provider: str, message_id: str, record: MessageIdRecord) -> Awaitable[None]:
        """Keep one for as long as a receipt can be of use. Raises StoreUnavailable."""

    def get_many(
        self, provider: str, message_ids: Sequence[str]
    ) -> Awaitable[Sequence[MessageIdRecord | None]]:
        """Return what is kept under each name. Raises StoreUnavailable; StoreTampered if forged."""


class Router(Protocol):
    """The chain of providers."""

    def send(self, message: Message) -> Awaitable[tuple[Submission, ...]]:
        """Hand the message to providers until one takes it; never raises for their faults."""

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        """Let a trusted receipt say how good its provider is; `number` is a pseudonym."""


class Hasher(Protocol):
    """argon2id in a bounded pool."""

    def compute_argon2id(self, code: str, salt: bytes) -> Awaitable[bytes]:
        """Return argon2id(code, salt)."""
