"""The attempts that are left, the delays and the locks are those of the failures before.

The contract: design "States" (5 attempts a challenge, refilled only by the refund of one that was charged
and not compared); docs/limits.md ("Consecutive failures": from the tenth on each attempt waits longer,
from 30 s to 1 h; after the 100th the subject is locked until an operator unlocks it; a right code resets
the count, except that of a confirm); docs/security.md ("Targeted lock-out": a known address does not
wait). A lost reply is never charged twice.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.answers import count_possible_attempts
from tests.simulation.auditor.comparisons import has_compared
from tests.simulation.auditor.index import ChallengeFacts, HistoryIndex, read_text
from tests.simulation.auditor.limit_subjects import FAILURE_REASONS, Subject
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, Refused


build = partial(build_violation, Promise.CHARGES)

FAILURES_BEFORE_DELAY = 10
MIN_DELAY_MS, MAX_DELAY_MS = 30_000, 3_600_000
MAX_CONSECUTIVE_FAILURES = 100

FACTORS = {
    "verify": "sms",
    "confirm_authenticator": "authenticator",
    "verify_authenticator": "authenticator",
    "verify_recovery_code": "recovery code",
}

CONSECUTIVE_LIMITS = {
    "number": "ConsecutiveFailuresPerNumber",
    "sms": "ConsecutiveFailuresPerAccount",
    "authenticator": "ConsecutiveAuthenticatorFailuresPerAccount",
    "recovery code": "ConsecutiveRecoveryFailuresPerAccount",
}


def check_attempt_counts(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each count of attempts that cannot be right, and each lock and wait without failures."""
    attempts: dict[Subject, list[CallRecord]] = defaultdict(list)
    for call in index.history.calls:
        if call.kind in FACTORS:
            facts = index.challenges.get(read_text(call, "challenge"))
            if facts is not None:
                yield from _check_attempts_left(index, facts, call)
            for subject in _list_subjects(call, facts):
                attempts[subject].append(call)
    for subject, calls in attempts.items():
        if len(calls) > FAILURES_BEFORE_DELAY:
            yield from _check_delays(index, subject, calls)
        yield from _check_locks(index, subject, calls)


def _list_subjects(call: CallRecord, facts: ChallengeFacts | None) -> Iterator[Subject]:
    """Yield what counts the failures in a row of a call."""
    if account := read_text(call, "account"):
        yield (call.tenant, FACTORS[call.kind], account)
    if facts is not None and facts.number:
        yield (call.tenant, "number", facts.number)


def _check_attempts_left(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord
) -> Iterator[Violation]:
    """Check what a wrong code said of the attempts left against the calls before and during it."""
    outcome = call.outcome
    if not isinstance(outcome, Refused) or outcome.reason != "incorrect-code":
        return
    left = outcome.details.get("attempts_left")
    if not isinstance(left, int):
        return
    most = index.settings.max_attempts
    certain = sum(
        (verify.ended_at or call.started_at) < call.started_at and has_compared(index, verify)
        for verify in facts.verifies
    )
    lost = index.disturbance.count_lost_writes(0, call.ended_at or call.started_at)
    if left > most - certain - 1 + lost:
        yield build("an attempt was not counted", [call], subject=facts.id, details=f"{left} left")
    if left < most - count_possible_attempts(index, facts, call) - 1:
        yield build("an attempt counted twice", [call], subject=facts.id, details=f"{left} left")


def _is_failure(call: CallRecord) -> bool:
    return isinstance(call.outcome, Refused) and call.outcome.reason in FAILURE_REASONS


def _check_delays(
    index: HistoryIndex, subject: Subject, calls: list[CallRecord]
) -> Iterator[Violation]:
    """Check that each attempt after ten failures in a row waited as long as it must.

    Only failures that ended before a call began are certain to be counted for it, and only since the
    last call that may have reset the count.
    """
    failures: list[CallRecord] = []
    by_end = sorted(calls, key=lambda call: call.ended_at or index.history.ended_at)
    resets = _list_resets(index, subject, calls)
    next_call = 0
    for call in calls:
        while (by_end[next_call].ended_at or index.history.ended_at) < call.started_at:
            if _is_failure(by_end[next_call]):
                failures.append(by_end[next_call])
            next_call += 1
        if _is_failure(call) and len(failures) >= FAILURES_BEFORE_DELAY:
            since = max((end for start, end in resets if start <= (call.ended_at or 0)), default=0)
            row = [failure for failure in failures if failure.started_at > since]
            yield from _check_delay(index, subject, row, call)


def _check_delay(
    index: HistoryIndex, subject: Subject, row: list[CallRecord], call: CallRecord
) -> Iterator[Violation]:
    if len(row) < FAILURES_BEFORE_DELAY:
        return
    newest = max(failure.started_at for failure in row)
    delay = min(MIN_DELAY_MS * 2 ** (len(row) - FAILURES_BEFORE_DELAY), MAX_DELAY_MS)
    if (call.ended_at or call.started_at) - newest < delay:
        end = call.ended_at or call.started_at
        disturbance = index.disturbance
        is_disturbed = disturbance.has_clock_step(row[0].started_at, end) or (
            disturbance.count_forgiven_charges(row[0].started_at, end) > 0
        )
        if not is_disturbed and not _may_be_known_address(index, call):
            yield build(
                "an attempt did not wait after failures in a row",
                [*row[-2:], call],
                subject=" ".join(subject),
                details=f"after {len(row)} failures",
            )


def _may_be_known_address(index: HistoryIndex, call: CallRecord) -> bool:
    """Return whether the call may come from an address that has verified the account."""
    account, address = read_text(call, "account"), read_text(call, "client_ip")
    if not account or not address:
        return False
    return any(
        isinstance(other.outcome, Answered)
        and other.kind in FACTORS
        and read_text(other, "account") == account
        for other in index.history.calls
        if other.started_at <= (call.ended_at or call.started_at)
    )


def _list_resets(
    index: HistoryIndex, subject: Subject, calls: list[CallRecord]
) -> list[tuple[int, int]]:
    """Return the spans of calls that may have reset the count of a subject."""
    never = index.history.ended_at
    resets = [
        (call.started_at, call.ended_at or never)
        for call in calls
        if not isinstance(call.outcome, Refused) and call.kind != "confirm_authenticator"
    ]
    names = ("phone_number", "account")
    unlocks = [
        (call.started_at, call.ended_at or never)
        for call in index.history.calls
        if call.kind in {"unlock_number", "unlock_account"}
        and any(read_text(call, name) == subject[2] for name in names)
    ]
    return resets + unlocks


def _check_locks(
    index: HistoryIndex, subject: Subject, calls: list[CallRecord]
) -> Iterator[Violation]:
    """Check that a lock, and a wait before one, has as many calls before it that may be failures."""
    limit = CONSECUTIVE_LIMITS[subject[1]]
    rules = index.settings.tenants.get(subject[0])
    windows = rules.limits.get(limit) if rules else None
    most = windows[0][0] if windows else MAX_CONSECUTIVE_FAILURES
    lock = "number-locked" if subject[1] == "number" else "account-locked"
    for number, call in enumerate(calls):
        outcome = call.outcome
        if not isinstance(outcome, Refused):
            continue
        is_unfounded_lock = outcome.reason == lock and number < most
        is_unfounded_wait = outcome.limit == limit and number < FAILURES_BEFORE_DELAY
        if is_unfounded_lock or is_unfounded_wait:
            rule = f"{limit} refused without as many failures"
            yield build(rule, [call], subject=" ".join(subject))
