"""Folds: refusals beyond ten a minute with one name, which become one event."""

from typing import Any, Final

import msgspec

from otp_service.core.timestamps import MINUTE_MS
from otp_service.store.commit_request import FoldableEvent, SignedEvent
from tests.simulation.redis_model.commit_script.event_log import DUE, FOLDS
from tests.simulation.redis_model.commit_script.refusal_stream import (
    append_refusal_event,
    make_room_for_refusal,
)
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.keyspace import Hash
from tests.simulation.redis_model.typed_values import read_fields, read_scores


FOLD_AFTER_EVENTS: Final = 10
FOLD_SPAN_MS: Final = MINUTE_MS
MAX_FOLD_CLIENT_IPS: Final = 100
MAX_WAITING_FOLDS: Final = 1000


class Fold(msgspec.Struct, omit_defaults=True):
    """What is counted under one name: how many events were seen, and those that are only counted."""

    due: int
    seen: int
    count: int
    distinct: int
    """The count of client IPs."""
    client_ips: dict[str, bool]
    event: str | None = None
    """The body of the first event that is only counted, as `mac`, `stamp` and `first` are of it."""
    mac: str | None = None
    stamp: dict[str, Any] = {}
    first: int | None = None
    last: int | None = None


_encode_fold = msgspec.msgpack.Encoder().encode
_decode_fold = msgspec.msgpack.Decoder(Fold).decode


def is_due(due: int, now: int) -> bool:
    """Return whether a fold is due, or was begun while the clock was ahead."""
    return now >= due or due > now + FOLD_SPAN_MS


def flush_due_folds(context: CommitContext, max_folds: int) -> None:
    """Append the events of folds that are due, as far as there is space."""
    now, log = context.now, context.log
    waiting = read_scores(context.keyspace, context.get_key(DUE)).list_sorted()
    names = [name for due, name in waiting if due <= now][:max_folds]
    if len(names) < max_folds:
        names += [name for due, name in waiting if due > now + FOLD_SPAN_MS][
            : max_folds - len(names)
        ]
    for name in names:
        if not make_room_for_refusal(context):
            return
        packed = read_fields(context.keyspace, context.get_key(FOLDS)).get(name)
        if packed is None:
            _remove_due(context, name)
        else:
            _flush_fold(context, name, _decode_fold(packed))
    left = read_scores(context.keyspace, context.get_key(DUE)).list_sorted()
    log.next_due = int(left[0][0]) if left else None


def fold_or_append(context: CommitContext, event: FoldableEvent, stamp: dict[str, Any]) -> None:
    """Append the event of a refusal, or count it in its fold."""
    reason = stamp.get("limit") or stamp.get("reason") or ""
    name = f"{event.fold_name}:{reason}".encode()
    folds_key = context.get_key(FOLDS)
    packed = read_fields(context.keyspace, folds_key).get(name)
    fold = _decode_fold(packed) if packed is not None else None
    has_room = make_room_for_refusal(context)
    if fold and is_due(fold.due, context.now) and has_room:
        _flush_fold(context, name, fold)
        fold, has_room = None, make_room_for_refusal(context)
    is_full = len(read_fields(context.keyspace, folds_key)) >= MAX_WAITING_FOLDS
    if fold is None and not has_room and is_full:
        context.log.unrecorded += 1
        return
    fold = fold or Fold(context.now + FOLD_SPAN_MS, 0, 0, 0, {})
    fold.seen += 1
    if fold.seen <= FOLD_AFTER_EVENTS and has_room:
        append_refusal_event(context, event, stamp)
    else:
        _count_event(fold, event, stamp, context.now)
    _write_fold(context, name, fold)


def _count_event(fold: Fold, event: FoldableEvent, stamp: dict[str, Any], now: int) -> None:
    if fold.count == 0:
        fold.event, fold.mac, fold.stamp, fold.first = event.body, event.mac, stamp, now
    fold.count, fold.last = fold.count + 1, now
    client_ip = event.client_ip
    if client_ip and client_ip not in fold.client_ips and fold.distinct < MAX_FOLD_CLIENT_IPS:
        fold.client_ips[client_ip] = True
        fold.distinct += 1


def _write_fold(context: CommitContext, name: bytes, fold: Fold) -> None:
    keyspace, log = context.keyspace, context.log
    folds_key, due_key = context.get_key(FOLDS), context.get_key(DUE)
    folds = {**read_fields(keyspace, folds_key), name: _encode_fold(fold)}
    keyspace.replace(folds_key, Hash(folds))
    keyspace.replace(due_key, read_scores(keyspace, due_key).set(name, fold.due))
    log.next_due = fold.due if log.next_due is None else min(log.next_due, fold.due)


def _flush_fold(context: CommitContext, name: bytes, fold: Fold) -> None:
    """Append the event of a fold, if it has one, and delete the fold."""
    if fold.count > 0:
        assert fold.event is not None and fold.mac is not None  # noqa: PT018  # both are of one event
        stamp = {
            **fold.stamp,
            "folded": fold.count,
            "first": fold.first,
            "last": fold.last,
            "client_ips": fold.distinct,
        }
        append_refusal_event(context, SignedEvent(fold.event, fold.mac), stamp)
    key = context.get_key(FOLDS)
    folds = dict(read_fields(context.keyspace, key))
    folds.pop(name, None)
    context.keyspace.replace(key, Hash(folds))
    _remove_due(context, name)


def _remove_due(context: CommitContext, name: bytes) -> None:
    key = context.get_key(DUE)
    context.keyspace.replace(key, read_scores(context.keyspace, key).remove(name))
