"""Reads of the keyspace that fail as Redis does if a key has a value of another type."""

from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet
from tests.simulation.redis_model.stream import Stream


class ScriptError(Exception):
    """A script that ended by an error of Redis or of Lua. What it has written until then stays."""


_NO_FIELDS: dict[bytes, bytes] = {}
_NO_SCORES: dict[bytes, float] = {}
_EMPTY_STREAM = Stream()


def read_string(keyspace: Keyspace, key: bytes) -> bytes | None:
    """GET."""
    value = keyspace.get(key)
    if value is not None and type(value) is not bytes:
        raise _WRONG_TYPE
    return value


def read_fields(keyspace: Keyspace, key: bytes) -> dict[bytes, bytes]:
    """Return the fields of a hash, which may not be changed; none without the key."""
    value = keyspace.get(key)
    if value is None:
        return _NO_FIELDS
    if not isinstance(value, Hash):
        raise _WRONG_TYPE
    return value.fields


def read_scores(keyspace: Keyspace, key: bytes) -> SortedSet:
    """Return a sorted set; an empty one without the key."""
    value = keyspace.get(key)
    if value is None:
        return SortedSet(_NO_SCORES)
    if not isinstance(value, SortedSet):
        raise _WRONG_TYPE
    return value


def read_stream(keyspace: Keyspace, key: bytes) -> Stream:
    """Return a stream; an empty one without the key."""
    value = keyspace.get(key)
    if value is None:
        return _EMPTY_STREAM
    if not isinstance(value, Stream):
        raise _WRONG_TYPE
    return value


_WRONG_TYPE = ScriptError("WRONGTYPE Operation against a key holding the wrong kind of value")
