"""A repeat of a call with its Idempotency-Key is answered as the first one, and sends nothing.

The contract: docs/api-guide.md "Idempotency" and design "Idempotency": a record lives 24 hours; a
refused call frees its key, and so does a 503 if no message can have been sent; if one may have been
sent, the repeat finds its challenge. Verifies are repeated within 60 s (success.py). A loss of the
store loses the records (docs/backup-and-restore.md), and a new `limit` key finds none.
"""

from collections.abc import Iterator
from functools import partial

from tests.simulation.auditor.index import CREATING_KINDS, HistoryIndex, RequestKey
from tests.simulation.auditor.violation import Promise, Violation, build_violation
from tests.simulation.history import Answered, CallRecord, Refused


build = partial(build_violation, Promise.REPEATS)

RECORD_MS = 24 * 3_600_000
VERIFY_RECORD_MS = 60_000
VERIFYING_KINDS = frozenset({"verify", "verify_authenticator", "verify_recovery_code"})
BOUND_ARGUMENTS = ("phone_number", "account", "purpose", "code", "challenge")
"""What a key is bound to, of every kind. Of a factor a repeat may send another token of the same."""
SAME_MEMBERS = ("id", "authenticator", "recovery_set")
"""What a repeat returns as the first answer did."""


def check_repeats(index: HistoryIndex) -> Iterator[Violation]:
    """Yield each repeat that was answered or acted as a call of its own."""
    for key, calls in index.calls_by_key.items():
        if len(calls) > 1:
            yield from _check_answers(index, key, calls)
            if key.kind in CREATING_KINDS:
                yield from _check_messages(index, calls)
                yield from _check_charged_repeats(index, calls)
    yield from _check_ids(index)


def _check_answers(
    index: HistoryIndex, key: RequestKey, calls: list[CallRecord]
) -> Iterator[Violation]:
    """Compare each call with the first that was answered before it began."""
    answered = sorted(
        (call for call in calls if isinstance(call.outcome, Answered) and call.ended_at),
        key=lambda call: call.ended_at or 0,
    )
    if not answered:
        return
    first = answered[0]
    record_ms = VERIFY_RECORD_MS if key.kind in VERIFYING_KINDS else RECORD_MS
    for call in calls:
        age = call.started_at - (first.ended_at or 0)
        if call is first or age <= 0 or _is_forgotten(index, first, call, record_ms):
            continue
        if _list_request(call) != _list_request(first):
            if isinstance(call.outcome, Answered) and key.kind != "verify":
                yield build("one Idempotency-Key was taken for two requests", [first, call])
        elif isinstance(call.outcome, Answered):
            if _list_answer(call.outcome) != _list_answer(first.outcome):
                yield build("a repeat was answered otherwise than the first call", [first, call])
            if index.get_submissions(call):
                yield build("a repeat sent a message", [first, call])
        elif isinstance(call.outcome, Refused) and call.outcome.reason == "rate-limited":
            yield build("a repeat of an answered call was charged", [first, call])


def _is_forgotten(index: HistoryIndex, first: CallRecord, call: CallRecord, record_ms: int) -> bool:
    """Return whether the record of the first call may be gone when the repeat looks for it."""
    end = call.ended_at or call.started_at
    disturbance = index.disturbance
    return (
        end - (first.ended_at or 0) > record_ms
        or disturbance.has_clock_step(first.started_at, end)
        or disturbance.count_forgiven_charges(first.started_at, end) > 0
        or disturbance.has_lost_writes(first.started_at, end, is_durable=False)
    )


def _check_messages(index: HistoryIndex, calls: list[CallRecord]) -> Iterator[Violation]:
    """Check that one key has at most one challenge of which a message may have been taken."""
    senders: dict[str, CallRecord] = {}
    for call in calls:
        for submission in index.get_submissions(call):
            if submission.answer != "refused":
                senders.setdefault(submission.challenge, call)
    first, *others = senders.values() if senders else (None,)
    for other in others:
        assert first is not None
        if other is not None and not _is_forgotten(index, first, other, RECORD_MS):
            yield build("one Idempotency-Key sent the messages of two challenges", [first, other])


def _check_charged_repeats(index: HistoryIndex, calls: list[CallRecord]) -> Iterator[Violation]:
    """Check that no repeat is charged once a message of the first call may have been taken.

    It has to find the challenge of that call, also if the store failed after the message.
    """
    for first in calls:
        sent = [s for s in index.get_submissions(first) if s.answer != "refused"]
        if not sent or isinstance(first.outcome, Answered | Refused):
            continue
        for call in calls:
            is_repeat = call.started_at > sent[0].at and _list_request(call) == _list_request(first)
            is_charged = isinstance(call.outcome, Refused) and call.outcome.reason == "rate-limited"
            if is_repeat and is_charged and not _is_forgotten(index, first, call, RECORD_MS):
                rule = "a repeat of a call that may have sent a message was charged"
                yield build(rule, [first, call])


def _check_ids(index: HistoryIndex) -> Iterator[Violation]:
    """Check that no two calls share a challenge, unless one repeats the other."""
    owners: dict[str, CallRecord] = {}
    for call in index.history.calls:
        if call.kind in CREATING_KINDS and isinstance(call.outcome, Answered):
            owner = owners.setdefault(str(call.outcome.value.get("id")), call)
            if owner is not call and (_find_key(owner) != _find_key(call) or not _find_key(call)):
                yield build("two calls were answered with one challenge", [owner, call])


def _find_key(call: CallRecord) -> tuple[str, str, object] | None:
    key = call.arguments.get("idempotency_key")
    return (call.tenant, call.kind, key) if key else None


def _list_request(call: CallRecord) -> list[object]:
    return [call.arguments.get(name) for name in BOUND_ARGUMENTS]


def _list_answer(outcome: object) -> list[object]:
    return (
        [outcome.value.get(name) for name in SAME_MEMBERS] if isinstance(outcome, Answered) else []
    )
