"""The events of a partition: two streams that share one sequence, read as one."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from itertools import islice, starmap
from operator import attrgetter
from typing import Any

from otp_service.core.log_entry import Entry, StreamPosition
from otp_service.store.client import ScriptClient
from otp_service.store.key_names import KeyNames
from otp_service.store.line import Command


MAX_ID_DIGITS = 19
"""Digits of an epoch, as of each number in the id of a stream entry."""


class RedisEventStreams:
    """Implements `audit.query.stream_scan.EventStreams`."""

    def __init__(self, client: ScriptClient, key_names: KeyNames) -> None:
        self._client = client
        self._key_names = key_names

    async def fetch_newest(
        self, before: Mapping[int, StreamPosition], *, since: int, count: int
    ) -> dict[int, list[Entry]]:
        """Return up to `count` entries of each partition before its position, newest first.

        `since` is in milliseconds. Raises StoreUnavailable.
        """
        calls = [self._build_call(p, position, since, count) for p, position in before.items()]
        replies = await self._client.read_many(calls)
        pairs = zip(before, replies, strict=True)
        return {p: list(islice(_merge_newest(p, streams), count)) for p, streams in pairs}

    def _build_call(
        self, partition: int, before: StreamPosition, since: int, count: int
    ) -> tuple[str, Sequence[Command]]:
        _, events, refusals, *_ = self._key_names.event_log_keys(partition)
        # An id without a sequence is the first of its millisecond, and "(" excludes the last one.
        window = (f"({before.at}-{before.sequence}", str(since), "COUNT", count)
        return events, [("XREVRANGE", stream, *window) for stream in (events, refusals)]


def _merge_newest(partition: int, streams: Iterable[list[Any]]) -> Iterable[Entry]:
    entries = [starmap(lambda *raw: parse_entry(partition, *raw), stream) for stream in streams]
    return merge(*entries, key=attrgetter("position"), reverse=True)


def parse_position(stream_id: bytes) -> StreamPosition:
    at, sequence = stream_id.split(b"-")
    return StreamPosition(int(at), int(sequence))


def parse_entry(partition: int, stream_id: bytes, flat: list[bytes]) -> Entry:
    """Return an entry from a stream; `flat` alternates the names and values of its fields."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    epoch = fields.get(b"epoch", b"")
    return Entry(
        partition=partition,
        position=parse_position(stream_id),
        # An attacker with write access can append anything. It is shown, with an invalid MAC.
        epoch=int(epoch) if epoch.isdigit() and len(epoch) <= MAX_ID_DIGITS else 0,
        event=fields.get(b"event", b""),
        mac=fields.get(b"mac", b"").decode(errors="replace"),
        stamp=fields.get(b"stamp", b""),
    )
