"""At most one success for each challenge: with its code, in its time, and for its bound values.

The contract: design "HTTP contract" (200 only for the one call that used the right code) and "States";
docs/limits.md "One challenge"; docs/api-guide.md "Idempotency" (the same challenge, key and code
within 60 s return the same 200 once more). docs/security.md: without replicas a loss of the store may
accept a code again, and a cancel is not among what `WAIT` follows.
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import (
    ChallengeFacts,
    HistoryIndex,
    read_code,
    read_text,
)
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord


build = partial(build_violation, Promise.SUCCESS)

REPEAT_MS = 60_000
"""docs/api-guide.md: a repeat of a verify is answered within 60 s."""
BOUND_VALUES = ("account", "phone_number")


def check_successes(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each success that the contract excludes."""
    for facts in index.challenges.values():
        if facts.events:
            yield from _check_attempt_events(index, facts)
    for challenge_id, groups in index.successes.items():
        facts = index.challenges[challenge_id]
        yield from _check_single_success(index, facts, groups)
        for group in groups:
            yield from _check_repeats(index, facts, group)
            for call in group:
                yield from _check_code(index, facts, call)
                yield from _check_values(facts, call)
            yield from _check_deadline(index, facts, group[0])
            yield from _check_cancels(index, facts, group)


def _check_single_success(
    index: HistoryIndex, facts: ChallengeFacts, groups: list[list[CallRecord]]
) -> Iterator[Violation]:
    calls = [call for group in groups for call in group]
    if len(groups) > 1:
        start = min(call.started_at for call in calls)
        end = max(call.ended_at or call.started_at for call in calls)
        if not index.disturbance.has_lost_writes(start, end):
            yield build("a challenge was accepted twice", calls, subject=facts.id)
    for call in calls:
        is_first = not call.arguments.get("idempotency_key")  # else the repeat of an unknown result
        end = call.ended_at or call.started_at
        if is_first and index.disturbance.is_unacknowledged(call.started_at, end):
            rule = "a code was accepted while too few replicas could have it"
            yield build(rule, [call], subject=facts.id)


def _check_repeats(
    index: HistoryIndex, facts: ChallengeFacts, group: list[CallRecord]
) -> Iterator[Violation]:
    """Check that a success is repeated within 60 s; it is older than the first end of its calls."""
    accepted_at = min(call.ended_at or call.started_at for call in group)
    for call in group:
        if call.started_at - accepted_at > REPEAT_MS and not index.disturbance.has_clock_step(
            accepted_at, call.started_at
        ):
            yield build("a success was repeated after a minute", group, subject=facts.id)
            return


def _check_code(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord
) -> Iterator[Violation]:
    """Check that the code was sent, and that no two newer codes had replaced it."""
    sends = facts.find_sends_of(read_code(call))
    if not sends:
        yield build("a code was accepted that was never sent", [call], subject=facts.id)
        return
    newer = {
        submission.send
        for submission in facts.submissions
        if submission.send > max(sends)
        and submission.answer == "accepted"
        and _has_ended_before(index, submission.call, call.started_at)
    }
    if len(newer) >= index.settings.max_live_codes:
        rule = "a code was accepted that newer codes had replaced"
        if not index.disturbance.has_lost_writes(0, call.started_at, is_durable=False):
            yield build(rule, [call], subject=facts.id)


def _has_ended_before(index: HistoryIndex, number: int | None, at: int) -> bool:
    """Return whether a call was answered before an instant, so that its result was stored."""
    if number is None:
        return False
    call = index.history.calls[number]
    if call.kind not in {"issue", "resend"} or not isinstance(call.outcome, Answered):
        return False
    return call.ended_at is not None and call.ended_at < at


def _check_values(facts: ChallengeFacts, call: CallRecord) -> Iterator[Violation]:
    """Check tenant, account, number and purpose against those of the issue."""
    creation = facts.creation
    if creation is None:
        return
    if call.tenant != creation.tenant:
        yield build("a challenge was accepted for another tenant", [creation, call])
    for name in BOUND_VALUES:
        value = read_text(call, name)
        if value and value != read_text(creation, name):
            rule = f"a challenge was accepted with another {name.replace('_', ' ')}"
            yield build(rule, [creation, call], subject=facts.id)


def _check_deadline(
    index: HistoryIndex, facts: ChallengeFacts, call: CallRecord
) -> Iterator[Violation]:
    """Check that a success began before the deadline of its challenge, by the clock of the store."""
    if not facts.expires_at:
        return
    end = call.ended_at or call.started_at
    earliest, _latest = index.disturbance.read_store_clocks(call.started_at, end)
    if earliest > facts.expires_at:
        yield build("a code was accepted after its deadline", [call], subject=facts.id)


def _check_cancels(
    index: HistoryIndex, facts: ChallengeFacts, group: list[CallRecord]
) -> Iterator[Violation]:
    """Check that a success and a cancel of one challenge exclude each other."""
    for cancel in facts.cancels:
        if not isinstance(cancel.outcome, Answered) or cancel.ended_at is None:
            continue
        start = min(call.started_at for call in group)
        accepted_at = min(call.ended_at or call.started_at for call in group)
        if cancel.ended_at < start:
            lost = index.disturbance.has_lost_writes(cancel.started_at, start, is_durable=False)
            rule = "a code was accepted after its challenge was canceled"
        elif cancel.started_at > accepted_at:
            lost = index.disturbance.has_lost_writes(accepted_at, cancel.ended_at)
            rule = "a challenge was canceled after it was verified"
        else:
            continue
        if not lost:
            yield build(rule, [cancel, *group], subject=facts.id)


def _check_attempt_events(index: HistoryIndex, facts: ChallengeFacts) -> Iterator[Violation]:
    """Check the commit of each attempt, whose instant only its event has; it is the instant that counts.

    Not where the clock was set back: an entry is never older than the one before it, so that it has
    the instant of that one until the clock is there again.
    """
    if not facts.expires_at or index.disturbance.is_clock_set_back(0, index.history.ended_at):
        return
    for event in facts.events:
        if event.members.get("type") == "otp.attempted" and event.at >= facts.expires_at:
            call = index.calls_by_request.get(str(event.members.get("request")))
            rule = "an attempt was charged after the deadline"
            yield build(rule, [call] if call else (), subject=facts.id, at=event.at)
