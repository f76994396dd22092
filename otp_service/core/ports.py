"""The ports of the use cases: what they need of the store, the router, the hasher, and a risk service."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

import msgspec

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.commit import (
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    Inspection,
    Pointer,
    PointerName,
    RecordName,
    StoredRecord,
    Undone,
)
from otp_service.core.delivery import Message, Receipt, Submission
from otp_service.core.do_not_send import (
    DoNotSendEntry,
    DoNotSendReason,
    InboundState,
    ListedEntry,
    ReceivedMessage,
    StoredOptOut,
)
from otp_service.core.events import Event
from otp_service.core.limits import Bucket
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pumping.overrides import Overrides
from otp_service.core.risk import RiskAssessment, RiskQuery
from otp_service.core.tenant import Tenant


class IdempotencyRecord(msgspec.Struct, frozen=True, array_like=True):
    """The request that an Idempotency-Key was used for, and its challenge."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    version: int
    fingerprint: bytes
    challenge_id: str
    lease_until: int
    """The instant until which the first call may still run."""
    finished: bool = False


class Store(Protocol):
    """Challenges, buckets and events. Raises StoreUnavailable if an outcome is unknown."""

    @property
    def limit_key_id(self) -> str:
        """The id of the limit key in force, which names every bucket that a commit charges."""

    def get_number_partition(self, number: str) -> int:
        """Return the partition of everything about a canonical number."""

    def get_bucket_partition(self, bucket: Bucket) -> int:
        """Return the partition of a bucket that is not in the partition of a number.

        The buckets of one tenant are in one partition, those of ACCOUNT_RECORD_LIMITS in that of
        the account, and those of countries and of the whole service in one.
        """

    def get_account_partition(self, tenant: str, account: str) -> int:
        """Return the partition of the records of an account, and of ACCOUNT_RECORD_LIMITS.

        It stays the same when keys are rotated.
        """

    def fetch_challenge(self, tenant: str, challenge_id: str) -> Awaitable[ChallengeSnapshot]:
        """Raises StoreTampered on a wrong MAC, and ChallengeNotFound on an invalid id."""

    def commit(self, commit: Commit) -> Awaitable[CommitOutcome]:
        """Apply all of the commit with its events, or none of it."""

    def commit_together(self, commits: Sequence[Commit]) -> Awaitable[list[CommitOutcome | Undone]]:
        """Apply all of these commits, or none: the first one that is not applied decides the others.

        They are of different partitions, and have no bucket in common. All are durable if one is. In a
        cluster, and while two limit keys are in force, others may be `Committed` although one was
        refused: they are to be refunded by their operation ids.
        """

    def commit_all(self, commits: Sequence[Commit]) -> Awaitable[list[CommitOutcome]]:
        """Run each commit by itself, all at once; raises if one of them cannot be decided."""

    def inspect(self, commits: Sequence[Commit]) -> Awaitable[list[Inspection]]:
        """Return what would be decided now of each commit, as if the others were not there.

        They have only a recipient and charges. It changes nothing, and has one round trip for each
        partition, all at the same time.
        """

    def get_record(
        self, partition: int, name: RecordName
    ) -> Awaitable[tuple[int, StoredRecord | None]]:
        """Return the time by Redis's clock, and the record. Raises StoreTampered."""

    def get_pointer(self, name: PointerName) -> Awaitable[Pointer]:
        """Return the newest verification of a number. Raises StoreTampered."""

    def get_idempotency_record(
        self, tenant: str, key: str
    ) -> Awaitable[tuple[int, IdempotencyRecord | None]]:
        """Return the time by Redis's clock, and the record of the key."""

    def swap_idempotency_record(
        self,
        tenant: str,
        key: str,
        old: IdempotencyRecord | None,
        new: IdempotencyRecord | None,
        operation_id: str,
    ) -> Awaitable[bool]:
        """Replace `old`; return False if another call has replaced it first."""


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
    """What operators and people change about a number. Every method raises StoreUnavailable.

    A change and its event are one commit; a repeated `operation_id` changes nothing.
    """

    def block_number(
        self, phone: PhoneNumber, event: Event, operation_id: str, *, at: int | None = None
    ) -> Awaitable[None]:
        """Block a number for all tenants and without an end.

        `at` is the instant of the block, in milliseconds; None for now. A block that is stored keeps
        its instant.
        """

    def unblock_number(
        self, phone: PhoneNumber, event: Event, operation_id: str, *, tenants: Iterable[str]
    ) -> Awaitable[None]:
        """Lift the block of a number, and its opt-outs for all and for each of these tenants."""

    def read_inbound_state(
        self, phone: PhoneNumber, provider: str, message_id: str, *, tenants: Iterable[str]
    ) -> Awaitable[InboundState]:
        """Return what a message of a phone is decided on, with its opt-outs for all and these tenants.

        It has one round trip, and writes nothing.
        """

    def read_opt_outs(
        self, phone: PhoneNumber, *, tenants: Iterable[str]
    ) -> Awaitable[tuple[StoredOptOut, ...]]:
        """Return the opt-outs of a number for all and for each of these tenants. It writes nothing."""

    def opt_out(  # noqa: PLR0913  # what is written, what it is for, and its event
        self,
        phone: PhoneNumber,
        tenant: str,
        entry: DoNotSendEntry,
        *,
        message: ReceivedMessage | None,
        event: Event,
        operation_id: str,
    ) -> Awaitable[bool]:
        """Store an opt-out for a tenant, ALL_TENANTS for all; an import has no `message`.

        Return False, without a change, if there is one or the message has made a change: read the
        state again, and decide again.
        """

    def opt_in(
        self,
        phone: PhoneNumber,
        opt_outs: Sequence[StoredOptOut],
        *,
        message: ReceivedMessage,
        event: Event,
        operation_id: str,
    ) -> Awaitable[bool]:
        """Lift opt-outs that were read. Return False, without the event, as `opt_out` does."""

    def record_help(
        self, phone: PhoneNumber, *, message: ReceivedMessage, event: Event, operation_id: str
    ) -> Awaitable[bool]:
        """Append the event. Return False if the message has made a change."""

    def confirm_state(self, phone: PhoneNumber, operation_id: str) -> Awaitable[None]:
        """Wait until replicas have what is stored of a number, also by an earlier call. Raises NotReplicated."""

    def list_entries(
        self, reason: DoNotSendReason, progress: ProgressCallback
    ) -> Awaitable[list[ListedEntry]]:
        """Return the blocks or the opt-outs of all tenants, the earliest first.

        A record that cannot be opened is listed as such, at the end.
        """

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

    def list_locked_numbers(
        self, tenants: Mapping[str, Tenant], progress: ProgressCallback
    ) -> Awaitable[list[LockedNumber]]:
        """Return the numbers that are locked at these tenants, the latest failure first."""


