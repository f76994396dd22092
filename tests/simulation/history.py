"""What was observed of one run: calls, messages, comparisons, faults, events and stored bytes.

A history holds values of the contract and nothing of the implementation, so the same auditor
judges a simulated run and a run of real processes. Every instant is in milliseconds of true time
since 1970: the clocks of hosts and of the store may jump, that of the `Recorder` (recorder.py) does
not. Instants inside of a value or an event are by the clock of the store.

The kinds of calls, their arguments, and the members of their value (with the names of the HTTP
contract; instants are numbers; an argument that a caller leaves out is missing or None):

    kind                    arguments                                        value
    issue                   phone_number account client_ip idempotency_key   id status expires_at
                            purpose known bot_check                          attempts_left sends_left
    resend                  challenge idempotency_key                        the same
    verify                  challenge code account client_ip purpose         id status verified_at
                            phone_number idempotency_key
    get                     challenge                                        that of issue
    cancel                  challenge                                        (empty)
    deliver                 phone_number code account client_ip              id
                            idempotency_key valid_minutes
    create_authenticator    account secret                                   authenticator secret
                                                                             expires_at
    confirm_authenticator   authenticator account code idempotency_key       authenticator
    verify_authenticator    the same, purpose client_ip                      authenticator verified_at
    create_recovery_codes   account                                          recovery_set codes
    verify_recovery_code    recovery_set account code client_ip              recovery_set codes_left
                            idempotency_key
    unlock_number           phone_number                                     (empty)
    unlock_account          account tenant                                   (empty)
    block_number            phone_number                                     (empty)
    unblock_number          phone_number                                     (empty)
    receive_message         provider phone_number keyword own_number         result
    receive_receipt         provider reference status trusted                (empty)
    auto_resend             provider reference                               (empty)
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec


PlainValue: TypeAlias = str | int | float | bool | list[str] | None


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """A 2xx answer."""

    value: Mapping[str, PlainValue] = {}


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A 4xx answer, or 502 `delivery-failed`."""

    reason: str
    """The slug of the problem type, such as `rate-limited`."""
    retry_after: int | None = None
    """Seconds."""
    limit: str | None = None
    details: Mapping[str, PlainValue] = {}
    """The other members of the problem: `attempts_left`, `reason`, `id`."""


class Unavailable(msgspec.Struct, frozen=True, tag="unavailable"):
    """A 503 answer."""

    reason: Literal["store-unavailable", "overloaded"] = "store-unavailable"
    retry_after: int | None = None
    """Seconds."""


class Canceled(msgspec.Struct, frozen=True, tag="canceled"):
    """The caller gave up, so what the service would have answered is unknown."""


class Crashed(msgspec.Struct, frozen=True, tag="crashed"):
    """The worker died during the call."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An exception that the contract does not know: 500 `internal-error`."""

    error: str
    """The type of the exception and where it was raised."""


Outcome: TypeAlias = Answered | Refused | Unavailable | Canceled | Crashed | Failed


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call of an actor, with what was answered."""

    number: int
    """Its number in order of start, from 0."""
    actor: str
    tenant: str
    """Empty for providers and commands, which act for every tenant."""
    worker: str
    kind: str
    arguments: Mapping[str, PlainValue]
    request: str
    """The request id that the events of this call have."""
    started_at: int
    ended_at: int | None = None
    """None if it never ended."""
    outcome: Outcome | None = None


class SubmissionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One message that a provider was given."""

    at: int
    """The instant at which the provider was asked."""
    provider: str
    tenant: str
    number: str
    """E.164."""
    code: str
    challenge: str
    """The id of the challenge or the delivery, as its reference has it."""
    send: int
    """Which code of the challenge, from 1."""
    ordinal: int
    """Which submission of that send, from 1."""
    is_taken: bool
    """Whether the provider really took the message."""
    answer: Literal["accepted", "refused", "unknown"] | None
    """What the caller of the provider learned; None if it did not live to learn it."""
    fault: Literal["recipient", "provider", "unknown"] | None = None
    call: int | None = None
    """The number of the call that sent it; None if that is unknown."""


class ComparisonRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the hash of an entered code, seen at the hasher.

    An authenticator has no hash, so its comparisons are known from answers alone.
    """

    at: int
    worker: str
    call: int | None
    """The number of the call; None if that is unknown."""
    subject: str
    """The id of the challenge, or the token of the recovery set that the call named."""
    code: str
    is_right: bool | None = None
    """Whether the code was one that a live message had; None if the recorder cannot know."""
    salt: str = ""
    """In hexadecimal, as the hasher was given it; empty if it is not known."""


class FaultKind(StrEnum):
    """What was done to the installation; the comment names the target.

    A fault of a store or a replica concerns the servers that the installation uses: that of a store
    also ends when another server takes its place, and that of a replica when it acknowledges again.
    """

    WORKER_CRASH = "worker crash"  # worker
    WORKER_RESTART = "worker restart"  # worker; also one that a deployment replaces
    LINK_CUT = "link cut"  # host and address
    LINK_FROZEN = "link frozen"  # host and address
    LINK_SLOW = "link slow"  # host and address
    PARTITION = "partition"  # both hosts
    STORE_DOWN = "store down"  # server
    STORE_FULL = "store full"  # server
    STORE_READ_ONLY = "store read-only"  # server
    STORE_LOADING = "store loading"  # server
    STORE_RESTART = "store restart"  # server
    STORE_REPLACED = "store replaced"  # server: an empty one answers in its place
    STORE_FAILOVER = "store failover"  # the replica that was promoted
    REPLICA_DOWN = "replica down"  # replica
    REPLICA_SLOW = "replica slow"  # replica
    STORE_CLOCK = "store clock"  # server
    HOST_CLOCK = "host clock"  # host
    HOST_PAUSED = "host paused"  # host: nothing of it runs
    ARCHIVE_FULL = "archive full"
    ARCHIVE_DOWN = "archive down"
    PROVIDER = "provider"  # provider: it fails, lies, is slow, or sends receipts in disorder
    HASHER_SLOW = "hasher slow"  # worker
    KEY_ROTATION = "key rotation"  # ring
    CANCELLATION = "cancellation"  # call
    SEALER_DOWN = "sealer down"  # host
    ARCHIVE_DISK = "archive disk"  # how: it is full, fails, is slow, or is locked
    SINK_DOWN = "sink down"  # sink


class FaultRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that was injected."""

    kind: FaultKind
    at: int
    until: int | None = None
    """When it ended; equal to `at` for an instant, None if it lasts until the end of the run."""
    target: str = ""
    lost_writes: int = 0
    """Of a failover or a restart: the writes that the server had acknowledged and lost."""
    jump_ms: int = 0
    """Of a clock: how far it was set; negative for back. It is set right at `until`, if that is known."""


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the event log, from the store or the archive."""

    partition: int
    at: int
    """The instant in its id, by the clock of the store."""
    sequence: int
    epoch: int
    members: Mapping[str, object]
    """The members of the event, replaced by those of the stamp, as the API shows them."""
    is_authentic: bool = True
    """Whether its MAC is that of a worker."""


class StoredBytes(msgspec.Struct, frozen=True, kw_only=True):
    """One value that was stored, archived, exported or logged."""

    place: str
    """A key of the store, the name of a file, or `log` of a worker."""
    content: bytes


class ArchiveFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What `otp-service audit verify` reports."""

    kind: str
    text: str


class ArchiveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the sealers of a run have archived, also what retention has deleted since."""

    lines: tuple[bytes, ...] = ()
    delivered: tuple[bytes, ...] = ()
    """The lines that the sink has got."""
    events: tuple[StoredEvent, ...] = ()
    log_events: tuple[StoredEvent, ...] = ()
    """The events that the store still has at the end."""
    gaps: tuple[str, ...] = ()
    """The lines that declare missing events."""
    findings: tuple[ArchiveFinding, ...] = ()
    proof_errors: tuple[str, ...] = ()
    """Of proofs of some events by the service."""
    unsealed_count: int = 0
    waiting_count: int = 0
    """The events that the log counts as not archived."""
    lost_positions: tuple[str, ...] = ()
    """Of events that a machine lost, although the log counted them as archived then."""
    is_caught_up: bool = True
    """Whether the archive had every event some time after the faults."""


class StoredDebt(msgspec.Struct, frozen=True, kw_only=True):
    """What the brake counts as unverified in one scope, once the world has come to rest."""

    limit: str
    subject: tuple[str, ...]
    """The range or the operator block; the tenant, and the country or the network of an address."""
    messages: float
    """Of about a day; one after a bot check that has passed is half a message."""
    read_at: int


class StoredBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says is used of one limit for one subject, once every refund was applied."""

    limit: str
    subject: tuple[str, ...]
    """The tenant, unless it counts all of them, and the number or the account."""
    used: tuple[int, ...]
    """The units of each window, in the order in which the settings have them."""
    asked_at: int
    read_at: int
    """It was read between these instants."""


class TenantRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the calls of one tenant."""

    limits: Mapping[str, tuple[tuple[int, int], ...]] = {}
    """By the name of the limit: each window's count, and its period in seconds."""
    brake_mode: Literal["off", "record", "refuse"] = "off"


class AuditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What judgements need to know of the installation."""

    tenants: Mapping[str, TenantRules]
    lifetime_ms: int = 300_000
    max_attempts: int = 5
    max_sends: int = 3
    max_live_codes: int = 2
    code_digits: int = 6
    is_replicated: bool = False
    """Whether each replica that may be promoted is among those that `WAIT` has to hear of."""
    call_deadline_ms: int = 15_000
    """How long a call may take without faults, at most: docs/api-guide.md, Timeouts and repeats."""
    probe_actors: frozenset[str] = frozenset()
    """The actors that log in after the faults, and follow `Retry-After`."""
    sender_tenants: Mapping[str, str] = {}
    """By our own number: the tenant whose it is alone, so that STOP to it is of this tenant."""
    secrets: tuple[str, ...] = ()
    """API keys, callback tokens, keys of rings: what no stored byte has."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    seed: str
    settings: AuditSettings
    calls: tuple[CallRecord, ...] = ()
    submissions: tuple[SubmissionRecord, ...] = ()
    comparisons: tuple[ComparisonRecord, ...] = ()
    faults: tuple[FaultRecord, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    stored: tuple[StoredBytes, ...] = ()
    archive: ArchiveRecord | None = None
    """None for a run without sealers."""
    debts: tuple[StoredDebt, ...] = ()
    """Empty where nothing has read them."""
    budgets: tuple[StoredBudget, ...] = ()
    """Empty where nothing has read them."""
    unhandled_errors: tuple[str, ...] = ()
    """Exceptions that the event loop had to handle."""
    started_at: int = 0
    calm_since: int = 0
    """The instant from which there were no more faults."""
    ended_at: int = 0
