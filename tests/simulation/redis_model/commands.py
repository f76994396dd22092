"""The commands that the service sends outside of scripts, on one keyspace.

An argument that the service does not send raises UnknownCommand, so that the model is never used for
what it was not compared with. `server.py` has the commands about connections and the server.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from tests.simulation.redis_model.keyspace import Keyspace, SortedSet
from tests.simulation.redis_model.replies import OK, ErrorReply, UnknownCommand
from tests.simulation.redis_model.stream import parse_range_end, parse_range_start
from tests.simulation.redis_model.typed_values import (
    delete_fields,
    describe_entries,
    read_fields,
    read_stream,
    read_string,
    read_value,
)


Arguments = Sequence[bytes]

_NO_MEMBERS: frozenset[bytes] = frozenset()
_NO_SCORES = SortedSet({})


def run_get(keyspace: Keyspace, arguments: Arguments) -> bytes | None:
    """GET key."""
    (key,) = arguments
    return read_string(keyspace, key)


def run_set(keyspace: Keyspace, arguments: Arguments) -> str | None:
    """SET key value [NX | PX milliseconds]."""
    key, value, *options = arguments
    match options:
        case []:
            keyspace.put(key, value)
        case [b"NX"]:
            if keyspace.get(key) is not None:
                return None
            keyspace.put(key, value)
        case [b"PX", ms]:
            if int(ms) <= 0:
                raise ErrorReply("ERR invalid expire time in 'set' command")
            keyspace.put(key, value, keyspace.clock() + int(ms))
        case _:
            raise UnknownCommand("ERR syntax error")
    return OK


def run_getrange(keyspace: Keyspace, arguments: Arguments) -> bytes:
    """GETRANGE key first last, both from 0 on."""
    key, first, last = arguments
    return (read_string(keyspace, key) or b"")[int(first) : int(last) + 1]


def run_exists(keyspace: Keyspace, arguments: Arguments) -> int:
    """EXISTS key."""
    (key,) = arguments
    return int(keyspace.get(key) is not None)


def run_pexpire(keyspace: Keyspace, arguments: Arguments) -> int:
    """PEXPIRE key milliseconds."""
    key, ms = arguments
    value = keyspace.get(key)
    if value is None:
        return 0
    if int(ms) <= 0:
        keyspace.delete(key)
    else:
        keyspace.put(key, value, keyspace.clock() + int(ms))
    return 1


def run_hget(keyspace: Keyspace, arguments: Arguments) -> bytes | None:
    """HGET key field."""
    key, name = arguments
    return read_fields(keyspace, key).get(name)


def run_hmget(keyspace: Keyspace, arguments: Arguments) -> list[bytes | None]:
    """HMGET key field…"""
    key, *names = arguments
    fields = read_fields(keyspace, key)
    return [fields.get(name) for name in names]


def run_hgetall(keyspace: Keyspace, arguments: Arguments) -> list[bytes]:
    """HGETALL key."""
    (key,) = arguments
    return [part for pair in read_fields(keyspace, key).items() for part in pair]


def run_hdel(keyspace: Keyspace, arguments: Arguments) -> int:
    """HDEL key field…"""
    key, *names = arguments
    return delete_fields(keyspace, key, names)


def run_smembers(keyspace: Keyspace, arguments: Arguments) -> list[bytes]:
    """SMEMBERS key. The order means nothing, and is the same in each run."""
    (key,) = arguments
    return sorted(read_value(keyspace, key, frozenset, _NO_MEMBERS))


def run_srem(keyspace: Keyspace, arguments: Arguments) -> int:
    """SREM key member."""
    key, member = arguments
    members = read_value(keyspace, key, frozenset, _NO_MEMBERS)
    if member not in members:
        return 0
    keyspace.replace(key, members - {member})
    return 1


def run_zadd(keyspace: Keyspace, arguments: Arguments) -> int:
    """ZADD key score member."""
    key, score, member = arguments
    stored = read_value(keyspace, key, SortedSet, _NO_SCORES)
    if stored.scores.get(member) == float(score):
        return 0
    keyspace.replace(key, stored.set(member, float(score)))
    return int(member not in stored.scores)


def run_zremrangebyscore(keyspace: Keyspace, arguments: Arguments) -> int:
    """ZREMRANGEBYSCORE key lowest highest, both included."""
    key, lowest, highest = arguments
    stored = read_value(keyspace, key, SortedSet, _NO_SCORES)
    low, high = float(lowest), float(highest)
    return _remove_members(
        keyspace, key, stored, [m for at, m in stored.list_sorted() if low <= at <= high]
    )


def run_zremrangebyrank(keyspace: Keyspace, arguments: Arguments) -> int:
    """ZREMRANGEBYRANK key 0 last, from the end if `last` is negative."""
    key, first, last = arguments
    if first != b"0":
        raise UnknownCommand("ERR the model has ZREMRANGEBYRANK from 0 alone")
    stored = read_value(keyspace, key, SortedSet, _NO_SCORES)
    end = int(last) if int(last) >= 0 else len(stored.scores) + int(last)
    members = [member for _, member in stored.list_sorted()][: max(0, end + 1)]
    return _remove_members(keyspace, key, stored, members)


def run_zrange(keyspace: Keyspace, arguments: Arguments) -> list[bytes]:
    """ZRANGE key 0 -1 REV."""
    key, *others = arguments
    if others != [b"0", b"-1", b"REV"]:
        raise UnknownCommand("ERR the model has ZRANGE 0 -1 REV alone")
    stored = read_value(keyspace, key, SortedSet, _NO_SCORES)
    return [member for _, member in reversed(stored.list_sorted())]


def run_xrevrange(keyspace: Keyspace, arguments: Arguments) -> list[Any]:
    """XREVRANGE key last first COUNT count."""
    key, last, first, option, count = arguments
    if option != b"COUNT":
        raise UnknownCommand("ERR syntax error")
    try:
        start, end = parse_range_start(first), parse_range_end(last)
    except ValueError:
        raise ErrorReply("ERR Invalid stream ID specified as stream command argument") from None
    entries = read_stream(keyspace, key).list_range(start, end)
    return describe_entries(entries[::-1][: int(count)])


def run_dbsize(keyspace: Keyspace, arguments: Arguments) -> int:
    """DBSIZE. Redis counts expired keys until it deletes them, which nothing relies on."""
    if arguments:
        raise ErrorReply("ERR wrong number of arguments for 'dbsize' command")
    return len(keyspace.list_keys())


def run_scan(keyspace: Keyspace, arguments: Arguments) -> list[Any]:
    """SCAN 0 [MATCH pattern] [COUNT count]. The first batch has all keys, as Redis may do."""
    cursor, *options = arguments
    named = dict(zip(options[::2], options[1::2], strict=True))
    if cursor != b"0" or named.keys() - {b"MATCH", b"COUNT"}:
        raise UnknownCommand("ERR syntax error")
    pattern = _compile_glob(named.get(b"MATCH", b"*"))
    return [b"0", [key for key in keyspace.list_keys() if pattern.fullmatch(key)]]


def _remove_members(
    keyspace: Keyspace, key: bytes, stored: SortedSet, members: Sequence[bytes]
) -> int:
    if members:
        keyspace.replace(key, stored.remove(*members))
    return len(members)


@cache
def _compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """Return a pattern of Redis as a regular expression; `*`, and sets such as `[0-9]`."""
    parts = re.split(rb"(\*|\[[^]]*\])", pattern)
    special = {b"*": b".*"}
    text = b"".join(
        special.get(part, part) if index % 2 else re.escape(part)
        for index, part in enumerate(parts)
    )
    return re.compile(text, re.DOTALL)


class DataCommand(NamedTuple):
    """A command on keys: what runs it, how many arguments it has, and when Redis refuses it."""

    run: Callable[[Keyspace, Arguments], Any]
    min_arguments: int
    max_arguments: int
    is_write: bool = False
    needs_memory: bool = False
    """Whether a full Redis refuses it: its flag `denyoom`."""


_MANY = 1 << 20

DATA_COMMANDS: dict[bytes, DataCommand] = {
    b"DBSIZE": DataCommand(run_dbsize, 0, 0),
    b"EXISTS": DataCommand(run_exists, 1, 1),
    b"GET": DataCommand(run_get, 1, 1),
    b"GETRANGE": DataCommand(run_getrange, 3, 3),
    b"HDEL": DataCommand(run_hdel, 2, _MANY, is_write=True),
    b"HGET": DataCommand(run_hget, 2, 2),
    b"HGETALL": DataCommand(run_hgetall, 1, 1),
    b"HMGET": DataCommand(run_hmget, 2, _MANY),
    b"PEXPIRE": DataCommand(run_pexpire, 2, 2, is_write=True),
    b"SCAN": DataCommand(run_scan, 1, 5),
    b"SET": DataCommand(run_set, 2, 4, is_write=True, needs_memory=True),
    b"SMEMBERS": DataCommand(run_smembers, 1, 1),
    b"SREM": DataCommand(run_srem, 2, 2, is_write=True),
    b"XREVRANGE": DataCommand(run_xrevrange, 5, 5),
    b"ZADD": DataCommand(run_zadd, 3, 3, is_write=True, needs_memory=True),
    b"ZRANGE": DataCommand(run_zrange, 4, 4),
    b"ZREMRANGEBYRANK": DataCommand(run_zremrangebyrank, 3, 3, is_write=True),
    b"ZREMRANGEBYSCORE": DataCommand(run_zremrangebyscore, 3, 3, is_write=True),
}
