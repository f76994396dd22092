"""Bounds beyond which a limit is as good as none: a limit that is merely present protects nothing.

A bound is a multiple of the default, over the period of the default: what matters is how much a limit
admits in the minutes, the hour or the day in which it is meant to stop an attacker.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from otp_service.core.limits import (
    ACCOUNT_RECORD_LIMITS,
    CONSECUTIVE_LIMITS,
    DEFAULT_LIMITS,
    NUMBER_LIMITS,
    Limit,
    Window,
)
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.limit_rules import FIXED_LIMIT_REMEDIES


PERSONAL_LIMITS = (
    NUMBER_LIMITS | ACCOUNT_RECORD_LIMITS | {Limit.SENDS_ACCOUNT, Limit.FAILURES_ACCOUNT}
)
"""The limits on what one person does, whose needs are the same at every service."""

BOUND_ELSEWHERE = {*FIXED_LIMIT_REMEDIES, *CONSECUTIVE_LIMITS}

MAX_PERSONAL_FACTOR = 10
MAX_SHARED_FACTOR = 100
"""Many people share an address, a prefix or a country: the need depends on the size of the service."""


def find_loose_limits(
    section: str, limits: Mapping[Limit, Sequence[Window]]
) -> Iterator[ConfigIssue]:
    """Yield each limit that admits more than a multiple of its default in a period of the default."""
    for limit in sorted(limits.keys() - BOUND_ELSEWHERE):
        windows = limits[limit]
        factor = MAX_PERSONAL_FACTOR if limit in PERSONAL_LIMITS else MAX_SHARED_FACTOR
        for default in DEFAULT_LIMITS[limit] if windows else ():
            bound = Window(default.count * factor, default.period_seconds)
            admitted = min(count_admitted(window, bound.period_seconds) for window in windows)
            if admitted > bound.count:
                remedy = f"is as good as none: admit at most {bound}, which is {factor} times the default"
                yield ConfigIssue(f"{section}.{limit}", remedy)
                break


def count_admitted(window: Window, period_seconds: int) -> int:
    """Return the most that the window admits in the period."""
    return window.count * math.ceil(period_seconds / window.period_seconds)
