"""One decision: what the commit script does with one commit, in its order."""

from typing import Any, Final

from otp_service.core.timestamps import MINUTE_MS
from otp_service.store.commit_request import BucketOperation, FoldableEvent
from tests.simulation.redis_model.commit_script.bucket_operations import change_buckets, read_bucket
from tests.simulation.redis_model.commit_script.debt_book import DebtBook
from tests.simulation.redis_model.commit_script.debt_changes import (
    DebtRefunds,
    change_debts,
    note_full_country,
)
from tests.simulation.redis_model.commit_script.debt_plan import DebtPlan, decide_debts
from tests.simulation.redis_model.commit_script.event_log import EVENTS, LOG, open_log
from tests.simulation.redis_model.commit_script.folds import (
    flush_due_folds,
    fold_or_append,
    is_due,
)
from tests.simulation.redis_model.commit_script.packed_values import pack_reply, unpack_reply
from tests.simulation.redis_model.commit_script.refusal import Refusal, find_refusal
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.typed_values import read_fields, read_stream, read_string


OPERATION: Final = 1
OPERATION_TTL_MS: Final = MINUTE_MS
CHARGE_TTL_MS: Final = 5 * MINUTE_MS
FOLDS_PER_COMMIT: Final = 2
RECORD_VERSION_CHARS: Final = 8

Reply = list[Any]

Decision = Reply | DebtPlan | None
"""The reply of a commit that is not applied, also of one that was before; or the plan of its debts."""


def decide_commit(context: CommitContext) -> Decision:
    """Decide one commit."""
    previous_reply = read_string(context.keyspace, context.get_key(OPERATION))
    if previous_reply is not None:
        context.keyspace.replace(context.get_key(OPERATION), previous_reply)
        return unpack_reply(previous_reply)
    request = context.request
    now = context.now = context.call.read_clock(request)
    if (conflict := _find_conflict(context)) is not None:
        return conflict
    if 0 < request.deadline <= now:
        return [b"late", now]
    context.debts = DebtBook(context)
    for charge in request.charges:
        bucket = read_bucket(context, charge)
        if bucket.settle():
            bucket.write()
    plan = decide_debts(context)
    refusal = find_refusal(context, plan)
    context.debts.write_corrected()
    if refusal is not None:
        return _refuse(context, refusal, plan)
    if not _has_log_capacity(context):
        return [b"full", now]
    return plan


def _find_conflict(context: CommitContext) -> Reply | None:
    """Return the reply of a conflict with the values to return, or None."""
    keyspace = context.keyspace
    for expected in context.request.expected_versions:
        stored = read_string(keyspace, context.get_key(expected.key_index)) or b""
        if stored[:RECORD_VERSION_CHARS] != expected.version.encode():
            return [b"conflict", context.now, *_read_values(context, context.request.returned_keys)]
    return None


def _read_values(context: CommitContext, key_indexes: list[int]) -> list[bytes | None]:
    return [read_string(context.keyspace, context.get_key(index)) for index in key_indexes]


def _has_log_capacity(context: CommitContext) -> bool:
    """Return whether the archive may get what the commit grants."""
    limits = context.log_limits
    if not (context.request.requires_log_capacity and limits.has_archive):
        return True
    waiting = read_fields(context.keyspace, context.get_key(LOG)).get(b"waiting")
    stream = read_stream(context.keyspace, context.get_key(EVENTS))
    return (int(waiting) if waiting else stream.length) < limits.max_stream_entries


def _refuse(context: CommitContext, refusal: Refusal, plan: DebtPlan | None) -> Reply:
    reply, stamp = refusal
    event = context.request.event_if_refused
    if event is not None:
        if not open_log(context):
            return [b"no_epoch", context.now]
        _record_events(context, event, stamp, has_events=False)
    note_full_country(context, plan)
    return _store_reply(context, reply)


