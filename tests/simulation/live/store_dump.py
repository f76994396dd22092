"""What is in the servers of the store at the end of a round: their events, and every byte."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from otp_service.core.log_entry import Entry
from otp_service.store.event_streams import parse_entry
from otp_service.store.key_names import parse_key_partition
from tests.simulation.history import StoredBytes, StoredEvent
from tests.simulation.stored_values import EVENT_STREAM_ENDINGS
from tests.simulation.world.stored_events import build_stored_events


StoreClient = Any
"""A client of one master: the types of redis-py name what a client could be told to decode."""


def dump_events(clients: Sequence[StoreClient]) -> list[StoredEvent]:
    """Return the events of every partition of these masters, in order."""
    return build_stored_events(entry for client in clients for entry in _iterate_entries(client))


def dump_bytes(clients: Sequence[StoreClient]) -> list[StoredBytes]:
    """Return the name and the value of every key of these masters."""
    return [
        StoredBytes(place=key.decode(), content=b"\n".join(_iterate_parts(client, key)))
        for client in clients
        for key in client.scan_iter(count=1000)
    ]


def _iterate_entries(client: StoreClient) -> Iterator[Entry]:
    for key in client.scan_iter(count=1000):
        if key.endswith(EVENT_STREAM_ENDINGS):
            partition = parse_key_partition(key.decode())
            for stream_id, fields in client.xrange(key):
                flat = [part for pair in fields.items() for part in pair]
                yield parse_entry(partition, stream_id, flat)


def _iterate_parts(client: StoreClient, key: bytes) -> Iterable[bytes]:
    match client.type(key):
        case b"string":
            return [client.get(key) or b""]
        case b"hash":
            return _flatten(client.hgetall(key).items())
        case b"zset":
            return client.zrange(key, 0, -1)
        case b"stream":
            return _flatten(pair for _, fields in client.xrange(key) for pair in fields.items())
        case b"set":
            return sorted(client.smembers(key))
        case b"none":  # it has expired meanwhile
            return []
        case kind:
            raise TypeError(f"the key {key!r} has the type {kind!r}")


def _flatten(pairs: Iterable[Any]) -> list[bytes]:
    return [part for pair in pairs for part in pair]
