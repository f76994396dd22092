"""The limits, the subject that each counts, and the arithmetic of their algorithms.

A limit is named what-per-subject. The store keeps its bucket under the limit's name and its
subject; `store/lua/buckets.lua` does this arithmetic inside Redis, and the functions here are the
model that it is tested against. Instants and spans are milliseconds.

Sliding windows keep the instants of their charges, so they have no edge at which bursts add up.
Wide limits are GCRA (as in boulder's ratelimits): constant size, named with the burst that they
admit, so a limit of 60 in 10 min admits 60 at once and then one every 10 s.
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from otp_service.core.errors import RateLimited
from otp_service.core.timestamps import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS, SECOND_MS


SECONDS_PER_UNIT = {"s": 1, "min": MINUTE_SECONDS, "h": HOUR_SECONDS, "d": DAY_SECONDS}

ROUNDING_TOLERANCE_MS = 0.5
"""Milliseconds that rounding errors may add up to without refusing the last unit of a burst."""

MAX_CONSECUTIVE_FAILURES = 100
"""Consecutive failures that lock a number or an account at the latest (NIST SP 800-63B-4 §3.2.2)."""
FAILURES_BEFORE_DELAY = 10
"""Consecutive failures after which each next attempt has to wait, longer each time (R19)."""
MIN_FAILURE_DELAY_MS, MAX_FAILURE_DELAY_MS = 30 * SECOND_MS, HOUR_SECONDS * SECOND_MS
CONSECUTIVE_FAILURES_TTL_MS = 90 * DAY_SECONDS * SECOND_MS


class Window(msgspec.Struct, frozen=True, array_like=True):
    """At most `count` in any period of `period_seconds`."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    count: int
    period_seconds: int

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Parse '5 in 10 min' or '10 in 1 d'. Raises ValueError with the expected form."""
        match = re.fullmatch(r"(\d{1,9}) in (\d{1,4}) ?(s|min|h|d)", text, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            raise ValueError(f"write a limit like '5 in 10 min' or '10 in 1 d', not {text!r}")
        return cls(int(match[1]), int(match[2]) * SECONDS_PER_UNIT[match[3]])

    def __str__(self) -> str:
        units = ("d", "h", "min", "s")
        unit = next(u for u in units if self.period_seconds % SECONDS_PER_UNIT[u] == 0)
        return f"{self.count} in {self.period_seconds // SECONDS_PER_UNIT[unit]} {unit}"


class Algorithm(StrEnum):
    SLIDING_WINDOW = "sliding-window"
    GCRA = "gcra"
    CONSECUTIVE_FAILURES = "consecutive"


class Limit(StrEnum):
    """Every limit; the comment names the subject of its bucket.

    If you add, remove or rename a limit, change these as well:

    1. here: `DEFAULT_LIMITS`; `NUMBER_LIMITS` if the subject is one number; `EXACT_LIMITS` if
       another one must not have the burst of GCRA
    2. `charges.py`: the function of the request that is charged
    3. `settings/limit_rules.py`: `TENANT_LIMITS` if the bucket belongs to one tenant
    4. `docs/limits.md`: its row in the table. If one subject of the limit can exhaust another limit:
       a pair in `NESTED_LIMITS` of `settings/limit_rules.py`
    5. `tests/golden`: write the files again, as its README describes

    A new subject (a user agent) also needs these:

    1. a field of `IssueRequest` and `VerifyRequest`; then `openapi.yaml` (generated) and the table
       of fields in `docs/api-guide.md`
    2. a field of `Subject` in `service/context.py`, and an argument of `from_request` and
       `from_challenge`; their callers are `OtpService` and `ReceiptHandler`
    3. a field of `ChallengeSecret`, so that a resend is charged to it too: the last field, with a
       default, because it is stored by position
    4. an argument of `build_caller_send_charges` (called by `CodeSender`) and of
       `build_caller_failure_charges` (called by `CodeVerifier`), and `list_charges` of the test

    tests/core/test_new_limit_steps.py names the step of the first list that is missing.
    """

    COOLDOWN = "CooldownPerNumber"  # number
    SENDS_NUMBER_TENANT = "SendsPerNumberAndTenant"  # tenant, number
    SENDS_NUMBER = "SendsPerNumber"  # number
    REFUNDS = "RefundsPerNumber"  # number
    FAILURES_NUMBER = "FailuresPerNumber"  # tenant, number
    CONSECUTIVE_FAILURES = "ConsecutiveFailuresPerNumber"  # tenant, number
    FAILURES_ACCOUNT = "FailuresPerAccount"  # tenant, account
    CONSECUTIVE_FAILURES_ACCOUNT = "ConsecutiveFailuresPerAccount"  # tenant, account
    AUTHENTICATOR_FAILURES = "AuthenticatorFailuresPerAccount"  # tenant, account
    CONSECUTIVE_AUTHENTICATOR_FAILURES = (
        "ConsecutiveAuthenticatorFailuresPerAccount"  # tenant, account
    )
    RECOVERY_FAILURES = "RecoveryFailuresPerAccount"  # tenant, account
    CONSECUTIVE_RECOVERY_FAILURES = "ConsecutiveRecoveryFailuresPerAccount"  # tenant, account
    RECOVERY_SETS = "RecoverySetsPerAccount"  # tenant, account
    FAILURES_ADDRESS = "FailuresPerClientAddress"  # tenant, factor and address
    FAILURES_TENANT = "FailuresPerTenant"  # tenant, factor
    SENDS_ADDRESS = "SendsPerClientAddress"  # tenant, address
    SENDS_ACCOUNT = "SendsPerAccount"  # tenant, account
    SENDS_PREFIX_TENANT = "SendsPerPrefixAndTenant"  # tenant, number without its last four digits
    SENDS_PREFIX = "SendsPerPrefix"  # number without its last four digits
    AUTO_RESENDS = "AutoResendsPerPrefix"  # number without its last four digits
    SENDS_COUNTRY_TENANT = "SendsPerCountryAndTenant"  # tenant, libphonenumber region
    SENDS_COUNTRY = "SendsPerCountry"  # libphonenumber region
    SENDS_TENANT = "SendsPerTenant"  # tenant
    SENDS_OVERALL = "SendsOverall"  # none: one bucket for the whole service

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of its buckets."""
        if self in CONSECUTIVE_LIMITS:
            return Algorithm.CONSECUTIVE_FAILURES
        return Algorithm.SLIDING_WINDOW if self in EXACT_LIMITS else Algorithm.GCRA


