"""The events of a partition: two streams that share one sequence, read as one."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from otp_service.core.log_entry import Entry, Position
from otp_service.store.client import Link
from otp_service.store.key_names import Names
from otp_service.store.pipeline import Command


MOST_DIGITS = 19
"""Of an epoch, as of every number in an id."""


class RedisStreams:
    """Implements `audit.reading.Streams`."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names

    async def newest(
        self, before: Mapping[int, Position], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return up to `count` entries of each partition before its position, newest first.

        `since` is in milliseconds. Raises StoreUnavailable.
        """
        calls = [self._call(p, position, since, count) for p, position in before.items()]
        replies = await self._link.read(calls)
        return {
            partition: _newest(partition, streams, count)
            for partition, streams in zip(before, replies, strict=True)
        }

    def _call(
        self, partition: int, before: Position, since: int, count: int
    ) -> tuple[str, Sequence[Command]]:
        _, events, refusals, *_ = self._names.log(partition)
        # An id without a sequence is the first of its millisecond, and "(" leaves the last out.
        window = (f"({before.at}-{before.sequence}", str(since), "COUNT", count)
        return events, [("XREVRANGE", stream, *window) for stream in (events, refusals)]


def _newest(partition: int, streams: Iterable[list[Any]], count: int) -> list[Entry]:
    read = [(position_of(name), name, fields) for stream in streams for name, fields in stream]
    read.sort(key=itemgetter(0), reverse=True)
    return [entry_of(partition, name, fields) for _, name, fields in read[:count]]


def position_of(name: bytes) -> Position:
    """Return what an id of Redis says."""
    at, sequence = name.split(b"-")
    return Position(int(at), int(sequence))


def entry_of(partition: int, name: bytes, flat: list[bytes]) -> Entry:
    """Return an entry as Redis gives it: its id, and fields and values by turns."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    epoch = fields.get(b"epoch", b"")
    return Entry(
        partition=partition,
        position=position_of(name),
        # Whoever can write to Redis can append anything; its MAC will not hold, but it is shown.
        epoch=int(epoch) if epoch.isdigit() and len(epoch) <= MOST_DIGITS else 0,
        event=fields.get(b"event", b""),
        mac=fields.get(b"mac", b"").decode(errors="replace"),
        stamp=fields.get(b"stamp", b""),
    )
