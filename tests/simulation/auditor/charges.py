"""Charges equal what may have been billed, less lawful refunds: as bounds that the next calls check.

The contract: docs/limits.md. A budget is spent by what certainly stays charged, so a call that is
admitted although the budget is spent shows a charge that is missing, or was refunded twice. A call that
is refused although not even all that may have been charged spends the budget shows a charge that is
missing its refund, or was made twice. The same holds for the attempts and sends of one challenge.

An operator's unlock empties the failures of its subject. How many failures in a row lock a subject, and
how long the next attempt has to wait before, is in failure_delays.py.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.simulation.auditor.budget import (
    Excess,
    PossibleCharges,
    Spend,
    find_burst_excess,
    find_window_excess,
)
from tests.simulation.auditor.charge_book import ChargeBook, fill_books
from tests.simulation.auditor.index import HistoryIndex, read_text
from tests.simulation.auditor.limit_subjects import EXACT_LIMITS, RESERVING_LIMITS, Subject
from tests.simulation.auditor.stored_budgets import check_stored_budget
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord


build = partial(build_violation, Promise.CHARGES)

SECOND_MS = 1000
LOGIN_KINDS = frozenset({"verify", "verify_authenticator", "verify_recovery_code"})
Unlocks = dict[Subject, list[CallRecord]]


class Budget(NamedTuple):
    """One limit of one subject, with the windows that are configured."""

    limit: str
    subject: Subject
    windows: tuple[tuple[int, int], ...]

    @property
    def is_exact(self) -> bool:
        return self.limit in EXACT_LIMITS


def check_charges(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each budget that was exceeded, and each refusal that no charge explains."""
    unlocks = _list_unlocks(index)
    tables = {name: rules.limits for name, rules in index.settings.tenants.items()}
    shared = next(iter(tables.values()), {})
    stored = {(one.limit, one.subject): one for one in index.history.budgets}
    books = fill_books(index)
    for (limit, subject), book in [(key, books[key]) for key in dict.fromkeys([*books, *stored])]:
        table = tables.get(subject[0], shared) if subject else shared
        budget = Budget(limit, subject, table.get(limit, ()))
        if not budget.windows:
            continue
        if len(book.spends) + len(book.forced) > min(count for count, _period in budget.windows):
            yield from _check_excess(index, budget, book, unlocks)
        if book.refusals:
            yield from _check_refusals(index, budget, book)
        if found := stored.get((limit, subject)):
            resets = unlocks.get(subject, []) if "Failures" in limit else []
            yield from check_stored_budget(index, found, book, budget.windows, resets)


def _check_excess(
    index: HistoryIndex, budget: Budget, book: ChargeBook, unlocks: Unlocks
) -> Iterator[Violation]:
    is_failure = "Failures" in budget.limit
    resets = unlocks.get(budget.subject, []) if is_failure else []
    for spends in _split_spends(book.spends, resets):
        for max_count, period_seconds in budget.windows:
            excess = _find_excess(index, budget, spends, book.forced, (max_count, period_seconds))
            if excess is not None and excess.total > max_count + _count_forgiven(
                index, budget, spends
            ):
                calls = {spend.call for spend in (*spends, *book.forced)}
                yield build(
                    f"{budget.limit} admitted more than its budget",
                    [index.history.calls[number] for number in calls],
                    subject=" ".join(budget.subject),
                    details=f"{excess.total} in a window of {max_count}",
                    at=int(max(spend.end for spend in spends)),
                )


def _find_excess(
    index: HistoryIndex,
    budget: Budget,
    spends: list[Spend],
    forced: list[Spend],
    window: tuple[int, int],
) -> Excess | None:
    max_count, period_ms = window[0], window[1] * SECOND_MS
    if index.disturbance.has_clock_step(0, math.inf):
        spends, forced = _stretch_spends(index, spends), _stretch_spends(index, forced)
    if budget.is_exact:
        return find_window_excess(spends, forced, max_count, period_ms)
    return find_burst_excess(spends, max_count, period_ms)


def _count_forgiven(index: HistoryIndex, budget: Budget, spends: list[Spend]) -> float:
    """Return how many charges the store may have lost, or taken back for a success.

    `WAIT` follows the last commit of a call. If another server takes over within the call, that
    commit may be on the new one, and the charge before it may have been lost with the old one.
    """
    start, end = min(spend.start for spend in spends), max(spend.end for spend in spends)
    disturbance = index.disturbance
    forgiven = disturbance.count_forgiven_charges(start, end) + sum(
        disturbance.has_lost_writes(spend.start, spend.end, is_durable=False) for spend in spends
    )
    if budget.limit == "FailuresPerTenant":
        # Each right code takes back one failure besides its own.
        forgiven += sum(
            call.kind in LOGIN_KINDS and isinstance(call.outcome, Answered)
            for call in index.history.calls
        )
    return forgiven


def _check_refusals(index: HistoryIndex, budget: Budget, book: ChargeBook) -> Iterator[Violation]:
    possible = PossibleCharges(book.possible)
    for call in book.refusals:
        slack_ms = index.disturbance.measure_slack(call.ended_at or call.started_at)
        if not any(
            _can_refuse(budget, possible, call, window, slack_ms) for window in budget.windows
        ):
            yield build(
                f"{budget.limit} refused although its budget cannot be spent",
                [call],
                subject=" ".join(budget.subject),
            )


def _can_refuse(
    budget: Budget,
    possible: PossibleCharges,
    call: CallRecord,
    window: tuple[int, int],
    slack_ms: int,
) -> bool:
    """Return whether a window may have been full: `slack_ms` is how far a clock was set."""
    decided = (call.started_at - slack_ms, call.ended_at or call.started_at)
    max_count, period_ms = window[0], window[1] * SECOND_MS
    if budget.is_exact:
        min_count = max_count - _count_reserved(budget.limit, max_count)
        return possible.count_units(call.number, decided, period_ms) >= min_count
    return possible.can_fill_burst(call.number, decided, max_count, period_ms)


def _count_reserved(limit: str, max_count: int) -> int:
    """Return what is kept back for known addresses: docs/security.md, "kept back for the owner"."""
    if limit not in RESERVING_LIMITS or max_count == 1:
        return 0
    return max(1, max_count // 5)


def _stretch_spends(index: HistoryIndex, spends: list[Spend]) -> list[Spend]:
    stretch = index.disturbance.stretch
    return [
        Spend(stretch(int(spend.start)), stretch(int(spend.end)), spend.call) for spend in spends
    ]


def _split_spends(spends: list[Spend], unlocks: list[CallRecord]) -> Iterator[list[Spend]]:
    """Yield the spends between unlocks: one that was under way at an unlock counts before it."""
    rest = spends
    for unlock in unlocks:
        end = unlock.ended_at or float("inf")
        before = [spend for spend in rest if spend.start <= end]
        rest = [spend for spend in rest if spend.start > end]
        before = [spend for spend in before if spend.end < unlock.started_at]
        if before:
            yield before
    if rest:
        yield rest


def _list_unlocks(index: HistoryIndex) -> Unlocks:
    """Return the calls that empty the failures of a number or an account at a tenant."""
    unlocks: Unlocks = {}
    for call in index.history.calls:
        if call.kind == "unlock_number":
            for tenant in index.settings.tenants:
                subject = (tenant, read_text(call, "phone_number"))
                unlocks.setdefault(subject, []).append(call)
        elif call.kind == "unlock_account":
            tenant = read_text(call, "tenant") or call.tenant
            unlocks.setdefault((tenant, read_text(call, "account")), []).append(call)
    return unlocks
