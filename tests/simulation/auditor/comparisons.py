"""At most five comparisons a challenge, and none while the store is in doubt.

The contract: design "States" (5 attempts a challenge, refilled only by the refund of one that was
charged and not compared) and "Fails closed"; docs/limits.md "One challenge"; audit/EVENTS.md (the
reason `store_unavailable`: nothing was compared or sent). Budgets over challenges are in charges.py.
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import ChallengeFacts, HistoryIndex
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, ComparisonRecord, Refused


build = partial(build_violation, Promise.COMPARISONS)

FAILED_REASONS = frozenset({"incorrect-code", "code-already-used"})
"""The refusals that come after a comparison."""


def check_comparisons(index: HistoryIndex) -> Iterator[Violation]:
    """Yield what was compared and must not have been."""
    salts: dict[str, str] = {}
    for facts in index.challenges.values():
        if facts.verifies or facts.comparisons:
            yield from _check_attempts(index, facts)
    for comparison in index.history.comparisons:
        yield from _check_doubt(index, comparison)
        is_challenge = comparison.subject in index.challenges  # a recovery set has many tokens
        subject = salts.setdefault(comparison.salt, comparison.subject) if is_challenge else ""
        if is_challenge and comparison.salt and subject != comparison.subject:
            yield build(
                "two challenges were compared under one salt",
                _list_calls(index, [comparison]),
                subject=comparison.subject,
                details=f"the other is {subject}",
                at=comparison.at,
            )


def _check_attempts(index: HistoryIndex, facts: ChallengeFacts) -> Iterator[Violation]:
    """Count the comparisons of one challenge: those that were seen, and those that answers show."""
    seen = {comparison.call for comparison in facts.comparisons}
    answered = [
        call for call in facts.verifies if call.number not in seen and has_compared(index, call)
    ]
    total = len(facts.comparisons) + len(answered)
    if total <= index.settings.max_attempts:
        return
    calls = [*answered, *_list_calls(index, facts.comparisons)]
    start = min(call.started_at for call in calls)
    end = max(call.ended_at or call.started_at for call in calls)
    if total > index.settings.max_attempts + index.disturbance.count_lost_writes(start, end):
        yield build(
            "a challenge was compared more often than it has attempts",
            calls,
            subject=facts.id,
            details=f"{total} comparisons",
        )


def has_compared(index: HistoryIndex, call: CallRecord) -> bool:
    """Return whether the answer of a verify proves a comparison of its own."""
    outcome = call.outcome
    if isinstance(outcome, Refused):
        return outcome.reason in FAILED_REASONS
    return isinstance(outcome, Answered) and any(
        call is group[0] for group in index.successes.get(str(call.arguments["challenge"]), ())
    )


def _check_doubt(index: HistoryIndex, comparison: ComparisonRecord) -> Iterator[Violation]:
    """Check one comparison against the state of the store, and against the event of its call."""
    if comparison.call is None:
        return
    call = index.history.calls[comparison.call]
    disturbance, span = index.disturbance, (call.started_at, comparison.at)
    if disturbance.is_store_closed(*span):
        rule = "a code was compared while the store took no write"
    elif disturbance.is_unacknowledged(*span):
        rule = "a code was compared while too few replicas could have its attempt"
    elif any(is_store_denial(event.members) for event in index.events_by_request[call.request]):
        rule = "a code was compared in a call that an event calls reversed"
    else:
        return
    yield build(rule, [call], subject=comparison.subject, at=comparison.at)


def is_store_denial(members: object) -> bool:
    """Return whether an event says that its call was reversed before anything was compared or sent."""
    return (
        isinstance(members, dict)
        and members.get("reason") == "store_unavailable"
        and str(members.get("type", "")).endswith("denied")
    )


def _list_calls(index: HistoryIndex, comparisons: list[ComparisonRecord]) -> list[CallRecord]:
    numbers = {comparison.call for comparison in comparisons}
    return [index.history.calls[number] for number in numbers if number is not None]
