"""Judges a history by the contract alone: design, docs/ and openapi.yaml, and nothing of the service.

Each module checks one promise, and states the pages that it takes it from. Instants are known as spans,
and outcomes may be unknown, so a check reports only what no order of events can explain. What faults
excuse is in `disturbance.py`.

To add a check: a function from `HistoryIndex` to violations in the module of its promise, with tests of a
history that keeps the promise and of two that break it.
"""

from collections.abc import Callable, Iterator

from tests.simulation.auditor.answers import check_answers
from tests.simulation.auditor.archive import check_archive
from tests.simulation.auditor.attempt_counts import check_attempt_counts
from tests.simulation.auditor.authenticator_steps import check_authenticators
from tests.simulation.auditor.charges import check_charges
from tests.simulation.auditor.comparisons import check_comparisons
from tests.simulation.auditor.counts_left import check_counts_left
from tests.simulation.auditor.debts import check_debts
from tests.simulation.auditor.index import HistoryIndex
from tests.simulation.auditor.liveness import check_liveness
from tests.simulation.auditor.log_changes import check_log_changes
from tests.simulation.auditor.log_order import check_log_order
from tests.simulation.auditor.recovery_uses import check_recovery_codes
from tests.simulation.auditor.repeats import check_repeats
from tests.simulation.auditor.secrecy import check_secrecy
from tests.simulation.auditor.sends import check_sends
from tests.simulation.auditor.success import check_successes
from tests.simulation.auditor.violation import Promise, Violation
from tests.simulation.history import History


__all__ = ["CHECKS", "Promise", "Violation", "audit_history"]

CHECKS: tuple[Callable[[HistoryIndex], Iterator[Violation]], ...] = (
    check_comparisons,
    check_successes,
    check_authenticators,
    check_recovery_codes,
    check_sends,
    check_charges,
    check_attempt_counts,
    check_counts_left,
    check_debts,
    check_answers,
    check_log_order,
    check_log_changes,
    check_repeats,
    check_secrecy,
    check_liveness,
    check_archive,
)


def audit_history(history: History) -> list[Violation]:
    """Return every promise that a history breaks, in the order of time."""
    index = HistoryIndex(history)
    violations = [violation for check in CHECKS for violation in check(index)]
    return sorted(violations, key=lambda violation: (violation.at, violation.rule))
