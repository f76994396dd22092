"""Which limits there are, whom each one counts, and the arithmetic of the two kinds.

A limit is named what-per-whom. Its bucket is kept by the store under the limit's name and its
subject; `store/lua/buckets.lua` does this arithmetic inside Redis, and the functions here are the
model that it is tested against. Instants and spans are milliseconds.

Exact limits keep the instants themselves: no burst at the edge of a window. The wide ones are
GCRA (as boulder's ratelimits): constant size, named with the burst that they admit, so a limit
of 60 in 10 min admits 60 at once and then one every 10 s.
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from otp_service.core.timestamps import (
    DAY_MS,
    DAY_SECONDS,
    HOUR_MS,
    HOUR_SECONDS,
    MINUTE_SECONDS,
    SECOND_MS,
)


SECONDS_PER_UNIT = {"s": 1, "min": MINUTE_SECONDS, "h": HOUR_SECONDS, "d": DAY_SECONDS}

ROUNDING_TOLERANCE_MS = 0.5
"""Milliseconds by which fractions may add up wrong without costing a burst its last one."""

MAX_CONSECUTIVE_FAILURES = 100
"""Failures in a row after which a number is locked at the latest (NIST SP 800-63B-4 §3.2.2)."""
FAILURES_BEFORE_DELAY = 10
"""Failures in a row after which each next attempt has to wait, longer each time (R19)."""
MIN_FAILURE_DELAY_MS, MAX_FAILURE_DELAY_MS = 30 * SECOND_MS, HOUR_MS
CONSECUTIVE_FAILURES_TTL_MS = 90 * DAY_MS


class Window(msgspec.Struct, frozen=True, array_like=True):
    """At most `count` in any `period` seconds."""

    count: int
    period_seconds: int

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read '5 in 10 min' or '10 in 1 d'; ValueError says what is expected."""
        match = re.fullmatch(r"(\d{1,9}) in (\d{1,4}) ?(s|min|h|d)", text, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            raise ValueError(f"write a limit like '5 in 10 min' or '10 in 1 d', not {text!r}")
        return cls(int(match[1]), int(match[2]) * SECONDS_PER_UNIT[match[3]])

    def __str__(self) -> str:
        unit = next(
            u for u in ("d", "h", "min", "s") if self.period_seconds % SECONDS_PER_UNIT[u] == 0
        )
        return f"{self.count} in {self.period_seconds // SECONDS_PER_UNIT[unit]} {unit}"


class Algorithm(StrEnum):
    """How a bucket is kept."""

    SLIDING_WINDOW = "exact"
    GCRA = "gcra"
    CONSECUTIVE_FAILURES = "row"


class Limit(StrEnum):
    """Every limit; the comment names the subject that its bucket is keyed by.

    If you add or remove a limit, also update:
    - `DEFAULT_LIMITS`, and `NUMBER_LIMITS` if its subject is a number;
    - `core/charges.py`, which charges it;
    - `TENANT_LIMITS` in `settings/limit_rules.py`, if a tenant may have a tighter one;
    - `docs/limits.md`.
    A new subject (a user agent) is also a field of `IssueRequest` and `VerifyRequest`, of `Subject`
    in `service/context.py`, and of `ChallengeSecret`, so that a resend is charged to it too.
    """

    COOLDOWN = "CooldownPerNumber"  # number
    SENDS_NUMBER_TENANT = "SendsPerNumberAndTenant"  # tenant, number
    SENDS_NUMBER = "SendsPerNumber"  # number
    REFUNDS = "RefundsPerNumber"  # number
    FAILURES_NUMBER = "FailuresPerNumber"  # tenant, number
    CONSECUTIVE_FAILURES = "ConsecutiveFailuresPerNumber"  # tenant, number
    FAILURES_ACCOUNT = "FailuresPerAccount"  # tenant, account
    FAILURES_ADDRESS = "FailuresPerClientAddress"  # tenant, address
    SENDS_ADDRESS = "SendsPerClientAddress"  # tenant, address
    SENDS_ACCOUNT = "SendsPerAccount"  # tenant, account
    SENDS_PREFIX = "SendsPerPrefix"  # number without its last four digits
    AUTO_RESENDS = "AutoResendsPerPrefix"  # number without its last four digits
    SENDS_COUNTRY = "SendsPerCountry"  # libphonenumber region
    SENDS_TENANT = "SendsPerTenant"  # tenant
    SENDS_OVERALL = "SendsOverall"  # none: one bucket for the whole service

    @property
    def algorithm(self) -> Algorithm:
        """How its buckets are kept: exactly where the subject is one number, or the count small."""
        if self is Limit.CONSECUTIVE_FAILURES:
            return Algorithm.CONSECUTIVE_FAILURES
        return (
            Algorithm.SLIDING_WINDOW
            if self in NUMBER_LIMITS or self is Limit.AUTO_RESENDS
            else Algorithm.GCRA
        )


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
"""The limits whose buckets live in the number's own partition."""

SPENDING_CAPS = (Limit.SENDS_COUNTRY, Limit.SENDS_TENANT, Limit.SENDS_OVERALL)
"""The limits on spending, which have to be configured before anything is sent for money."""

LimitTable = Mapping[Limit, tuple[Window, ...]]

DEFAULT_LIMITS: LimitTable = {
    Limit.COOLDOWN: (Window(1, 30),),
    Limit.SENDS_NUMBER_TENANT: (Window(5, 10 * MINUTE_SECONDS), Window(10, DAY_SECONDS)),
    Limit.SENDS_NUMBER: (Window(8, 10 * MINUTE_SECONDS), Window(20, DAY_SECONDS)),
    Limit.REFUNDS: (Window(3, 10 * MINUTE_SECONDS),),
    Limit.FAILURES_NUMBER: (Window(10, HOUR_SECONDS),),
    Limit.CONSECUTIVE_FAILURES: (Window(MAX_CONSECUTIVE_FAILURES, 90 * DAY_SECONDS),),
    Limit.FAILURES_ACCOUNT: (Window(10, HOUR_SECONDS),),
    Limit.FAILURES_ADDRESS: (Window(50, HOUR_SECONDS),),
    Limit.SENDS_ADDRESS: (Window(30, HOUR_SECONDS),),
    Limit.SENDS_ACCOUNT: (Window(10, HOUR_SECONDS),),
    Limit.SENDS_PREFIX: (Window(60, 10 * MINUTE_SECONDS), Window(600, DAY_SECONDS)),
    Limit.AUTO_RESENDS: (Window(5, HOUR_SECONDS),),
    Limit.SENDS_COUNTRY: (Window(2_000, HOUR_SECONDS), Window(20_000, DAY_SECONDS)),
    Limit.SENDS_TENANT: (Window(5_000, HOUR_SECONDS), Window(50_000, DAY_SECONDS)),
    Limit.SENDS_OVERALL: (Window(10_000, HOUR_SECONDS), Window(100_000, DAY_SECONDS)),
}


class Bucket(msgspec.Struct, frozen=True):
    """One limit for one subject; `tenant` is empty where the limit holds over all tenants."""

    limit: Limit
    tenant: str = ""
    subject: str = ""


class Charge(msgspec.Struct, frozen=True):
    """What one request costs one bucket.

    A cost of 0 only looks. `force` spends beyond the limit: what has happened is counted. `base`
    is what a row of failures counts already where another key has named it.
    """

    bucket: Bucket
    windows: tuple[Window, ...]
    cost: int = 1
    force: bool = False
    initial_count: int = 0


class LimitRefusal(msgspec.Struct, frozen=True):
    """The window that refuses longest; `wait` milliseconds from now it would not."""

    limit: Limit
    window: Window
    wait_ms: int

    @property
    def retry_after(self) -> int:
        """Whole seconds, rounded up, so that waiting exactly this long succeeds."""
        return max(1, math.ceil(self.wait_ms / SECOND_MS))


def compute_sliding_window_wait(
    spent_at: Sequence[int], windows: Sequence[Window], cost: int, now: int
) -> int:
    """Return how long to wait until `cost` more fit into every window; 0 if they fit now.

    `spent` holds the instants of what was spent, in any order. An instant leaves its window
    exactly `period` after itself. The cost must not be over any window's count.
    """
    waits = [0]
    for window in windows:
        period = window.period_seconds * SECOND_MS
        inside = sorted(instant for instant in spent_at if instant > now - period)
        excess = len(inside) + cost - window.count
        if excess > 0:
            waits.append(inside[excess - 1] + period - now)
    return max(waits)


def compute_gcra(tat: float, window: Window, cost: int, now: int) -> tuple[int, float]:
    """Return (wait, new TAT): the wait is 0 if `cost` may be spent now.

    TAT is the theoretical arrival time: the instant at which the bucket is empty again.
    """
    period = window.period_seconds * SECOND_MS
    new = max(tat, now) + cost * period / window.count
    return max(0, math.ceil(new - period - now - ROUNDING_TOLERANCE_MS)), new


def compute_consecutive_failures_wait(
    failures: int, last_failure_at: int, now: int, max_failures: int = MAX_CONSECUTIVE_FAILURES
) -> int | None:
    """Return how long the next attempt must wait after this row; None if until an operator."""
    if failures >= max_failures:
        return None
    if failures < FAILURES_BEFORE_DELAY:
        return 0
    delay: int = min(
        MIN_FAILURE_DELAY_MS * 2 ** (failures - FAILURES_BEFORE_DELAY), MAX_FAILURE_DELAY_MS
    )
    return max(0, last_failure_at + delay - now)
