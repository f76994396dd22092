"""Everything that a server has stored, in a form in which the model's and a real one's are equal."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet
from tests.simulation.redis_model.stream import Stream, format_id


Dump = dict[bytes, tuple[Any, int]]
"""By key the content, and the instant in milliseconds at which it expires, 0 for never."""

DUMP_LUA: Final = """
local time, dump = redis.call('TIME'), {}
for i, key in ipairs(redis.call('KEYS', '*')) do
  local kind, content, last_id, nodes = redis.call('TYPE', key).ok, nil, '', 0
  if kind == 'string' then
    content = redis.call('GET', key)
  elseif kind == 'hash' then
    content = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'set' then
    content = redis.call('SMEMBERS', key)
  else
    content = redis.call('XRANGE', key, '-', '+')
    local info = redis.call('XINFO', 'STREAM', key)
    for j = 1, #info, 2 do
      last_id = info[j] == 'last-generated-id' and info[j + 1] or last_id
      nodes = info[j] == 'radix-tree-keys' and info[j + 1] or nodes
    end
  end
  dump[i] = { key, kind, redis.call('PEXPIRETIME', key), content, last_id, nodes }
end
return { time[1] * 1000 + math.floor(time[2] / 1000), dump }
"""
"""Reads all of it in one step, by one clock, with the nodes of streams, which XTRIM depends on."""


def decode_dump(reply: Sequence[Any]) -> tuple[int, Dump]:
    """Return the time of the server and the dump of a reply to DUMP_LUA."""
    now, entries = reply
    dump: Dump = {}
    for key, kind, expires_at, content, last_id, nodes in entries:
        dump[key] = (_decode_content(key, kind, content, last_id, nodes), max(0, expires_at))
    return now, dump


def dump_keyspace(keyspace: Keyspace) -> Dump:
    """Return the same of a model."""
    dump: Dump = {}
    for key in keyspace.list_keys():
        value = keyspace.get(key)
        assert value is not None
        dump[key] = (_describe_value(key, value), keyspace.get_expiry(key))
    return dump


def _decode_content(key: bytes, kind: bytes, content: Any, last_id: bytes, nodes: int) -> Any:
    match kind:
        case b"hash":
            return _describe_hash(key, dict(zip(content[::2], content[1::2], strict=True)))
        case b"zset":
            return sorted(
                (float(at), name) for name, at in zip(content[::2], content[1::2], strict=True)
            )
        case b"set":
            return set(content)
        case b"stream":
            entries = [(entry_id, _describe_entry(fields)) for entry_id, fields in content]
            return entries, last_id, nodes
        case _:
            return content


def _describe_value(key: bytes, value: Any) -> Any:
    match value:
        case Hash():
            return _describe_hash(key, value.fields)
        case SortedSet():
            return value.list_sorted()
        case Stream():
            entries = [
                (format_id(entry.id), _describe_entry(entry.fields)) for entry in value.list_range()
            ]
            return entries, format_id(value.last_id), len(value.nodes)
        case frozenset():
            return set(value)
        case _:
            return value


def _describe_hash(key: bytes, fields: dict[bytes, bytes]) -> dict[bytes, Any]:
    """Return the fields; folds are decoded, because Lua writes a table in an order of its own."""
    if not key.endswith(b":folds"):
        return fields
    return {name: _decode_fold(packed) for name, packed in fields.items()}


def _decode_fold(packed: bytes) -> dict[str, Any]:
    fold: dict[str, Any] = msgspec.msgpack.decode(packed)
    # An empty table is a list for Redis. One without members is left out by the model.
    return {**fold, "client_ips": fold["client_ips"] or {}, "stamp": fold.get("stamp") or {}}


def _describe_entry(fields: Sequence[bytes]) -> tuple[Any, ...]:
    """Return the fields of an event, with the members of its stamp in any order."""
    *others, stamp = fields
    return *others, msgspec.json.decode(stamp) if stamp else None
