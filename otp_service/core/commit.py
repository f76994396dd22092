"""A commit: what one decision changes in the store, what it is decided on, and its outcomes."""

from typing import Literal

import msgspec

from otp_service.core.challenge import Challenge, ChallengeSecret
from otp_service.core.do_not_send import DoNotSendReason, Recipient, SubmissionMark
from otp_service.core.errors import (
    AccountLocked,
    ChallengeNotFound,
    DebtLimited,
    NumberLocked,
    NumberNotAllowed,
)
from otp_service.core.events import Event
from otp_service.core.known_addresses import Account, KnownAddresses
from otp_service.core.limits import (
    NUMBER_LIMITS,
    Bucket,
    Charge,
    Limit,
    LimitRefusal,
    Window,
    compute_retry_after,
)
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pumping.admissions import Admission
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtOutcome,
    DebtRefund,
    DebtSettlement,
)
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.pumping.scopes import DebtLimit, DebtUnit
from otp_service.core.timestamps import SECOND_MS


class ChallengeSnapshot(msgspec.Struct, frozen=True):
    """A challenge at the instant `now` of Redis's clock; None if it is not stored."""

    now: int
    challenge: Challenge | None
    secret: ChallengeSecret | None

    def require_challenge(self) -> Challenge:
        """Return the challenge. Raises ChallengeNotFound if it no longer exists."""
        if self.challenge is None:
            raise ChallengeNotFound
        return self.challenge


class CompareAndSwap(msgspec.Struct, frozen=True):
    """Replace `old` by `new` if it is still stored; None for `old` if nothing may be stored."""

    old: Challenge | None
    new: Challenge
    secret: ChallengeSecret | msgspec.UnsetType | None = msgspec.UNSET
    """None deletes the stored secret, unset keeps it."""
    deadline: int = 0
    """The instant from which the swap is refused (exclusive); 0 for none."""


class Refund(msgspec.Struct, frozen=True):
    """The reversal of a charge of the commit with this operation id.

    It applies once, and only while the store has a record that the charge was applied. If there is
    no record, the charge stays; a charge that arrives after its refund is not applied.
    """

    charge: Charge
    operation_id: str


class RecordName(msgspec.Struct, frozen=True):
    """What a record about an account is of: its state, or the answer to an Idempotency-Key.

    `id` is the `state_id` of an authenticator, the random id in the token of a recovery set, or for an
    answer what identifies the call at its tenant: its path and its key. The key name has only a hash of it.
    """

    kind: Literal["authenticator", "recovery", "answer"]
    tenant: str
    id: str


class StoredRecord(msgspec.Struct, frozen=True):
    """A record about an account; the service decodes the body."""

    version: int
    body: bytes
    expires_at: int = 0
    """Milliseconds since 1970."""


class RecordSwap(msgspec.Struct, frozen=True):
    """Replace a record that has this version by the next version."""

    name: RecordName
    old_version: int
    """0 if nothing may be stored."""
    body: bytes
    expires_at: int
    """Milliseconds since 1970; the record is deleted then, and by this commit if that is past."""


class PointerName(msgspec.Struct, frozen=True):
    """The number whose verification a check without an id means, at a tenant and Verify Service."""

    tenant: str
    service: str
    phone: PhoneNumber


class Pointer(msgspec.Struct, frozen=True):
    """The newest verification of a number, as it is stored."""

    version: int = 0
    """0 if a new one replaces nothing: there is no pointer, or one under an earlier limit key."""
    challenge_id: str | None = None


