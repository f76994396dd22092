"""The Lua scripts of the store but those of commits, with the same KEYS, ARGV, replies and effects.

Numbers are integers here: the service stores no others in these keys.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.redis_model.failure_moves import run_move_failures_script
from tests.simulation.redis_model.keyspace import Keyspace
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.stream import parse_id, parse_range_start
from tests.simulation.redis_model.typed_values import (
    describe_entries,
    read_fields,
    read_stream,
    read_string,
    set_fields,
)


Script = Callable[[Keyspace, Sequence[bytes], Sequence[bytes]], Any]
"""A script by its keyspace, KEYS and ARGV. TIME is the clock of the keyspace."""

INVALID_ID = "ERR Invalid stream ID specified as stream command argument"

MAX_COUNTED_ENTRIES = 64
"""As in mark_archived.lua."""


def run_fetch_script(keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
    """`fetch.lua`."""
    return [keyspace.clock() + int(arguments[0]), *(read_string(keyspace, key) for key in keys)]


def run_lease_script(keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]) -> int:
    """`lease.lua`."""
    (key,), (holder, hold_ms, floor, status, *_) = keys, arguments
    now, stored = keyspace.clock(), read_fields(keyspace, key)
    is_own, expires_at = stored.get(b"holder") == holder, int(stored.get(b"until", 0))
    until = now + int(hold_ms)
    if not is_own and now < expires_at:
        if expires_at > until:
            set_fields(keyspace, key, {b"until": b"%d" % until})
        return 0
    fence = int(stored.get(b"fence", 0))
    if not is_own or fence <= int(floor):
        fence = max(fence, int(floor)) + 1
    fields = {
        b"holder": holder,
        b"until": b"%d" % until,
        b"fence": b"%d" % fence,
        b"status": status,
    }
    set_fields(keyspace, key, fields)
    return fence


def run_read_pending_script(
    keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> list[Any]:
    """`read_pending.lua`."""
    log_key, *stream_keys = keys
    count, reads_all = int(arguments[0]), arguments[1] == b"1"
    log = read_fields(keyspace, log_key)
    archived = log.get(b"archived")
    first = b"-" if archived is None or reads_all else b"(" + archived
    streams = [read_stream(keyspace, key) for key in stream_keys]
    waiting = log.get(b"waiting", b"")
    return [
        keyspace.clock(),
        *(int(log.get(name, 0)) for name in (b"epoch", b"seq", b"ms")),
        archived or b"",
        log.get(b"sequence_id", b""),
        int(waiting) if waiting else streams[0].length,
        *(describe_entries(s.list_range(_parse_start(first), count=count)) for s in streams),
    ]


def run_mark_archived_script(
    keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> int:
    """`mark_archived.lua`."""
    log_key, events_key, refusals_key = keys
    fence, before, position, sequence_id, event_count, max_entries, *_ = arguments
    log = read_fields(keyspace, log_key)
    streams = [read_stream(keyspace, key) for key in (events_key, refusals_key)]
    if log.get(b"archived", b"") != before or int(log.get(b"fence", 0)) > int(fence):
        return 0
    if position != before and not any(s.list_range(*_parse_ends(position)) for s in streams):
        return 0
    start = _parse_start(b"(" + position if position else b"-")
    remaining = len(streams[0].list_range(start, count=MAX_COUNTED_ENTRIES))
    waiting = _count_waiting(log.get(b"waiting", b""), remaining, event_count)
    fields = {b"fence": fence, b"sequence_id": sequence_id, b"waiting": waiting}
    set_fields(keyspace, log_key, fields)
    if not position:
        return 1
    set_fields(keyspace, log_key, {b"archived": position})
    if streams[1].length >= int(max_entries) / 2:
        trimmed = streams[1].trim_before(parse_id(position))
        if trimmed is not streams[1]:
            keyspace.replace(refusals_key, trimmed)
    return 1


def run_probe_script(
    keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> list[Any]:
    """`probe.lua` without an ACL: every command is allowed, and the last one deletes the key."""
    del arguments
    keyspace.put(keys[0], b"", keyspace.clock() + 1000)
    keyspace.delete(keys[0])
    return []


def run_ready_script(keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]) -> int:
    """`READY_SCRIPT` of health.py."""
    del keyspace, keys, arguments
    return 1


def _count_waiting(waiting: bytes, remaining: int, event_count: bytes) -> bytes:
    if remaining < MAX_COUNTED_ENTRIES:
        return b"%d" % remaining
    if not event_count:
        return b""
    if not waiting:
        return waiting
    return b"%d" % max(remaining, int(waiting) - int(event_count))


def _parse_start(text: bytes) -> tuple[int, int]:
    try:
        return parse_range_start(text)
    except ValueError:
        raise ErrorReply(INVALID_ID) from None


def _parse_ends(text: bytes) -> tuple[tuple[int, int], tuple[int, int]]:
    try:
        return parse_id(text), parse_id(text)
    except ValueError:
        raise ErrorReply(INVALID_ID) from None


SMALL_SCRIPTS: dict[str, Script] = {
    "fetch": run_fetch_script,
    "lease": run_lease_script,
    "mark_archived": run_mark_archived_script,
    "move_failures": run_move_failures_script,
    "probe": run_probe_script,
    "read_pending": run_read_pending_script,
}
"""By the name of their file in `otp_service/store/lua`."""
