"""What is learned from the hourly totals of a scope: the share u, its margin m, the usual volume.

A worker writes the totals, and each process reads what follows from them once a minute. Amounts are
those of `prices.py`. Known numbers are not among them, since they draw on no debt.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from otp_service.core.pumping.allowance import NO_FIGURES, Figures


_T = TypeVar("_T")


class HourTotals(msgspec.Struct, frozen=True):
    """What was sent in one hour and verified, or not. Missing hours are zero."""

    verified: int = 0
    unverified: int = 0
    volume: int = 0
    """What deliveries and sends in outages have cost."""
    has_refusals: bool = False


class Learning(msgspec.Struct, frozen=True):
    """How much is concluded from the totals."""

    min_margin: float = 0.15
    max_margin: float = 0.6
    margin_deviations: float = 4.0
    """The margin, in standard deviations of the share from day to day."""


DEFAULT_LEARNING: Final = Learning()

HISTORY_DAYS: Final = 14
DAY_HOURS: Final = 24
WEEK_HOURS: Final = 7 * DAY_HOURS
MIN_VERIFIED_SENDS: Final = 50
"""Verifications before which a scope has its floors alone."""
MIN_SHARE, MAX_SHARE = 0.2, 1.5
"""Bounds of u: of 55 % who finish, with resends, it is 1.2. One below that of 88 % is not relied on."""
DAY_WEIGHT: Final = 0.8
"""Of a day's share in the average, compared with that of the day after it."""
MIN_SPREAD_DAYS: Final = 5
VOLUME_FACTOR: Final = 3
"""How many times its usual volume a scope may have that cannot verify."""


def learn_figures(
    hours: Sequence[HourTotals], price: int, learning: Learning = DEFAULT_LEARNING
) -> Figures:
    """Return what is learned from the last HISTORY_DAYS, oldest hour first, until the hour before now.

    The share is that of days without refusals, because an attack must not raise the allowance of the
    days after it. If each day had refusals, the lowest share counts: that of the least attacked day.
    """
    recent = hours[-HISTORY_DAYS * DAY_HOURS :]
    if sum(hour.verified for hour in recent) < MIN_VERIFIED_SENDS * price:
        return NO_FIGURES
    days = [day for day in _split_days(recent) if any(hour.verified for hour in day)]
    quiet = [_compute_share(day) for day in days if not any(hour.has_refusals for hour in day)]
    shares = quiet or [min(map(_compute_share, days))]
    weights = [DAY_WEIGHT ** (len(shares) - index) for index in range(len(shares))]
    share = sum(w * s for w, s in zip(weights, shares, strict=True)) / sum(weights)
    return Figures(
        min(max(share, MIN_SHARE), MAX_SHARE),
        _compute_margin(shares, _count_chance(recent, price), learning),
        _compute_usual([hour.verified for hour in recent]),
    )


def learn_volume_figures(hours: Sequence[HourTotals]) -> Figures:
    """Return the figures of a scope that is measured by its volume: VOLUME_FACTOR times the usual.

    Without traffic on half of the days nothing is usual. Otherwise an attacker would end the budget of
    new countries for each country by a first message to it.
    """
    recent = hours[-HISTORY_DAYS * DAY_HOURS :]
    usual = _compute_usual([hour.verified + hour.unverified + hour.volume for hour in recent])
    return Figures(1.0, VOLUME_FACTOR - 1, usual) if usual[1] else NO_FIGURES


def _split_days(hours: Sequence[_T]) -> list[Sequence[_T]]:
    """Return the complete spans of 24 hours that end with the last hour, oldest first."""
    starts = range(len(hours) % DAY_HOURS, len(hours), DAY_HOURS)
    return [hours[start : start + DAY_HOURS] for start in starts]


def _compute_share(day: Sequence[HourTotals]) -> float:
    return sum(hour.unverified for hour in day) / sum(hour.verified for hour in day)


def _compute_margin(shares: Sequence[float], chance: float, learning: Learning) -> float:
    """Return the margin that covers the variation from day to day; the largest for few days.

    What chance alone explains is left out: the allowance has standard deviations for that.
    """
    if len(shares) < MIN_SPREAD_DAYS:
        return learning.max_margin
    mean = max(statistics.mean(shares), MIN_SHARE)
    variance = max(0.0, statistics.variance(shares) / mean**2 - chance)
    margin = learning.margin_deviations * math.sqrt(variance)
    return min(max(margin, learning.min_margin), learning.max_margin)


def _count_chance(hours: Sequence[HourTotals], price: int) -> float:
    """Return the relative variance of a day's share if each message is chance (Poisson)."""
    days = len(hours) / DAY_HOURS
    verified = sum(hour.verified for hour in hours) / price / days
    unverified = max(1, sum(hour.unverified for hour in hours) / price) / days
    return 1 / verified + 1 / unverified


def _compute_usual(amounts: Sequence[int]) -> tuple[int, int]:
    """Return the usual amount of the coming hour, and of a day.

    There are two hours of this hour of the week, so they count as much as the median of this hour of
    all days.
    """
    same_hour = amounts[-DAY_HOURS::-DAY_HOURS]
    same_week_hour = amounts[-WEEK_HOURS::-WEEK_HOURS]
    days = [sum(day) for day in _split_days(amounts)]
    if not days:
        return 0, 0
    typical = [statistics.median(same_hour)] * 2
    return int(statistics.mean([*typical, *same_week_hour])), int(statistics.median(days))
