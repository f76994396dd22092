"""What is in the simulated Redis at the end of a run: its events, and every byte."""

from collections.abc import Iterable, Iterator

from otp_service.core.log_entry import Entry
from otp_service.store.event_streams import parse_entry
from otp_service.store.key_names import parse_key_partition
from tests.simulation.history import StoredBytes, StoredEvent
from tests.simulation.redis_model.keyspace import Hash, Keyspace, SortedSet, Value
from tests.simulation.redis_model.stream import Stream
from tests.simulation.world.stored_events import build_stored_events


EVENT_STREAM_ENDINGS = (b":events", b":refusals")


def collect_stored_events(keyspace: Keyspace) -> list[StoredEvent]:
    """Return the events of every partition, in order."""
    return build_stored_events(_iterate_entries(keyspace))


def list_folding_partitions(keyspace: Keyspace) -> list[int]:
    """Return the partitions in which refusals are only counted so far."""
    return [parse_key_partition(k.decode()) for k in keyspace.list_keys() if k.endswith(b":due")]


def count_waiting_events(keyspace: Keyspace) -> int:
    """Return how many events of all partitions the log counts as not archived."""
    logs = (keyspace.get(key) for key in keyspace.list_keys() if key.endswith(b":log"))
    return sum(int(log.fields.get(b"waiting", 0)) for log in logs if isinstance(log, Hash))


def _iterate_entries(keyspace: Keyspace) -> Iterator[Entry]:
    for key in keyspace.list_keys():
        value = keyspace.get(key)
        if key.endswith(EVENT_STREAM_ENDINGS) and isinstance(value, Stream):
            partition = parse_key_partition(key.decode())
            for entry in value.list_range():
                yield parse_entry(partition, b"%d-%d" % entry.id, list(entry.fields))


def collect_stored_bytes(keyspace: Keyspace) -> list[StoredBytes]:
    """Return the name and the value of every key."""
    return [
        StoredBytes(place=key.decode(), content=b"\n".join(_iterate_parts(keyspace.get(key))))
        for key in keyspace.list_keys()
    ]


def _iterate_parts(value: Value | None) -> Iterable[bytes]:
    match value:
        case bytes():
            return (value,)
        case Hash():
            return (part for pair in value.fields.items() for part in pair)
        case SortedSet():
            return value.scores
        case Stream():
            return (part for entry in value.list_range() for part in entry.fields)
        case None:
            return ()
        case _:
            return sorted(value)
