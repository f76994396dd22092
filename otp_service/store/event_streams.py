"""The events of a partition: two streams that share one sequence, read as one."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.pipeline import Command


MAX_ID_DIGITS = 19
"""Of an epoch, as of every number in an id."""


class RedisEventStreams:
    """Implements `audit.reading.Streams`."""

    def __init__(self, link: ScriptClient, names: KeyNames) -> None:
        self._client = link
        self._key_names = names

    async def fetch_newest(
        self, before: Mapping[int, StreamPosition], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return up to `count` entries of each partition before its position, newest first.

        `since` is in milliseconds. Raises StoreUnavailable.
        """
        calls = [self._build_call(p, position, since, count) for p, position in before.items()]
        replies = await self._client.read_many(calls)
        return {
            partition: _merge_newest(partition, streams, count)
            for partition, streams in zip(before, replies, strict=True)
        }

    def _build_call(
        self, partition: int, before: StreamPosition, since: int, count: int
    ) -> tuple[str, Sequence[Command]]:
        _, events, refusals, *_ = self._key_names.event_log_keys(partition)
        # An id without a sequence is the first of its millisecond, and "(" leaves the last out.
        window = (f"({before.at}-{before.sequence}", str(since), "COUNT", count)
        return events, [("XREVRANGE", stream, *window) for stream in (events, refusals)]


def _merge_newest(partition: int, streams: Iterable[list[Any]], count: int) -> list[Entry]:
    read = [(parse_position(name), name, fields) for stream in streams for name, fields in stream]
    read.sort(key=itemgetter(0), reverse=True)
    return [parse_entry(partition, name, fields) for _, name, fields in read[:count]]


def parse_position(stream_id: bytes) -> StreamPosition:
    """Return what an id of Redis says."""
    at, sequence = stream_id.split(b"-")
    return StreamPosition(int(at), int(sequence))


def parse_entry(partition: int, stream_id: bytes, flat: list[bytes]) -> Entry:
    """Return an entry as Redis gives it: its id, and fields and values by turns."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    epoch = fields.get(b"epoch", b"")
    return Entry(
        partition=partition,
        position=parse_position(stream_id),
        # Whoever can write to Redis can append anything; its MAC will not hold, but it is shown.
        epoch=int(epoch) if epoch.isdigit() and len(epoch) <= MAX_ID_DIGITS else 0,
        event=fields.get(b"event", b""),
        mac=fields.get(b"mac", b"").decode(errors="replace"),
        stamp=fields.get(b"stamp", b""),
    )
