"""Once faults have stopped, each pending call ends, and each person can log in after `Retry-After`.

The contract: docs/api-guide.md "Timeouts and repeats" (an issue ends in 15 s); README.md (`Retry-After` on 429
is exact: after it the limit that refused admits the call; on 503 it is 1 second); docs/operation.md "Failures"
(the service recovers without a restart). An exception that no problem type names is a defect at any time.
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.disturbance import RECOVERY_MS
from tests.simulation.auditor.index import HistoryIndex, read_text
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import (
    Answered,
    CallRecord,
    Crashed,
    Failed,
    Refused,
    Unavailable,
)


build = partial(build_violation, Promise.LIVENESS)

SECOND_MS = 1000
SUCCESS_KINDS = frozenset({"verify", "verify_authenticator", "verify_recovery_code"})


def check_liveness(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each call that hangs, fails or is refused although nothing is wrong any more."""
    history = index.history
    for error in history.unhandled_errors:
        yield build("an exception was not handled", [], details=error, at=history.ended_at)
    probes: dict[str, list[CallRecord]] = {actor: [] for actor in index.settings.probe_actors}
    for call in history.calls:
        yield from _check_end(index, call)
        if call.actor in probes and call.started_at >= history.calm_since:
            probes[call.actor].append(call)
    for actor, calls in probes.items():
        if calls:
            yield from _check_probe(index, actor, calls)
    if probes and not any(probes.values()):
        yield build("no person tried to log in after the faults", [], at=history.ended_at)


def _check_end(index: HistoryIndex, call: CallRecord) -> Iterator[Violation]:
    history, settings = index.history, index.settings
    if isinstance(call.outcome, Failed):
        yield build("a call failed with an exception", [call], details=call.outcome.error)
    if isinstance(call.outcome, Crashed):
        return
    start = max(call.started_at, history.calm_since)
    end = history.ended_at if call.ended_at is None else call.ended_at
    if end - start > settings.call_deadline_ms:
        yield build("a call did not end within its deadline", [call], at=end)
    is_calm = call.started_at > history.calm_since + RECOVERY_MS
    outcome = call.outcome
    if is_calm and isinstance(outcome, Unavailable) and outcome.reason == "store-unavailable":
        yield build("a call was 503 although nothing was wrong", [call])


def _check_probe(index: HistoryIndex, actor: str, calls: list[CallRecord]) -> Iterator[Violation]:
    """Check that a person who follows `Retry-After` has logged in at last."""
    admissions: dict[tuple[str, str], tuple[CallRecord, int]] = {}
    for call in calls:
        outcome = call.outcome
        if not isinstance(outcome, Refused) or outcome.retry_after is None:
            continue
        limit = outcome.limit or ""
        if (call.kind, limit) in admissions:
            earlier, admitted_at = admissions[call.kind, limit]
            if call.started_at >= admitted_at and _is_alone(index, limit, earlier, call):
                rule = "a call was refused again after Retry-After"
                yield build(rule, [earlier, call], subject=actor, details=limit)
        end = call.ended_at or call.started_at
        admissions[call.kind, limit] = call, end + outcome.retry_after * SECOND_MS
    if not any(c.kind in SUCCESS_KINDS and isinstance(c.outcome, Answered) for c in calls):
        yield build("a person cannot log in after the faults", calls[-1:], subject=actor)


def _is_alone(index: HistoryIndex, limit: str, earlier: CallRecord, call: CallRecord) -> bool:
    """Return whether no other call may have spent from the limit between two refusals."""
    start, end = earlier.started_at, call.ended_at or call.started_at
    subject = _read_subject(index, limit, call)
    return not any(
        other.number not in {earlier.number, call.number}
        and other.started_at <= end
        and (other.ended_at is None or other.ended_at >= start)
        and _read_subject(index, limit, other) in {subject, ""}
        for other in index.history.calls
    )


def _read_subject(index: HistoryIndex, limit: str, call: CallRecord) -> str:
    """Return what the limit counts of a call; empty if any call may spend from it."""
    facts = index.challenges.get(read_text(call, "challenge"))
    if "PerNumber" in limit:
        return read_text(call, "phone_number") or (facts.number if facts else "")
    if "PerAccount" in limit:
        return read_text(call, "account") or (facts.account or "" if facts else "")
    return ""