def apply_commit(context: CommitContext, plan: DebtPlan | None) -> Reply:
    """Return the reply of a commit that nothing refuses, after it was applied."""
    request = context.request
    charge_replies = _read_charge_replies(context)
    refunds, debt_refunds = _find_refunds(context, charge_replies)
    is_applied = None not in charge_replies.values() or not request.only_with_refunds
    flushes_folds = request.max_flushed_folds > FOLDS_PER_COMMIT
    has_log_change = request.events or request.foldable_event or request.read_keys
    uses_log = is_applied and bool(has_log_change or flushes_folds)
    if uses_log and not open_log(context):
        return [b"no_epoch", context.now]
    _mark_reversed(context, charge_replies)
    reply: Reply = [b"done", context.now, 0, 0, 0, *_read_values(context, request.read_keys)]
    if request.addresses_key:
        reply += _read_values(context, [request.addresses_key])
    if is_applied:
        reply[2] = change_buckets(context, refunds)
        reply[4] = change_debts(context, plan, debt_refunds)
        _write_values(context)
    if uses_log:
        _record_events(context, request.foldable_event, {}, has_events=True)
        reply[3] = context.log.since
    return _store_reply(context, reply)


def _read_charge_replies(context: CommitContext) -> dict[int, Reply | None]:
    """Return the replies of the charges to refund by the index of their operation's key.

    None for a charge that is not recorded as applied, or was reversed.
    """
    request = context.request
    indexes = [
        *(refund.operation_key_index for refund in request.refunds),
        *(refund.operation_key_index for refund in request.debt_refunds),
    ]
    replies: dict[int, Reply | None] = {}
    for index in dict.fromkeys(indexes):
        stored = read_string(context.keyspace, context.get_key(index))
        reply = unpack_reply(stored) if stored else None
        replies[index] = reply if reply and reply[0] == b"done" else None
    return replies


def _find_refunds(
    context: CommitContext, charge_replies: dict[int, Reply | None]
) -> tuple[list[BucketOperation], DebtRefunds]:
    """Return the refunds that apply, those of debts with the reply of their charge."""
    request = context.request
    refunds = [one for one in request.refunds if charge_replies[one.operation_key_index]]
    debt_refunds = []
    for refund in request.debt_refunds:
        reply = charge_replies[refund.operation_key_index]
        if reply is not None:
            debt_refunds.append((refund.charges, reply))
    return refunds, debt_refunds


def _mark_reversed(context: CommitContext, charge_replies: dict[int, Reply | None]) -> None:
    """Mark the charges as reversed, also those that have not arrived: they are then not applied."""
    for index in charge_replies:
        reversed_reply = pack_reply([b"reversed", context.now])
        context.call.put_for(context.get_key(index), reversed_reply, OPERATION_TTL_MS)


def _write_values(context: CommitContext) -> None:
    """Write the values, each until it expires. Deletes keys without a value or after their end."""
    keyspace, now = context.keyspace, context.now
    for write in context.request.writes:
        key, expires_at = context.get_key(write.key_index), write.expires_at
        if not write.value_index or 0 < expires_at <= now:
            keyspace.delete(key)
            continue
        value = context.arguments[write.value_index - 1]
        if expires_at > 0:
            context.call.put_for(key, value, expires_at - now)
        else:
            keyspace.put(key, value)


def _record_events(
    context: CommitContext,
    foldable_event: FoldableEvent | None,
    stamp: dict[str, Any],
    *,
    has_events: bool,
) -> None:
    """Append events to the open log, one that may be folded, and the folds that are due."""
    request, log = context.request, context.log
    for event in request.events if has_events else ():
        log.append_event(EVENTS, event)
    if foldable_event is not None:
        fold_or_append(context, foldable_event, stamp)
    has_due = log.next_due is not None and is_due(log.next_due, context.now)
    if has_due or request.max_flushed_folds > FOLDS_PER_COMMIT:
        flush_due_folds(context, request.max_flushed_folds)
    log.close()


def _store_reply(context: CommitContext, reply: Reply) -> Reply:
    """Store the reply for a caller that repeats the call, and for the refund of its charges."""
    request = context.request
    is_tried_for_long = bool(
        request.charges or request.debts or request.settlement or request.foldable_event
    )
    is_kept = reply[0] == b"done" and is_tried_for_long
    ttl_ms = CHARGE_TTL_MS if is_kept else OPERATION_TTL_MS
    context.call.put_for(context.get_key(OPERATION), pack_reply(reply), ttl_ms)
    return reply