class StoredOverrides(msgspec.Struct, frozen=True):
    """The overrides of the brake's scopes, at the instant `now` of Redis's clock."""

    now: int
    version: int
    """0 if nothing is stored."""
    overrides: Overrides


class OverrideRegistry(Protocol):
    """What operators have opened and closed of the brake. Every method raises StoreUnavailable."""

    def load_overrides(self) -> Awaitable[StoredOverrides]:
        """Return the overrides, also those that have ended since the last change."""

    def swap_overrides(
        self, old: StoredOverrides, new: Overrides, event: Event, operation_id: str
    ) -> Awaitable[bool]:
        """Replace what was loaded, with the event of the change. Return False after a conflict."""


class MessageIdRecord(msgspec.Struct, frozen=True, array_like=True):
    """A submission whose provider names it in receipts by the provider's own id."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    reference: str
    number_suffix: str
    """The last digits of its number; they decide where two spellings of an id are possible."""


class MessageIdIndex(Protocol):
    """Submissions by the provider's own id, shared by all processes."""

    def put(self, provider: str, message_id: str, record: MessageIdRecord) -> Awaitable[None]:
        """Store a record for as long as a receipt is useful. Raises StoreUnavailable."""

    def get_many(
        self, provider: str, message_ids: Sequence[str]
    ) -> Awaitable[Sequence[MessageIdRecord | None]]:
        """Return the record of each id. Raises StoreUnavailable and StoreTampered."""


class InboxMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message of a service for tests. Its text holds a code: never log it."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    to: str
    text: str
    provider: str
    tenant: str
    at: int
    """The instant of its arrival, in milliseconds since 1970. It may be in the future."""

    def __repr__(self) -> str:
        return f"InboxMessage(at={self.at})"


class MessageInbox(Protocol):
    """The messages of a service for tests, shared by all processes."""

    def add(self, message: InboxMessage, *, max_messages: int) -> Awaitable[None]:
        """Store a message, and delete the oldest beyond that many. Raises StoreUnavailable."""

    def list_messages(self) -> Awaitable[list[InboxMessage]]:
        """Return the messages that arrived in the last hour, newest first. Raises StoreUnavailable."""


class Router(Protocol):
    """The chain of providers."""

    def send(self, message: Message) -> Awaitable[tuple[Submission, ...]]:
        """Submit to providers until one accepts; their faults are returned, not raised."""

    def record_receipt(
        self, submission: Submission, receipt: Receipt, country: str, number_pseudonym: str
    ) -> None:
        """Score the provider of a submission by a trusted receipt."""


class RiskService(Protocol):
    """The operator's risk service, which is asked before a send."""

    def assess(self, query: RiskQuery) -> Awaitable[RiskAssessment]:
        """Return its answer, or within the deadline that it failed. It never raises an Exception."""


class HashPriority(IntEnum):
    """Which of the calls that wait for argon2 is next: the one with the smallest value."""

    VERIFY = 0
    """A person has a code and waits for the login."""
    ISSUE = 1
    PREPARATION = 2
    """No caller waits for it."""


class Hasher(Protocol):
    """argon2id in a bounded pool."""

    @property
    def profile(self) -> Argon2Profile:
        """The parameters in force."""

    def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,
    ) -> Awaitable[bytes]:
        """Return argon2id(code, salt) with the parameters in force, or with these.

        A recovery set lives for a year, so it is compared with the parameters that it was made with.
        """