CONSECUTIVE_LIMITS = frozenset(
    {
        Limit.CONSECUTIVE_FAILURES,
        Limit.CONSECUTIVE_FAILURES_ACCOUNT,
        Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES,
        Limit.CONSECUTIVE_RECOVERY_FAILURES,
    }
)
"""The limits on failures in a row, which lock their subject."""

ACCOUNT_RECORD_LIMITS = frozenset(
    {
        Limit.AUTHENTICATOR_FAILURES,
        Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES,
        Limit.RECOVERY_FAILURES,
        Limit.CONSECUTIVE_RECOVERY_FAILURES,
        Limit.RECOVERY_SETS,
    }
)
"""The limits whose buckets are in the partition of the account, with the records of its
authenticators and recovery sets, so that one commit charges a failure and reads the record."""

NUMBER_LIMITS = frozenset(
    {
        Limit.COOLDOWN,
        Limit.SENDS_NUMBER_TENANT,
        Limit.SENDS_NUMBER,
        Limit.REFUNDS,
        Limit.FAILURES_NUMBER,
        Limit.CONSECUTIVE_FAILURES,
    }
)
"""The limits that count one number."""

EXACT_LIMITS = (
    NUMBER_LIMITS | ACCOUNT_RECORD_LIMITS | {Limit.AUTO_RESENDS, Limit.FAILURES_ACCOUNT}
) - CONSECUTIVE_LIMITS
"""The limits that admit at most their count in any period. The others are GCRA, which admits almost
twice as many in the first: ten guesses an hour at one account must be ten."""


