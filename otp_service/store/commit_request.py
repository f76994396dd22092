"""The commit script, the script that only inspects, and the request that both unpack.

To add a field, add it to a struct here and read it by its name in `lua/`: the functions that unpack
the structs are generated from their fields.
"""

import re
from importlib.resources import files

import msgspec

from otp_service.core import limits
from otp_service.core.limits import Window
from otp_service.core.pumping.commits import RepaidSend
from otp_service.core.pumping.known_number import ExemptTime


class BucketOperation(msgspec.Struct, frozen=True, array_like=True):
    """A charge or a refund."""

    algorithm: str
    key_index: int
    windows: tuple[Window, ...]
    cost: int
    operation_key_index: int
    """The key of the reply of the charge."""
    limit: str
    force: bool = False
    subject_index: int = 0
    """The argument with the sealed subject, for a charge of consecutive failures; 0 for none."""
    initial_count: int = 0
    skip_delay: bool = False


class ExpectedVersion(msgspec.Struct, frozen=True, array_like=True):
    """A key, and the version with which its record must begin; empty if there must be no record."""

    key_index: int
    version: str


class AbsentKey(msgspec.Struct, frozen=True, array_like=True):
    """A key that must be missing, and the reason of the refusal if it exists.

    No index refuses in any case: what exists is in another partition.
    """

    key_index: int
    reason: str


class KeyWrite(msgspec.Struct, frozen=True, array_like=True):
    """A value to write until an instant in milliseconds, 0 for ever; no index deletes the key."""

    key_index: int
    value_index: int = 0
    expires_at: int = 0


class SignedEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as JSON, with its MAC."""

    body: str
    mac: str


class FoldableEvent(SignedEvent, frozen=True, array_like=True):
    """The event of a refusal; refusals with one `fold_name` and one limit or reason may fold."""

    fold_name: str
    client_ip: str


class LogLimits(msgspec.Struct, frozen=True, array_like=True):
    """How long and how many entries a partition keeps, and whether an archive must have them."""

    retention_ms: int
    max_stream_entries: int
    has_archive: bool


class ConsecutiveFailuresRule(msgspec.Struct, frozen=True, array_like=True):
    """The delays after consecutive failures, and how long their count is kept."""

    failures_before_delay: int = limits.FAILURES_BEFORE_DELAY
    min_delay_ms: int = limits.MIN_FAILURE_DELAY_MS
    max_delay_ms: int = limits.MAX_FAILURE_DELAY_MS
    ttl_ms: int = limits.CONSECUTIVE_FAILURES_TTL_MS


class DebtOperation(msgspec.Struct, frozen=True, array_like=True):
    """What a send is charged in one scope (`core.pumping.decision.DebtCharge`)."""

    key_index: int
    price: int
    floors: tuple[int, ...]
    unverified_share: float
    margin: float
    usual_verified: tuple[int, ...]
    deviations: float
    limit: str
    refuses: bool
    is_always_charged: bool
    open_until: int
    closed_until: int
    recorded_from: int
    """These three are 0 for never."""
    country: str | None = None
    """The country of the message, if the scope counts countries."""


class TrafficChange(msgspec.Struct, frozen=True, array_like=True):
    """What a send adds to the hourly totals of its country, and the member of their index."""

    key_index: int
    index_key_index: int
    member: str
    kind: str = ""
    """The letter of the total (store/README.md); a settlement has none, since it changes several."""
    amount: int = 0


class DebtCharges(msgspec.Struct, frozen=True, array_like=True):
    """The debts of one send in one partition."""

    operations: list[DebtOperation]
    known_key: int = 0
    """Index of the key of the record of a known number; 0 for none."""
    is_assumed_known: bool = False
    earlier_cause: int = 0
    """Why it is not charged: 1 if an earlier commit was exempt, 2 if it was over; 0 if it is."""
    traffic: TrafficChange | None = None
    exempt_time: ExemptTime | None = None
    """When an earlier commit has found that the number is exempt, if it has."""


class DebtReversal(msgspec.Struct, frozen=True, array_like=True):
    """The refund of debts; the charges are in the order of the commit that charged them."""

    operation_key_index: int
    charges: DebtCharges


class Repayment(msgspec.Struct, frozen=True, array_like=True):
    """What the sends of one challenge were charged in one scope."""

    key_index: int
    sends: tuple[RepaidSend, ...]
    country: str | None = None


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """What a challenge that has verified repays in one partition."""

    repayments: list[Repayment]
    known_key: int = 0
    """Index of the key of the record of the number that is known from now on; 0 for none."""
    raises_allowance: bool = False
    pays_exempt_sends: bool = False
    traffic: TrafficChange | None = None
    traffic_sends: tuple[RepaidSend, ...] = ()


class CommitRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One decision of the commit script."""

    # Encoded by position, like each struct here; lua/ reads the fields by generated names, and
    # tests/golden/test_stored_bytes.py holds their order.

    key_count: int
    argument_count: int
    """The arguments of this commit: the request, then the values that it writes."""
    clock_shift_ms: int
    expected_versions: list[ExpectedVersion] = []
    deadline: int = 0
    """The instant in milliseconds from which the reply is 'late'; 0 for none."""
    returned_keys: list[int] = []
    """Indexes of the keys whose values a conflict returns."""
    writes: list[KeyWrite] = []
    absent_keys: list[AbsentKey] = []
    """The first that exists refuses."""
    charges: list[BucketOperation] = []
    refunds: list[BucketOperation] = []
    reset_buckets: list[int] = []
    events: list[SignedEvent] = []
    event_if_refused: FoldableEvent | None = None
    foldable_event: FoldableEvent | None = None
    max_flushed_folds: int = 2
    epoch_event: SignedEvent | None = None
    """The event of a new epoch, once a reply says that it is needed."""
    log_limits: LogLimits
    consecutive_failures_rule: ConsecutiveFailuresRule = ConsecutiveFailuresRule()
    requires_log_capacity: bool = False
    """Whether the reply is 'full' while the log has no capacity."""
    only_with_refunds: bool = False
    """Whether nothing is changed unless each refund applies."""
    read_keys: list[int] = []
    """Indexes of the keys whose values 'done' returns."""
    all_or_none: bool = False
    """Whether all commits of the call are applied, or none; it is the same in each of them."""
    addresses_key: int = 0
    """Index of a key whose value 'done' returns as the last, without an epoch; 0 for none."""
    debts: DebtCharges | None = None
    debt_refunds: list[DebtReversal] = []
    settlement: Settlement | None = None
    limit_key_id: str = ""
    """The id of the key that names a known number, if the commit has one: its record shows it."""


