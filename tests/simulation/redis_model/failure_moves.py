"""The script that moves consecutive failures (`otp_service/store/lua/move_failures.lua`)."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.redis_model.keyspace import Hash, Keyspace
from tests.simulation.redis_model.typed_values import delete_fields, read_fields, set_fields


def run_move_failures_script(
    keyspace: Keyspace, keys: Sequence[bytes], arguments: Sequence[bytes]
) -> Any:
    """Return the reply to one of the four calls; the last argument is the token of the call."""
    call, move, *others, _ = arguments
    return _CALLS[call](keyspace, keys[0], move, others)


def _add(keyspace: Keyspace, key: bytes, move: bytes, arguments: Sequence[bytes]) -> bytes:
    failures, last, subject, ttl_ms = arguments
    stored = read_fields(keyspace, key)
    if (noted := stored.get(b"move")) is not None:
        return noted
    now = keyspace.clock()
    last_at = max(int(last), int(stored.get(b"last", 0)))
    count = int(stored.get(b"count", 0)) + int(failures)
    fields = {b"count": b"%d" % count, b"last": b"%d" % last_at, b"subject": subject, b"move": move}
    set_fields(keyspace, key, fields)
    kept_ms = max(1, min(int(ttl_ms), last_at + int(ttl_ms) - now))
    keyspace.put(key, Hash(dict(read_fields(keyspace, key))), now + kept_ms)
    return move


def _take(keyspace: Keyspace, key: bytes, move: bytes, arguments: Sequence[bytes]) -> int:
    (failures,) = arguments
    stored = read_fields(keyspace, key)
    count = stored.get(b"count")
    if count is None:
        return 0
    if stored.get(b"taken") == move:
        return int(stored[b"taken_failures"])
    taken = min(int(count), int(failures))
    left = b"%d" % (int(count) - taken)
    set_fields(keyspace, key, {b"count": left, b"taken": move, b"taken_failures": b"%d" % taken})
    return taken


def _finish(keyspace: Keyspace, key: bytes, move: bytes, arguments: Sequence[bytes]) -> int:
    (failures,) = arguments
    stored = read_fields(keyspace, key)
    if stored.get(b"move") == move:
        count = int(stored[b"count"]) - int(failures)
        if count <= 0:
            keyspace.delete(key)
        else:
            set_fields(keyspace, key, {b"count": b"%d" % count})
            delete_fields(keyspace, key, [b"move"])
    return 1


def _forget(keyspace: Keyspace, key: bytes, move: bytes, _: Sequence[bytes]) -> int:
    stored = read_fields(keyspace, key)
    if stored.get(b"taken") == move:
        if int(stored.get(b"count", 1)) == 0:
            keyspace.delete(key)
        else:
            delete_fields(keyspace, key, [b"taken", b"taken_failures"])
    return 1


_CALLS: dict[bytes, Callable[[Keyspace, bytes, bytes, Sequence[bytes]], bytes | int]] = {
    b"add": _add,
    b"take": _take,
    b"finish": _finish,
    b"forget": _forget,
}