class WideSubject(StrEnum):
    """What a limit counts that is neither a person, a number nor an address."""

    COUNTRY = "country"
    PREFIX = "prefix"
    NONE = "none"
    """One bucket, of a tenant or of the whole service."""


WIDE_LIMITS: Mapping[Limit, tuple[WideSubject, bool]] = {
    Limit.SENDS_PREFIX_TENANT: (WideSubject.PREFIX, True),
    Limit.SENDS_PREFIX: (WideSubject.PREFIX, False),
    Limit.AUTO_RESENDS: (WideSubject.PREFIX, False),
    Limit.SENDS_COUNTRY_TENANT: (WideSubject.COUNTRY, True),
    Limit.SENDS_COUNTRY: (WideSubject.COUNTRY, False),
    Limit.SENDS_TENANT: (WideSubject.NONE, True),
    Limit.FAILURES_TENANT: (WideSubject.NONE, True),
    Limit.SENDS_OVERALL: (WideSubject.NONE, False),
}
"""The limits that an operator may reset, with the subject, and whether each tenant has a bucket."""

SPENDING_CAPS = (Limit.SENDS_COUNTRY, Limit.SENDS_TENANT, Limit.SENDS_OVERALL)
"""The limits on spending; a live configuration has to set them."""

LimitTable = Mapping[Limit, tuple[Window, ...]]

DEFAULT_LIMITS: LimitTable = {
    Limit.COOLDOWN: (Window(1, 30),),
    Limit.SENDS_NUMBER_TENANT: (Window(5, 10 * MINUTE_SECONDS), Window(10, DAY_SECONDS)),
    Limit.SENDS_NUMBER: (Window(8, 10 * MINUTE_SECONDS), Window(20, DAY_SECONDS)),
    Limit.REFUNDS: (Window(3, 10 * MINUTE_SECONDS),),
    Limit.FAILURES_NUMBER: (Window(10, HOUR_SECONDS),),
    Limit.CONSECUTIVE_FAILURES: (Window(MAX_CONSECUTIVE_FAILURES, 90 * DAY_SECONDS),),
    Limit.FAILURES_ACCOUNT: (Window(10, HOUR_SECONDS),),
    Limit.CONSECUTIVE_FAILURES_ACCOUNT: (Window(MAX_CONSECUTIVE_FAILURES, 90 * DAY_SECONDS),),
    Limit.AUTHENTICATOR_FAILURES: (Window(5, 10 * MINUTE_SECONDS), Window(20, DAY_SECONDS)),
    Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES: (Window(MAX_CONSECUTIVE_FAILURES, 90 * DAY_SECONDS),),
    Limit.RECOVERY_FAILURES: (Window(5, HOUR_SECONDS), Window(20, DAY_SECONDS)),
    Limit.CONSECUTIVE_RECOVERY_FAILURES: (Window(MAX_CONSECUTIVE_FAILURES, 90 * DAY_SECONDS),),
    Limit.RECOVERY_SETS: (Window(5, DAY_SECONDS),),
    Limit.FAILURES_ADDRESS: (Window(50, HOUR_SECONDS),),
    Limit.FAILURES_TENANT: (Window(1_000, HOUR_SECONDS), Window(10_000, DAY_SECONDS)),
    Limit.SENDS_ADDRESS: (Window(30, HOUR_SECONDS),),
    Limit.SENDS_ACCOUNT: (Window(10, HOUR_SECONDS),),
    Limit.SENDS_PREFIX_TENANT: (Window(60, 10 * MINUTE_SECONDS), Window(600, DAY_SECONDS)),
    Limit.SENDS_PREFIX: (Window(60, 10 * MINUTE_SECONDS), Window(600, DAY_SECONDS)),
    Limit.AUTO_RESENDS: (Window(5, HOUR_SECONDS),),
    Limit.SENDS_COUNTRY_TENANT: (Window(2_000, HOUR_SECONDS), Window(20_000, DAY_SECONDS)),
    Limit.SENDS_COUNTRY: (Window(2_000, HOUR_SECONDS), Window(20_000, DAY_SECONDS)),
    Limit.SENDS_TENANT: (Window(5_000, HOUR_SECONDS), Window(50_000, DAY_SECONDS)),
    Limit.SENDS_OVERALL: (Window(10_000, HOUR_SECONDS), Window(100_000, DAY_SECONDS)),
}
"""The limits of one tenant that shares with no other: tenant_share.py applies smaller shares."""


