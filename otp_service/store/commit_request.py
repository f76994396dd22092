"""The commit script's request, packed: the fields and their order are lua/commit.lua's."""

from collections.abc import Sequence
from importlib.resources import files

import msgspec

from otp_service.core import limits
from otp_service.core.limits import Window


COMMIT_LUA = (files("otp_service.store") / "lua/commit.lua").read_text()
FETCH_LUA = (files("otp_service.store") / "lua/fetch.lua").read_text()
LEASE_LUA, MARK_ARCHIVED_LUA, READ_PENDING_LUA = (
    (files("otp_service.store") / f"lua/{name}.lua").read_text()
    for name in ("lease", "mark", "tail")
)

BASE_KEY_COUNT = 6
"""How many of KEYS every commit has: the operation and the five keys of the log."""

CONSECUTIVE_FAILURES_RULE = (
    limits.FAILURES_BEFORE_DELAY,
    limits.MIN_FAILURE_DELAY_MS,
    limits.MAX_FAILURE_DELAY_MS,
    limits.CONSECUTIVE_FAILURES_TTL_MS,
)


DELETE_VALUE_INDEX = 0
"""In the place of a value."""


class ScriptKeys:
    """What a request names: its place is its index in KEYS or ARGV, from 1."""

    def __init__(self, base_keys: Sequence[str]) -> None:
        self.keys = list(base_keys)
        self.values: list[bytes] = []

    def add_key(self, key: str) -> int:
        """Return the place of a key, adding it if it is new."""
        if key not in self.keys:
            self.keys.append(key)
        return self.keys.index(key) + 1

    def add_value(self, value: bytes) -> int:
        """Return the place of a value; the request itself has the first."""
        self.values.append(value)
        return len(self.values) + 1


class BucketOperation(msgspec.Struct, frozen=True, array_like=True):
    """A charge or a give-back."""

    algorithm: str
    key_index: int
    windows: tuple[Window, ...]
    cost: int
    operation: str
    force: bool
    limit: str
    masked_number: str
    initial_count: int


class CommitRequest(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What lua/commit.lua unpacks."""

    clock_shift_ms: int
    expected_versions: list[tuple[int, str]] = []
    """Place, and the version that the record there has to begin with (empty: none is there)."""
    not_after: int = 0
    returned_keys: list[int] = []
    writes: list[tuple[int, int, int]] = []
    """Place, place of the value, and the instant until which it lives (0: for ever)."""
    absent_keys: list[int] = []
    charges: list[BucketOperation] = []
    refunds: list[BucketOperation] = []
    reset_buckets: list[int] = []
    events: list[tuple[str, str]] = []
    event_if_refused: tuple[str, str, str, str] | None = None
    """Event, MAC, the name under which it folds, client address."""
    foldable_event: tuple[str, str, str, str] | None = None
    max_flushed_folds: int = 2
    """How many folds that are due to flush on the way."""
    epoch_event: tuple[str, str]
    log_limits: tuple[int, int, bool]
    """Retention in milliseconds, the most entries of a stream, and whether they are archived."""
    consecutive_failures_rule: tuple[int, ...] = CONSECUTIVE_FAILURES_RULE
    requires_log_capacity: bool = False
    """Whether it is refused while the log has no room."""


pack_request = msgspec.msgpack.Encoder().encode
