"""Nothing is sent while the store is in doubt, after an end, or to a number on the do-not-send list.

The contract: design "States" (3 sends a challenge; 410 for a resend with less than 60 s left; 201 if
any submission was accepted or is unknown, 502 if none was) and "Fails closed"; docs/inbound.md ("When a
keyword counts"); docs/limits.md (a 503 `overloaded` has charged and sent nothing); audit/EVENTS.md (the
reason `store_unavailable`). A message that was under way at an end may still arrive, so a send counts
as too late if its call began after the end, or if the end was longer ago than a call may take.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.comparisons import is_store_denial
from tests.simulation.auditor.index import (
    AUTOMATIC_KINDS,
    CREATING_KINDS,
    ChallengeFacts,
    HistoryIndex,
    read_text,
)
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import (
    Answered,
    CallRecord,
    Refused,
    SubmissionRecord,
    Unavailable,
)


build = partial(build_violation, Promise.SENDS)

RESEND_MARGIN_MS = 60_000
SENDING_REFUSALS = frozenset({"delivery-failed", "undeliverable"})
"""The refusals after which a provider was asked."""
REQUESTED_KINDS = CREATING_KINDS | {"resend"}


def check_sends(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each message that must not have been given to a provider."""
    for facts in index.challenges.values():
        if facts.submissions:
            yield from _check_challenge(index, facts)
    for number, submissions in index.submissions_by_call.items():
        call = None if number is None else index.history.calls[number]
        if call is not None and call.kind not in AUTOMATIC_KINDS:
            yield from _check_call(index, call, submissions)
    for call in index.history.calls:
        if call.kind in REQUESTED_KINDS and isinstance(call.outcome, Answered):
            yield from _check_silence(index, call)
    yield from _check_blocked_numbers(index)


def _check_challenge(index: HistoryIndex, facts: ChallengeFacts) -> Iterator[Violation]:
    """Check what was sent of one challenge: to whom, how often, and until when."""
    creation, submissions = facts.creation, facts.submissions
    calls = list_calls(index, submissions)
    if any(s.number != facts.number or s.tenant != facts.tenant for s in submissions):
        rule = "a code was sent to another number or for another tenant than its challenge's"
        yield build(rule, [*calls, creation] if creation else calls, subject=facts.id)
    if not index.disturbance.has_lost_writes(submissions[0].at, submissions[-1].at):
        yield from _check_counts(index, facts, calls)
    yield from _check_ends(index, facts)


def _check_counts(
    index: HistoryIndex, facts: ChallengeFacts, calls: list[CallRecord]
) -> Iterator[Violation]:
    """Check the numbers of sends and submissions, which begin again where a resend was lost."""
    submissions = facts.submissions
    sends = {submission.send for submission in submissions}
    if len({(s.send, s.ordinal) for s in submissions}) < len(submissions):
        yield build("one submission was made twice", calls, subject=facts.id)
    if len(sends) > index.settings.max_sends:
        yield build("a challenge was sent more often than it may", calls, subject=facts.id)
    if len({(s.send, s.code) for s in submissions}) > len(sends):
        yield build("one send had two codes", calls, subject=facts.id)


def _check_ends(index: HistoryIndex, facts: ChallengeFacts) -> Iterator[Violation]:
    """Check each message against the earliest known end of its challenge."""
    ends = [
        (call.ended_at, call, call.kind)
        for call in facts.cancels
        if isinstance(call.outcome, Answered) and call.ended_at is not None
    ]
    for group in index.successes.get(facts.id, ()):
        first = min(group, key=lambda call: call.ended_at or call.started_at)
        ends.append((first.ended_at or first.started_at, first, "verify"))
    for submission in facts.submissions:
        call = None if submission.call is None else index.history.calls[submission.call]
        for ended_at, end, kind in ends:
            if _is_too_late(index, submission, call, ended_at) and not (
                index.disturbance.has_lost_writes(
                    end.started_at, submission.at, is_durable=kind == "verify"
                )
            ):
                rule = f"a code was sent after the {'success' if kind == 'verify' else 'cancel'}"
                calls = [end, call] if call else [end]
                yield build(rule, calls, subject=facts.id, at=submission.at)
        yield from _check_deadline(index, facts, submission, call)


def _is_too_late(
    index: HistoryIndex, submission: SubmissionRecord, call: CallRecord | None, end: int
) -> bool:
    if call is not None and call.kind not in AUTOMATIC_KINDS and call.started_at > end:
        return True
    return submission.at - end > index.settings.call_deadline_ms


