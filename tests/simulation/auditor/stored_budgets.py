"""What the store has charged is what may have been billed and tried, less lawful refunds: in both directions.

The contract: docs/limits.md ("How windows count"; a 503 costs nothing once the store answers again; a right
code takes its charges back); design "Main ideas" (a refund applies only where its charge is recorded as
applied). Charges of a refused, failed or canceled call, and those that a fault may have lost, are in the
bounds of `charge_book.py`. Where a clock of the store was set, nothing is said.
"""

import math
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.budget import Spend
from tests.simulation.auditor.charge_book import ChargeBook
from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.auditor.limit_subjects import EXACT_LIMITS
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import CallRecord, StoredBudget


build = partial(build_violation, Promise.CHARGES)

SECOND_MS = 1000
Window = tuple[int, int]


def check_stored_budget(
    index: HistoryIndex,
    stored: StoredBudget,
    book: ChargeBook,
    windows: tuple[Window, ...],
    unlocks: list[CallRecord],
) -> Iterator[Violation]:
    """Yield where one budget has more or less than the calls explain."""
    if index.disturbance.has_clock_step(0, stored.read_at):
        return
    for window, used in zip(windows, stored.used, strict=True):
        most = _count_most(stored, book, window)
        if used > most:
            yield _build(
                index, stored, f"{stored.limit} kept a charge that is refunded", used, most
            )
        least = _count_least(index, stored, book, window, unlocks)
        if used < least:
            yield _build(index, stored, f"{stored.limit} lacks a charge", used, least)


def _count_most(stored: StoredBudget, book: ChargeBook, window: Window) -> float:
    """Return the most units that may be charged and not refunded."""
    kept = [
        spend
        for spend in book.possible
        if spend.start <= stored.read_at and spend.release > stored.asked_at
    ]
    if stored.limit in EXACT_LIMITS:
        first = stored.asked_at - window[1] * SECOND_MS
        return sum(spend.units for spend in kept if spend.end > first)
    unit, empty_at = window[1] * SECOND_MS / window[0], 0.0
    for spend in sorted(kept, key=lambda spend: spend.end):
        empty_at = max(empty_at, min(spend.end, stored.read_at)) + unit * spend.units
    return max(0, math.ceil((empty_at - stored.asked_at) / unit))


def _count_least(
    index: HistoryIndex,
    stored: StoredBudget,
    book: ChargeBook,
    window: Window,
    unlocks: list[CallRecord],
) -> float:
    """Return the fewest units that must be charged."""
    reset_at = max((unlock.ended_at or math.inf for unlock in unlocks), default=0)
    certain = [
        spend
        for spend in (*book.spends, *book.forced)
        if spend.end <= stored.asked_at and spend.start > reset_at
    ]
    if not certain:
        return 0
    count = (
        _count_inside(certain, stored.read_at - window[1] * SECOND_MS)
        if stored.limit in EXACT_LIMITS
        else _count_level(stored, book, certain, window)
    )
    return count - _count_lost(index, stored, certain)


def _count_inside(certain: list[Spend], first: float) -> int:
    return sum(spend.start > first for spend in certain)


def _count_level(
    stored: StoredBudget, book: ChargeBook, certain: list[Spend], window: Window
) -> float:
    """Return how full GCRA is at least, if each charge was as early as it can.

    Between a charge and its refund time may have emptied it, and another charge may have begun anew: the
    refund takes a part of that one then.
    """
    unit, empty_at = window[1] * SECOND_MS / window[0], 0.0
    for start in sorted(spend.start for spend in certain):
        empty_at = max(empty_at, start) + unit
    refunded = sum(
        spend.units
        for spend in book.possible
        if spend.release < math.inf
        and any(
            other.call != spend.call and spend.start <= other.end and other.start <= spend.release
            for other in certain
        )
    )
    return (empty_at - stored.read_at) / unit - refunded


def _count_lost(index: HistoryIndex, stored: StoredBudget, certain: list[Spend]) -> float:
    """Return how many of the charges faults may have lost."""
    start, disturbance = min(spend.start for spend in certain), index.disturbance
    return disturbance.count_forgiven_charges(start, stored.read_at) + sum(
        disturbance.has_lost_writes(spend.start, spend.end, is_durable=False) for spend in certain
    )


def _build(
    index: HistoryIndex, stored: StoredBudget, rule: str, used: int, bound: float
) -> Violation:
    names = {"phone_number", "account"}
    calls = [
        call
        for call in index.history.calls
        if any(call.arguments.get(name) == stored.subject[-1] for name in names)
    ]
    return build(
        rule,
        calls,
        subject=" ".join(stored.subject),
        details=f"{used} units are used, and {bound:g} are explained",
        at=stored.read_at,
    )
