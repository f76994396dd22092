"""Reads and writes of the keyspace as the commands of Redis do them, for commands and for scripts."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet, Value
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.stream import Stream, StreamEntry, format_id


T = TypeVar("T", bound=Value)


def read_value(keyspace: Keyspace, key: bytes, kind: type[T], empty: T) -> T:
    """Return the value of a key, or `empty` without one. Raises ErrorReply if it has another type."""
    value = keyspace.get(key)
    if value is None:
        return empty
    if not isinstance(value, kind):
        raise ErrorReply(_WRONG_TYPE)
    return value


_WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
_EMPTY_HASH = Hash({})
_EMPTY_SORTED_SET = SortedSet({})
_EMPTY_STREAM = Stream()


def read_string(keyspace: Keyspace, key: bytes) -> bytes | None:
    """GET."""
    value = keyspace.get(key)
    if value is not None and type(value) is not bytes:
        raise ErrorReply(_WRONG_TYPE)
    return value


def read_fields(keyspace: Keyspace, key: bytes) -> Mapping[bytes, bytes]:
    """Return the fields of a hash, which must not be changed."""
    return read_value(keyspace, key, Hash, _EMPTY_HASH).fields


def read_scores(keyspace: Keyspace, key: bytes) -> SortedSet:
    """Return a sorted set, an empty one without the key."""
    return read_value(keyspace, key, SortedSet, _EMPTY_SORTED_SET)


def read_stream(keyspace: Keyspace, key: bytes) -> Stream:
    """Return a stream, an empty one without the key."""
    return read_value(keyspace, key, Stream, _EMPTY_STREAM)


def set_fields(keyspace: Keyspace, key: bytes, fields: dict[bytes, bytes]) -> None:
    """HSET."""
    stored = read_value(keyspace, key, Hash, _EMPTY_HASH)
    keyspace.replace(key, stored.set(fields))


def delete_fields(keyspace: Keyspace, key: bytes, names: Sequence[bytes]) -> int:
    """HDEL: return how many fields there were. Without one of them it writes nothing."""
    stored = read_value(keyspace, key, Hash, _EMPTY_HASH)
    found = stored.fields.keys() & set(names)
    if found:
        keyspace.replace(key, stored.remove(*found))
    return len(found)


def describe_entries(entries: Sequence[StreamEntry]) -> list[list[bytes | list[bytes]]]:
    """Return entries of a stream as XRANGE does."""
    return [[format_id(entry.id), list(entry.fields)] for entry in entries]