def _check_deadline(
    index: HistoryIndex,
    facts: ChallengeFacts,
    submission: SubmissionRecord,
    call: CallRecord | None,
) -> Iterator[Violation]:
    if not facts.expires_at or call is None or facts.id.startswith("d"):
        return
    margin = RESEND_MARGIN_MS if call.kind == "resend" else 0
    now = index.disturbance.read_store_clocks(call.started_at, submission.at)[0]
    if now > facts.expires_at - margin and call.kind not in CREATING_KINDS:
        rule = "a code was sent when its challenge had too little time left"
        yield build(rule, [call], subject=facts.id, at=submission.at)


def _check_call(
    index: HistoryIndex, call: CallRecord, submissions: list[SubmissionRecord]
) -> Iterator[Violation]:
    """Check that the messages of one call fit to its answer, and to the state of the store."""
    outcome, challenge = call.outcome, submissions[0].challenge
    answers = {submission.answer for submission in submissions}
    reason = outcome.reason if isinstance(outcome, Refused | Unavailable) else ""
    span = (call.started_at, submissions[0].at)
    broken = {
        "a call sent a message that sends none": call.kind not in REQUESTED_KINDS,
        "a refused call sent a message": isinstance(outcome, Refused)
        and reason not in SENDING_REFUSALS,
        "a call that was overloaded sent a message": reason == "overloaded",
        "a message that may have been taken was reported as failed": reason == "delivery-failed"
        and bool(answers & {"accepted", "unknown"}),
        "a call was answered although no provider took its message": answers == {"refused"}
        and isinstance(outcome, Answered),
        "a delivery had another code than its caller's": call.kind == "deliver"
        and any(submission.code != read_text(call, "code") for submission in submissions),
        "a message was sent in a call that an event calls reversed": any(
            is_store_denial(event.members) for event in index.events_by_request[call.request]
        ),
        "a message was sent while the store took no write": index.disturbance.is_store_closed(
            *span
        ),
        "a message was sent while too few replicas could have its challenge": (
            index.disturbance.is_unacknowledged(*span)
        ),
    }
    for rule, is_broken in broken.items():
        if is_broken:
            yield build(rule, [call], subject=challenge, at=submissions[0].at)


def _check_silence(index: HistoryIndex, call: CallRecord) -> Iterator[Violation]:
    """Check that an issue, a resend or a delivery that was answered gave a message to a provider."""
    if not index.get_submissions(call) and not call.arguments.get("idempotency_key"):
        yield build("a call was answered and sent no message", [call])


def _check_blocked_numbers(index: HistoryIndex) -> Iterator[Violation]:
    """Check each message against the blocks and opt-outs that were in force during its whole call."""
    changes: dict[str, list[CallRecord]] = defaultdict(list)
    for call in index.history.calls:
        if call.kind in {"block_number", "unblock_number", "receive_message"}:
            changes[read_text(call, "phone_number")].append(call)
    for submission in index.history.submissions if changes else ():
        for change in changes.get(submission.number, ()):
            if not _is_in_force(index, change, submission, changes[submission.number]):
                continue
            kind = "blocked" if change.kind == "block_number" else "opted-out"
            sender = list_calls(index, [submission])
            yield build(
                f"a code was sent to a {kind} number",
                [change, *sender],
                subject=submission.challenge,
                at=submission.at,
            )


def _is_in_force(
    index: HistoryIndex,
    change: CallRecord,
    submission: SubmissionRecord,
    changes: list[CallRecord],
) -> bool:
    """Return whether a block or an opt-out forbids a message, and no later call may have lifted it."""
    if not isinstance(change.outcome, Answered) or change.ended_at is None:
        return False
    is_block = change.kind == "block_number"
    if not is_block:
        if change.outcome.value.get("result") != "opted_out":
            return False
        scope = index.settings.sender_tenants.get(read_text(change, "own_number"))
        if scope not in {None, submission.tenant}:
            return False
    call = None if submission.call is None else index.history.calls[submission.call]
    if not _is_too_late(index, submission, call, change.ended_at):
        return False
    for other in changes:
        lifts = other.kind == "unblock_number" or (
            not is_block and read_text(other, "keyword").casefold() == "start"
        )
        is_later = other.ended_at is None or other.ended_at >= change.started_at
        if lifts and is_later and other.started_at <= submission.at:
            return False
    lost = index.disturbance.has_lost_writes(
        change.started_at, submission.at, is_durable=not is_block
    )
    return not lost


def list_calls(index: HistoryIndex, submissions: list[SubmissionRecord]) -> list[CallRecord]:
    """Return the calls that made these submissions, each once."""
    numbers = {submission.call for submission in submissions}
    return [index.history.calls[number] for number in numbers if number is not None]
