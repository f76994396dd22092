"""Which limits there are, whom each one counts, and the arithmetic of the two kinds.

A limit is named what-per-whom. Its bucket is kept by the store under the limit's name and its
subject; `store/lua/commit.lua` does this arithmetic inside Redis, and the functions here are the
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


MINUTE, HOUR, DAY = 60, 3600, 86400
UNITS = {"s": 1, "min": MINUTE, "h": HOUR, "d": DAY}

ROUNDING = 0.5
"""Milliseconds by which fractions may add up wrong without costing a burst its last one."""

ROW_LIMIT = 100
"""Failures in a row after which a number is locked at the latest (NIST SP 800-63B-4 §3.2.2)."""
ROW_PATIENCE = 10
"""Failures in a row after which each next attempt has to wait, longer each time (R19)."""
ROW_FIRST_DELAY, ROW_LAST_DELAY = 30 * 1000, HOUR * 1000
ROW_MEMORY = 90 * DAY * 1000


class Window(msgspec.Struct, frozen=True, array_like=True):
    """At most `count` in any `period` seconds."""

    count: int
    period: int

    @classmethod
    def read(cls, text: str) -> "Window":
        """Read '5 in 10 min' or '10 in 1 d'; ValueError says what is expected."""
        match = re.fullmatch(r"(\d{1,9}) in (\d{1,4}) ?(s|min|h|d)", text, re.ASCII)
        if not match or not int(match[1]) or not int(match[2]):
            raise ValueError(f"write a limit like '5 in 10 min' or '10 in 1 d', not {text!r}")
        return cls(int(match[1]), int(match[2]) * UNITS[match[3]])

    def __str__(self) -> str:
        unit = next(u for u in ("d", "h", "min", "s") if self.period % UNITS[u] == 0)
        return f"{self.count} in {self.period // UNITS[unit]} {unit}"


class Kind(StrEnum):
    """How a bucket is kept."""

    EXACT = "exact"
    GCRA = "gcra"
    ROW = "row"


class Limit(StrEnum):
    """Every limit; the comment names the subject that its bucket is keyed by."""

    COOLDOWN = "CooldownPerNumber"  # number
    SENDS_NUMBER_TENANT = "SendsPerNumberAndTenant"  # tenant, number
    SENDS_NUMBER = "SendsPerNumber"  # number
    GIVE_BACKS = "GiveBacksPerNumber"  # number
    FAILURES_NUMBER = "FailuresPerNumber"  # tenant, number
    ROW = "FailuresInARowPerNumber"  # tenant, number
    FAILURES_ACCOUNT = "FailuresPerAccount"  # tenant, account
    FAILURES_ADDRESS = "FailuresPerClientAddress"  # tenant, address
    SENDS_ADDRESS = "SendsPerClientAddress"  # tenant, address
    SENDS_ACCOUNT = "SendsPerAccount"  # tenant, account
    SENDS_PREFIX = "SendsPerPrefix"  # number without its last four digits
    RESCUES = "RescuesPerPrefix"  # number without its last four digits
    SENDS_COUNTRY = "SendsPerCountry"  # libphonenumber region
    SENDS_TENANT = "SendsPerTenant"  # tenant
    SENDS_OVERALL = "SendsOverall"  # nobody: one bucket

    @property
    def kind(self) -> Kind:
        """How its buckets are kept: exactly where the subject is one number, or the count small."""
        if self is Limit.ROW:
            return Kind.ROW
        return Kind.EXACT if self in NUMBERS_OWN or self is Limit.RESCUES else Kind.GCRA


NUMBERS_OWN = frozenset(
    {
        Limit.COOLDOWN,
        Limit.SENDS_NUMBER_TENANT,
        Limit.SENDS_NUMBER,
        Limit.GIVE_BACKS,
        Limit.FAILURES_NUMBER,
        Limit.ROW,
    }
)
"""The limits whose buckets live in the number's own partition."""

CAPS = (Limit.SENDS_COUNTRY, Limit.SENDS_TENANT, Limit.SENDS_OVERALL)
"""The limits on spending, which have to be configured before anything is sent for money."""

Rates = Mapping[Limit, tuple[Window, ...]]

DEFAULTS: Rates = {
    Limit.COOLDOWN: (Window(1, 30),),
    Limit.SENDS_NUMBER_TENANT: (Window(5, 10 * MINUTE), Window(10, DAY)),
    Limit.SENDS_NUMBER: (Window(8, 10 * MINUTE), Window(20, DAY)),
    Limit.GIVE_BACKS: (Window(3, 10 * MINUTE),),
    Limit.FAILURES_NUMBER: (Window(10, HOUR),),
    Limit.ROW: (Window(ROW_LIMIT, 90 * DAY),),
    Limit.FAILURES_ACCOUNT: (Window(10, HOUR),),
    Limit.FAILURES_ADDRESS: (Window(50, HOUR),),
    Limit.SENDS_ADDRESS: (Window(30, HOUR),),
    Limit.SENDS_ACCOUNT: (Window(10, HOUR),),
    Limit.SENDS_PREFIX: (Window(60, 10 * MINUTE), Window(600, DAY)),
    Limit.RESCUES: (Window(5, HOUR),),
    Limit.SENDS_COUNTRY: (Window(2_000, HOUR), Window(20_000, DAY)),
    Limit.SENDS_TENANT: (Window(5_000, HOUR), Window(50_000, DAY)),
    Limit.SENDS_OVERALL: (Window(10_000, HOUR), Window(100_000, DAY)),
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
    base: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """The window that refuses longest; `wait` milliseconds from now it would not."""

    limit: Limit
    window: Window
    wait: int

    @property
    def retry_after(self) -> int:
        """Whole seconds, rounded up, so that waiting exactly this long succeeds."""
        return max(1, math.ceil(self.wait / 1000))


def exact_wait(spent: Sequence[int], windows: Sequence[Window], cost: int, now: int) -> int:
    """Return how long to wait until `cost` more fit into every window; 0 if they fit now.

    `spent` holds the instants of what was spent, in any order. An instant leaves its window
    exactly `period` after itself. The cost must not be over any window's count.
    """
    waits = [0]
    for window in windows:
        period = window.period * 1000
        inside = sorted(instant for instant in spent if instant > now - period)
        excess = len(inside) + cost - window.count
        if excess > 0:
            waits.append(inside[excess - 1] + period - now)
    return max(waits)


def gcra(tat: float, window: Window, cost: int, now: int) -> tuple[int, float]:
    """Return (wait, new TAT): the wait is 0 if `cost` may be spent now.

    TAT is the theoretical arrival time: the instant at which the bucket is empty again.
    """
    period = window.period * 1000
    new = max(tat, now) + cost * period / window.count
    return max(0, math.ceil(new - period - now - ROUNDING)), new


def row_wait(failures: int, last: int, now: int, limit: int = ROW_LIMIT) -> int | None:
    """Return how long the next attempt must wait after this row; None if until an operator."""
    if failures >= limit:
        return None
    if failures < ROW_PATIENCE:
        return 0
    delay: int = min(ROW_FIRST_DELAY * 2 ** (failures - ROW_PATIENCE), ROW_LAST_DELAY)
    return max(0, last + delay - now)
