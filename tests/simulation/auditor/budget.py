"""The arithmetic of budgets, from docs/limits.md ("How windows count"), for charges seen from outside.

From outside, the instant of a charge is only known to be in a span: after the start of its call, and
before what the charge had to precede. So a budget is broken only if no choice of instants keeps it,
and a refusal is unfounded only if no choice of instants explains it.

- An exact window admits at most `count` in any period of that length.
- GCRA admits a burst of `count`, and then one each `period / count`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class Spend(NamedTuple):
    """A charge: not before `start`, and not after `end`, in milliseconds."""

    start: float
    end: float
    call: int
    """The number of its call."""


class PossibleSpend(NamedTuple):
    """A charge that may have been made, and counts at most until it is refunded at `release`."""

    start: float
    end: float
    release: float
    call: int
    units: int = 1


class Excess(NamedTuple):
    """Charges that no window admits together."""

    start: float
    end: float
    total: int
    """What the window would have had to hold: of GCRA without what time has emptied."""


ROUNDING_TOLERANCE_UNITS = 0.01
ROUNDING_TOLERANCE_MS = 0.4
"""Less than what GCRA admits beyond its window against rounding, which is half a millisecond."""


def find_window_excess(
    spends: Sequence[Spend], forced: Sequence[Spend], max_count: int, period_ms: int
) -> Excess | None:
    """Return the first charges that an exact window cannot have admitted.

    `forced` are charges beyond the first of a send: they are made whatever the budget, and count.
    Where spans are longer than the period fewer charges are found, and never too many.
    """
    if len(spends) + len(forced) <= max_count:
        return None
    starts = sorted(spend.start for spend in spends)
    ends = sorted(spend.end for spend in spends)
    forced_starts = sorted(spend.start for spend in forced)
    forced_ends = sorted(spend.end for spend in forced)
    for spend in sorted(spends, key=lambda spend: spend.end):
        before = spend.end - period_ms
        inside = bisect_right(ends, spend.end) - bisect_right(starts, before)
        extra = bisect_right(forced_ends, spend.start) - bisect_right(forced_starts, before)
        count = inside + max(0, extra)
        if count > max_count:
            return Excess(before, spend.end, count)
    return None


def find_burst_excess(spends: Sequence[Spend], max_count: int, period_ms: int) -> Excess | None:
    """Return the first charges that GCRA cannot have admitted."""
    if len(spends) <= max_count:
        return None
    rate = max_count / period_ms
    starts = sorted(spend.start for spend in spends)
    base, first, lowest, lowest_first = starts[0], 0, float("inf"), 0
    for number, end in enumerate(sorted(spend.end for spend in spends), 1):
        while first < len(starts) and starts[first] <= end:
            level = first - rate * (starts[first] - base)
            if level < lowest:
                lowest, lowest_first = level, first
            first += 1
        fullness = number - rate * (end - base) - lowest - ROUNDING_TOLERANCE_UNITS
        if fullness > max_count:
            return Excess(starts[lowest_first], end, math.ceil(fullness))
    return None


class PossibleCharges:
    """All that may have been charged to one bucket, ready to be asked about many instants."""

    def __init__(self, spends: Sequence[PossibleSpend]) -> None:
        lasting = [spend for spend in spends if spend.release == math.inf]
        self._by_end = sorted(lasting, key=lambda spend: spend.end)
        self._ends = [spend.end for spend in self._by_end]
        self._units_by_end = [0, *accumulate(spend.units for spend in self._by_end)]
        by_start = sorted(lasting)
        self._starts = [spend.start for spend in by_start]
        self._units_by_start = [0, *accumulate(spend.units for spend in by_start)]
        refunded = [spend for spend in spends if spend.release < math.inf]
        self._refunded_calls = {spend.call for spend in refunded}
        self._refunded_starts = sorted(spend.start for spend in refunded)
        self._releases = sorted(spend.release for spend in refunded)

    def count_units(self, call: int, decided: tuple[float, float], period_ms: float) -> int:
        """Return the most that an exact window may have had when this call asked it in this span.

        The charge of the call itself is among the possible ones, and does not count.
        """
        start, end = decided
        begun = self._units_by_start[bisect_right(self._starts, end)]
        left = self._units_by_end[bisect_right(self._ends, start - period_ms)]
        own = 0 if call in self._refunded_calls else 1
        return begun - left - own + self._count_refunded(call, decided)

    def can_fill_burst(
        self, call: int, decided: tuple[float, float], max_count: int, period_ms: int
    ) -> bool:
        """Return whether GCRA may have been full, if each charge was as late as it can."""
        start, end = decided
        unit, empty_at = period_ms / max_count, 0.0
        for spend in self._by_end:
            if spend.start <= end and spend.call != call:
                empty_at = max(empty_at, min(spend.end, end)) + unit * spend.units
        empty_at = max(empty_at, start) + unit * self._count_refunded(call, decided)
        return empty_at + unit - period_ms > start + ROUNDING_TOLERANCE_MS

    def _count_refunded(self, call: int, decided: tuple[float, float]) -> int:
        start, end = decided
        begun = bisect_right(self._refunded_starts, end)
        own = 1 if call in self._refunded_calls else 0
        return begun - bisect_left(self._releases, start) - own