class Bucket(msgspec.Struct, frozen=True):
    """One limit for one subject; `tenant` is empty if one bucket counts all tenants."""

    limit: Limit
    tenant: str = ""
    subject: str = ""


class Charge(msgspec.Struct, frozen=True):
    """The cost of one request to one bucket."""

    bucket: Bucket
    windows: tuple[Window, ...]
    cost: int = 1
    """0 changes nothing; consecutive failures refuse it only while they lock the subject."""
    force: bool = False
    """Whether to charge beyond the limit, for what has already happened."""
    initial_count: int = 0
    """The consecutive failures that are stored under an earlier limit key."""
    skip_delay: bool = False
    """Whether consecutive failures refuse it only while they lock the subject."""


class LimitRefusal(msgspec.Struct, frozen=True):
    """The window with the longest wait; after `wait_ms` milliseconds it admits the charge."""

    limit: Limit
    window: Window
    wait_ms: int

    @property
    def retry_after(self) -> int:
        return compute_retry_after(self.wait_ms)

    def to_error(self) -> RateLimited:
        wait, quota, seconds = self.retry_after, self.window.count, self.window.period_seconds
        return RateLimited(self.limit, retry_after=wait, quota=quota, period_seconds=seconds)


def compute_retry_after(wait_ms: int) -> int:
    """Return whole seconds, rounded up, so that waiting exactly this long succeeds."""
    return max(1, math.ceil(wait_ms / SECOND_MS))


def compute_sliding_window_wait(
    spent_at: Sequence[int], windows: Sequence[Window], cost: int, now: int
) -> int:
    """Return the wait until every window admits `cost` more; 0 if they do now.

    `spent_at` holds the instants of earlier charges, in any order; each leaves its window exactly
    one period later. One in the future, charged while the clock was ahead, counts as one of now.
    The cost must not exceed the count of a window.
    """
    spent_at = [min(instant, now) for instant in spent_at]
    waits = [0]
    for window in windows:
        period = window.period_seconds * SECOND_MS
        inside = sorted(instant for instant in spent_at if instant > now - period)
        excess = len(inside) + cost - window.count
        if excess > 0:
            waits.append(inside[excess - 1] + period - now)
    return max(waits)


def compute_gcra(tat: float, window: Window, cost: int, now: int) -> tuple[int, float]:
    """Return the wait until `cost` is admitted (0: now), and the TAT with it.

    TAT is the theoretical arrival time: the instant at which the bucket is empty again.
    """
    period = window.period_seconds * SECOND_MS
    new = max(tat, now) + cost * period / window.count
    return max(0, math.ceil(new - period - now - ROUNDING_TOLERANCE_MS)), new


def rebase_tat(tat: float, written_at: int, now: int) -> float:
    """Return a TAT after the clock was set back from `written_at`, or later, to `now`.

    The bucket stays as full as it was: a clock that was ahead for a moment must not close it until
    the clock is there again.
    """
    return tat - max(0, written_at - now)


def compute_consecutive_failures_wait(
    failures: int, last_failure_at: int, now: int, max_failures: int = MAX_CONSECUTIVE_FAILURES
) -> int | None:
    """Return the wait before the next attempt; None if only an operator can unlock the number.

    A last failure in the future counts as one of now.
    """
    if failures >= max_failures:
        return None
    if failures < FAILURES_BEFORE_DELAY:
        return 0
    doubled: int = MIN_FAILURE_DELAY_MS * 2 ** (failures - FAILURES_BEFORE_DELAY)
    return max(0, min(last_failure_at, now) + min(doubled, MAX_FAILURE_DELAY_MS) - now)