class PointerSwap(msgspec.Struct, frozen=True):
    """Replace a pointer that has this version, 0 for none, until an instant in milliseconds."""

    name: PointerName
    old_version: int
    challenge_id: str
    expires_at: int


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One decision in one partition: all of it is applied, with its events, or none of it."""

    partition: int
    operation_id: str
    swap: CompareAndSwap | None = None
    recipient: Recipient | None = None
    """Of a send: the number that must not be on the do-not-send list, for all tenants or for its own."""
    submission_marks: tuple[SubmissionMark, ...] = ()
    """What a message from a phone is expected after; a later mark replaces, or deletes, an earlier one."""
    charges: tuple[Charge, ...] = ()
    refunds: tuple[Refund, ...] = ()
    reset_buckets: tuple[Bucket, ...] = ()
    events: tuple[Event, ...] = ()
    event_if_refused: Event | None = None
    """Appended instead of `events` if a charge or the do-not-send list refuses; may be folded."""
    foldable_event: Event | None = None
    """An event of `events.FOLDABLE_EVENTS`, such as a refusal that was decided earlier: appended with
    `events`; may be folded."""
    durable: bool = False
    """Whether the commit waits for replicas."""
    only_with_refunds: bool = False
    """Whether it changes nothing unless each of its refunds applies."""
    requires_log_capacity: bool = False
    """Whether it starts what ends in an event of `events.GRANT_EVENTS`."""
    reads: tuple[RecordName, ...] = ()
    """The records to return, as they are in the step that charges. They are not read if the commit
    is refused."""
    record_swaps: tuple[RecordSwap, ...] = ()
    """All of them must fit, or the outcome is a RecordConflict. Not together with `swap`."""
    pointer_swap: PointerSwap | None = None
    """Only together with `swap`. If it does not fit, the outcome is a Conflict."""
    known_addresses_of: Account | None = None
    """The account whose known addresses `Committed` returns."""
    new_known_addresses: tuple[Account, KnownAddresses] | None = None
    """The known addresses that replace those of the account."""
    debts: DebtCommit | None = None
    """What the send may leave unverified: the brake on SMS pumping."""
    debt_refunds: tuple[DebtRefund, ...] = ()
    settlement: DebtSettlement | None = None
    """What a challenge that has verified repays."""


class Committed(msgspec.Struct, frozen=True):
    now: int
    consecutive_failures: int = 0
    """The count after this commit, if it charged one of CONSECUTIVE_LIMITS."""
    epoch: int = 0
    """The instant at which Redis may last have lost records of the partition: its epoch began, or its
    clock was set back. 0 if the commit has neither reads nor events."""
    records: tuple[StoredRecord | None, ...] = ()
    """One for each of `Commit.reads`, as it was before the commit; None if it is not stored."""
    known_addresses: KnownAddresses = KnownAddresses()
    """Those of the account that the commit names."""
    debts: DebtOutcome = DebtOutcome()
    raises_allowance: bool = False
    """Whether the number of `Commit.settlement` had not verified within a day."""
    pays_exempt_sends: bool = False
    """Whether that number was sent exempt messages within a day, and had not verified since."""


class Conflict(msgspec.Struct, frozen=True):
    """Another commit changed the challenge first, or the deadline of the swap has passed."""

    snapshot: ChallengeSnapshot
    """The challenge as it is now."""


class RecordConflict(msgspec.Struct, frozen=True):
    """Another commit changed one of the records first. Nothing was changed."""

    now: int
    records: tuple[StoredRecord | None, ...]
    """One for each of `Commit.record_swaps`, as it is now."""


class Locked(msgspec.Struct, frozen=True):
    """This limit refuses until an operator unlocks the subject: no wait helps."""

    limit: Limit

    def to_error(self) -> NumberLocked | AccountLocked:
        return NumberLocked() if self.limit in NUMBER_LIMITS else AccountLocked()


class Blocked(msgspec.Struct, frozen=True):
    """The number of the recipient is on the do-not-send list."""

    reason: DoNotSendReason

    def to_error(self) -> NumberNotAllowed:
        return NumberNotAllowed(self.reason)


class OverDebt(msgspec.Struct, frozen=True):
    """A scope of the brake on SMS pumping is full; after `wait_ms` milliseconds it admits the send."""

    debt: DebtRefusal
    price: int
    wait_ms: int

    def to_error(self) -> DebtLimited:
        return DebtLimited(
            self.debt.bucket.limit,
            retry_after=compute_retry_after(self.wait_ms),
            quota=self.debt.allowance // max(1, self.price),
            period_seconds=self.debt.period_ms // SECOND_MS,
            unverified=self.debt.unverified,
            allowance=self.debt.allowance,
            detail=self._describe(),
        )

    def _describe(self) -> str:
        """Return what a caller reads; empty where messages were not verified."""
        if self.debt.bucket.limit is DebtLimit.SPEND_OVERALL:
            return "The budget of the day is spent. Wait for the seconds in Retry-After."
        if not self.debt.allowance:  # a floor is over 0
            return "An operator has closed this limit. Wait for the seconds in Retry-After."
        if self.debt.bucket.limit.unit is DebtUnit.COUNTRIES:
            return (
                "Messages from this client address to too many countries were not verified. "
                "Wait for the seconds in Retry-After."
            )
        if not self.debt.bucket.limit.is_repaid:
            return "More messages were sent than usual. Wait for the seconds in Retry-After."
        return ""


CommitRefusal = LimitRefusal | Locked | Blocked | OverDebt
"""Nothing was changed; `event_if_refused` was appended."""

CommitOutcome = Committed | Conflict | RecordConflict | CommitRefusal


class Undone(msgspec.Struct, frozen=True):
    """Nothing was changed, because another commit of the call was not applied."""


class ChargeState(msgspec.Struct, frozen=True):
    """A charge of a commit that was inspected, with the state of its bucket."""

    charge: Charge
    window: Window
    """The one with the longest wait."""
    wait_ms: int | None
    """Milliseconds until the bucket admits the charge, 0 for now; None until an operator unlocks it."""
    used: tuple[int, ...]
    """The units of each window of the charge that are used."""


class DebtState(msgspec.Struct, frozen=True):
    """A scope of the brake of a commit that was inspected, whether or not it would be charged."""

    charge: DebtCharge
    is_full: bool
    wait_ms: int
    """Milliseconds until this scope admits the send; 0 for now."""
    unverified: tuple[int, int]
    """For each of `debt.PERIODS_MS`."""
    allowance: tuple[int, int]


class Inspection(msgspec.Struct, frozen=True):
    """What would be decided of a commit that only charges."""

    now: int
    """Milliseconds since 1970, by the store's clock."""
    refusal: CommitRefusal | None
    """None if the commit would be applied."""
    charges: tuple[ChargeState, ...]
    debts: tuple[DebtState, ...] = ()
    is_exempt: bool = False
    """Whether the number of its debts is known, so that nothing is charged but what always is."""
    exempt_time: ExemptTime | None = None
    admissions: tuple[Admission, ...] = ()
    """The spans from now on in which its debts admit the send."""
