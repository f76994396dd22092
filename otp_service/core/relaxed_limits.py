"""The limits of calls for fictitious numbers in development and test mode.

A developer or a CI job logs in hundreds of times from 127.0.0.1 with a few numbers. In live mode these
limits do not exist: a fictitious number is refused before any charge, so they would protect no person.
"""

from typing import Final

from otp_service.core.limits import Limit, LimitTable, Window


RELAXED_FACTOR: Final = 1000

UNRELAXED_LIMITS: Final = frozenset({Limit.COOLDOWN, Limit.REFUNDS})
"""`policy.cooldown` sets the first one, and the second one never refuses a caller."""


def relax_limits(limits: LimitTable) -> LimitTable:
    """Return the limits with RELAXED_FACTOR times each count, the cooldown excepted.

    The periods stay, because a bucket that real numbers share has one mark for each of them.
    """
    return {
        limit: windows
        if limit in UNRELAXED_LIMITS
        else tuple(Window(w.count * RELAXED_FACTOR, w.period_seconds) for w in windows)
        for limit, windows in limits.items()
    }
