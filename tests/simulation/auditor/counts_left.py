"""An answer that shows a challenge has as many attempts and sends left as its calls have left it.

The contract: design "HTTP contract" (`attempts_left`, `sends_left` in ChallengeView) and "States" (5 attempts;
3 sends, of which the first counts, so `sends_left` is 2 after issue); docs/limits.md "One challenge" (a send
that no provider took is given back). A call that runs meanwhile may be counted or not, so each number is
only known to be between two bounds.
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.answers import count_possible_attempts
from tests.simulation.auditor.comparisons import has_compared
from tests.simulation.auditor.index import AUTOMATIC_KINDS, ChallengeFacts, HistoryIndex, read_text
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, Refused, SubmissionRecord, Unavailable


build = partial(build_violation, Promise.ANSWERS)


def check_counts_left(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each answer with a number of attempts or sends that no order of calls explains."""
    for facts in index.challenges.values():
        creation = [facts.creation] if facts.creation is not None else []
        for call in (*creation, *facts.resends, *facts.verifies):
            if isinstance(call.outcome, Answered) and call.ended_at is not None:
                yield from _check_sends(index, facts, call, call.outcome, call.ended_at)
                yield from _check_attempts(index, facts, call, call.outcome, call.ended_at)


def _check_sends(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, outcome: Answered, end: int
) -> Iterator[Violation]:
    left = outcome.value.get("sends_left")
    if not isinstance(left, int):
        return
    most, lost = index.settings.max_sends, _count_lost(index, end)
    if left > most - _count_certain_sends(index, facts, call, end) + lost:
        yield build("a send was not counted", [call], subject=facts.id, details=f"{left} left")
    if not lost and left < most - _count_possible_sends(index, facts, call, end):
        yield build("a send counted twice", [call], subject=facts.id, details=f"{left} left")


def _count_certain_sends(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, end: int
) -> int:
    """Return how many codes were sent by calls that were answered before, and by this one."""

    def is_certain(submission: SubmissionRecord) -> bool:
        if submission.call is None or submission.answer not in {"accepted", "unknown"}:
            return False
        sender = index.history.calls[submission.call]
        is_own = sender is call and submission.at <= end
        is_before = sender.ended_at is not None and sender.ended_at < call.started_at
        is_answered = isinstance(sender.outcome, Answered) and sender.kind not in AUTOMATIC_KINDS
        return is_answered and (is_own or is_before)

    return len({submission.send for submission in facts.submissions if is_certain(submission)})


def _count_possible_sends(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, end: int
) -> int:
    """Return how many sends may be charged: the first, each resend, and those after a receipt."""
    resends = sum(_may_be_charged(index, other, call, end) for other in facts.resends)
    automatic = sum(
        other.kind in AUTOMATIC_KINDS
        and other.started_at <= end
        and facts.id in read_text(other, "reference")
        for other in index.history.calls
    )
    return 1 + resends + automatic


def _may_be_charged(index: HistoryIndex, other: CallRecord, call: CallRecord, end: int) -> bool:
    """Return whether a resend may have its send charged while another call was answered.

    It keeps the send if the recipient was at fault, and after a message that may have been taken.
    """
    if other.started_at > end:
        return False
    is_kept = any(
        one.answer != "refused" or one.fault == "recipient" for one in index.get_submissions(other)
    )
    is_refunded = isinstance(other.outcome, Refused | Unavailable) and not is_kept
    return not is_refunded or index.disturbance.find_release(other) >= call.started_at


def _check_attempts(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord, outcome: Answered, end: int
) -> Iterator[Violation]:
    left = outcome.value.get("attempts_left")
    if not isinstance(left, int):
        return
    most, is_own = index.settings.max_attempts, call.kind == "verify"
    certain = sum(
        (verify.ended_at or end) < call.started_at and has_compared(index, verify)
        for verify in facts.verifies
    )
    if left > most - certain + _count_lost(index, end):
        rule = "an answer shows too many attempts"
        yield build(rule, [call], subject=facts.id, details=f"{left} left")
    if left < most - count_possible_attempts(index, facts, call) - is_own:
        rule = "an answer shows too few attempts"
        yield build(rule, [call], subject=facts.id, details=f"{left} left")


def _count_lost(index: HistoryIndex, end: int) -> float:
    return index.disturbance.count_lost_writes(0, end, is_durable=False)
