"""Each answer belongs to its call, and each refusal has its reason.

The contract: design "HTTP contract" (a tenant sees only its own challenges) and "States"; docs/limits.md
"One challenge" (the deadline never moves; 5 attempts; 3 sends); docs/api-guide.md "Errors". A refusal is
unfounded if no call, also none whose outcome is unknown, can have led to the state that it states.
"""

from collections.abc import Callable, Iterator
from functools import partial

from tests.simulation.auditor.index import (
    ChallengeFacts,
    HistoryIndex,
    read_code,
    read_number,
    read_text,
)
from tests.simulation.auditor.limit_subjects import FAILURE_REASONS
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, Refused


build = partial(build_violation, Promise.ANSWERS)

NAMING_KINDS = frozenset({"verify", "resend", "get", "cancel"})
"""The calls that name a challenge."""
KEPT_AFTER_END_MS = 3_600_000
RESEND_MARGIN_MS = 60_000
BOUND_VALUES = ("account", "phone_number", "purpose")


def check_answers(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each answer that cannot be that of its call."""
    for call in index.history.calls:
        facts = index.challenges.get(read_text(call, "challenge"))
        if call.kind in NAMING_KINDS and facts is not None and facts.creation is not None:
            if isinstance(call.outcome, Answered):
                yield from _check_value(facts, facts.creation, call, call.outcome)
            elif isinstance(call.outcome, Refused):
                yield from _check_refusal(index, facts, call, call.outcome)
        elif isinstance(call.outcome, Refused) and call.outcome.reason == "number-not-allowed":
            yield from _check_do_not_send(index, call, str(call.outcome.details.get("reason")))


def _check_value(
    facts: ChallengeFacts, creation: CallRecord, call: CallRecord, outcome: Answered
) -> Iterator[Violation]:
    if call.tenant != creation.tenant:
        yield build("a challenge was shown to another tenant", [creation, call], subject=facts.id)
    if outcome.value.get("id", facts.id) != facts.id:
        yield build("a call was answered with another challenge", [call], subject=facts.id)
    expires_at = read_number(outcome, "expires_at") or facts.expires_at
    if facts.expires_at and expires_at != facts.expires_at:
        yield build("the deadline of a challenge moved", [creation, call], subject=facts.id)
    if call.kind == "verify" and outcome.value.get("status", "verified") != "verified":
        yield build("a verify was answered without being verified", [call], subject=facts.id)


def _check_refusal(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, outcome: Refused
) -> Iterator[Violation]:
    judge = REFUSAL_JUDGES.get(outcome.reason)
    if judge is None or judge(index, facts, call):
        return
    end = call.ended_at or call.started_at
    if index.disturbance.has_lost_writes(0, end, is_durable=False):
        return
    calls = [call] if facts.creation is None else [facts.creation, call]
    rule = f"{outcome.reason} was answered without a reason"
    yield build(rule, calls, subject=facts.id)


def _is_not_found(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    if facts.creation is None or facts.creation.tenant != call.tenant or not facts.expires_at:
        return True
    if not isinstance(facts.creation.outcome, Answered):
        return True
    end = call.ended_at or call.started_at
    if index.disturbance.has_clock_step(0, end):
        return True  # keys have expired while the clock was ahead
    first = min(facts.expires_at, _find_first_end(index, facts))
    return end >= first + KEPT_AFTER_END_MS


def _find_first_end(index: HistoryIndex, facts: ChallengeFacts) -> int:
    """Return the earliest instant at which a success, a cancel or a lock may have ended it."""
    starts = [call.started_at for call in (*facts.verifies, *facts.cancels)]
    return min(starts, default=index.history.ended_at)


def _is_expired(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    end = call.ended_at or call.started_at
    if not facts.expires_at or index.disturbance.has_clock_step(0, end):
        return True
    margin = RESEND_MARGIN_MS if call.kind == "resend" else 0
    return end >= facts.expires_at - margin


def _is_canceled(_index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    if facts.creation is None or not isinstance(facts.creation.outcome, Answered):
        return True  # no provider took it, or its end is unknown
    return any(_may_precede(cancel, call) for cancel in facts.cancels)


def _is_verified(_index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    return any(
        verify is not call and _may_precede(verify, call) and facts.find_sends_of(read_code(verify))
        for verify in facts.verifies
    )


def _is_locked(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    return count_possible_attempts(index, facts, call) >= index.settings.max_attempts


def _is_exhausted(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    end = call.ended_at or call.started_at
    resends = sum(other is not call and other.started_at <= end for other in facts.resends)
    automatic = {s.send for s in facts.submissions if s.at <= end}
    return max(1 + resends, len(automatic)) >= index.settings.max_sends


def _is_incorrect(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> bool:
    """Return whether a code may be wrong: it is not one of the newest that providers took."""
    end = call.ended_at or call.started_at
    sends = {
        submission.send
        for submission in facts.submissions
        if submission.code == read_code(call)
        and submission.answer in {"accepted", "unknown"}
        and submission.at <= call.started_at
    }
    newer = {s.send for s in facts.submissions if s.at <= end and s.send > max(sends, default=0)}
    if not sends or len(newer) >= index.settings.max_live_codes:
        return True
    creation = facts.creation
    return creation is None or any(
        call.arguments.get(name) is not None
        and call.arguments[name] != creation.arguments.get(name, "login")
        for name in BOUND_VALUES
    )


def count_possible_attempts(index: HistoryIndex, facts: ChallengeFacts, call: CallRecord) -> int:
    """Return how many attempts of other calls may have been charged when this one was decided."""
    end = call.ended_at or call.started_at
    return sum(
        verify is not call
        and verify.started_at <= end
        and (
            bool(index.get_comparisons(verify))
            or not isinstance(verify.outcome, Refused)
            or verify.outcome.reason in FAILURE_REASONS
            or index.disturbance.find_release(verify) >= call.started_at
        )
        for verify in facts.verifies
    )


def _may_precede(other: CallRecord, call: CallRecord) -> bool:
    """Return whether another call may have had its effect before this one was decided."""
    end = call.ended_at or call.started_at
    return other.started_at <= end and not isinstance(other.outcome, Refused)


def _check_do_not_send(index: HistoryIndex, call: CallRecord, reason: str) -> Iterator[Violation]:
    """Check that a number that is refused as blocked or opted out was blocked or opted out."""
    if reason not in {"blocked", "opted_out"}:
        return
    kind = "block_number" if reason == "blocked" else "receive_message"
    number = read_text(call, "phone_number")
    if not any(
        other.kind == kind and read_text(other, "phone_number") == number
        for other in index.history.calls
        if other.started_at <= (call.ended_at or call.started_at)
    ):
        yield build(f"a number was refused as {reason} that never was", [call], subject=number)


REFUSAL_JUDGES: dict[str, Callable[[HistoryIndex, ChallengeFacts, CallRecord], bool]] = {
    "challenge-not-found": _is_not_found,
    "challenge-expired": _is_expired,
    "challenge-canceled": _is_canceled,
    "challenge-already-verified": _is_verified,
    "challenge-locked": _is_locked,
    "sends-exhausted": _is_exhausted,
    "incorrect-code": _is_incorrect,
}
"""Whether a refusal of a call that names a challenge may have its reason."""
