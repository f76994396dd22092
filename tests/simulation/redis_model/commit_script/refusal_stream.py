"""The stream of refusals, which has a part of the space of the log."""

import math
import re
from typing import Any, Final

from otp_service.store.commit_request import SignedEvent
from tests.simulation.redis_model.commit_script.event_log import REFUSALS
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.stream import Stream, StreamEntry
from tests.simulation.redis_model.typed_values import read_stream


MAX_REFUSAL_ENTRIES: Final = 5000
EVICTED_PART: Final = 16
"""An eviction deletes up to this part of the entries, one sixteenth."""

_STAMP_INDEX: Final = 7

_find_type = re.compile(rb'"type":"([^"]*)"').search
_find_tenant = re.compile(rb'"tenant":"([^"]*)"').search
_find_folded = re.compile(rb'"folded":(\d+)').search
_find_unrecorded = re.compile(rb'"unrecorded":(\d+)').search


def append_refusal_event(context: CommitContext, event: SignedEvent, stamp: dict[str, Any]) -> None:
    """Append to a stream that has space, with the count of what is only counted before it."""
    log = context.log
    if log.unrecorded > 0:
        stamp["unrecorded"] = log.unrecorded
        log.unrecorded = 0
    log.append_event(REFUSALS, event, stamp)


def make_room_for_refusal(context: CommitContext) -> bool:
    """Return whether the stream has space: older entries, or with an archive archived ones, leave it."""
    log, limits = context.log, context.log_limits
    max_entries = min(limits.max_stream_entries / 2, MAX_REFUSAL_ENTRIES)
    stream = read_stream(context.keyspace, context.get_key(REFUSALS))
    log.is_trim_due = log.is_trim_due or stream.length == 0
    if stream.length < max_entries:
        return True
    if limits.has_archive:
        trimmed = stream.trim_before((log.archived_ms, 0))
        _replace_stream(context, trimmed)
        return trimmed.length < max_entries
    _evict_largest_source(context, stream, max_entries)
    return True


def _evict_largest_source(context: CommitContext, stream: Stream, max_entries: float) -> None:
    """Delete the oldest entries of the source that has most, and count them."""
    entries_by_source: dict[bytes, list[StreamEntry]] = {}
    largest: list[StreamEntry] = []
    for entry in stream.list_range():
        entries = entries_by_source.setdefault(_find_source(entry.fields[1]), [])
        entries.append(entry)
        if len(entries) > len(largest):
            largest = entries
    if not largest:
        raise ErrorReply("attempt to get length of a nil value")
    evicted = largest[: math.ceil(max_entries / EVICTED_PART)]
    for entry in evicted:
        stamp = entry.fields[_STAMP_INDEX]
        folded, unrecorded = _find_folded(stamp), _find_unrecorded(stamp)
        context.log.unrecorded += int(folded[1]) if folded else 1
        context.log.unrecorded += int(unrecorded[1]) if unrecorded else 0
    _replace_stream(context, stream.delete(*(entry.id for entry in evicted)))


def _find_source(body: bytes) -> bytes:
    """Return the type and the tenant of an event."""
    kind, tenant = _find_type(body), _find_tenant(body)
    return (kind[1] if kind else b"") + b":" + (tenant[1] if tenant else b"")


def _replace_stream(context: CommitContext, stream: Stream) -> None:
    key = context.get_key(REFUSALS)
    if context.keyspace.get(key) is not None:
        context.keyspace.replace(key, stream)