pack_request = msgspec.msgpack.Encoder().encode

_FIELD_INDEXES = {
    f"{prefix}_{field.upper()}": str(index)
    for prefix, struct in {
        "REFUND": BucketOperation,
        "EXPECTED": ExpectedVersion,
        "ABSENT": AbsentKey,
        "WRITE": KeyWrite,
        "WINDOW": Window,
        "EVENT": FoldableEvent,  # begins with the fields of SignedEvent
        "LOG": LogLimits,
        "RULE": ConsecutiveFailuresRule,
        "DEBTS": DebtCharges,
        "TRAFFIC": TrafficChange,
        "REVERSAL": DebtReversal,
        "REPAYMENT": Repayment,
        "SETTLEMENT": Settlement,
        "SEND": RepaidSend,
    }.items()
    for index, field in enumerate(struct.__struct_fields__, 1)
}


def read_lua(name: str) -> str:
    return (files("otp_service.store") / f"lua/{name}.lua").read_text()


def _generate_unpacker(name: str, struct: type[msgspec.Struct]) -> str:
    """Return a Lua function that returns a packed struct as a table of its fields."""
    fields = (f"{field} = packed[{i}]" for i, field in enumerate(struct.__struct_fields__, 1))
    return f"local function unpack_{name}(packed)\n  return {{ {', '.join(fields)} }}\nend\n"


def _join_script(shebang: str, *names: str) -> str:
    """Return a script of these parts, with the functions that unpack its request.

    Names such as WRITE_EXPIRES_AT become numbers here: Lua locals for them cost 3 us a call.
    """
    unpackers = _generate_unpacker("request", CommitRequest)
    unpackers += _generate_unpacker("bucket_operation", BucketOperation)
    unpackers += _generate_unpacker("debt_operation", DebtOperation)
    parts = "\n".join(map(read_lua, names))
    constant = re.compile(r"\b[A-Z]+_[A-Z_]+\b")
    return f"{shebang}\n{unpackers}\n" + constant.sub(
        lambda match: _FIELD_INDEXES.get(match[0], match[0]), parts
    )


_DEBT_PARTS = ("debts", "debt_countries", "debt_records", "debt_commit")

COMMIT_LUA = _join_script("#!lua", "log", "folding", "buckets", *_DEBT_PARTS, "refusal", "commit")

INSPECT_LUA = _join_script(
    "#!lua flags=no-writes", "log", "buckets", *_DEBT_PARTS, "refusal", "inspect"
)
"""Decides charges with the code that the commit script decides with."""
