"""What a sealer asks of Redis: the lease, what is not archived yet, and to note what is."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import ArchivedPosition, PendingEntries, StreamPosition
from otp_service.store.client import LuaScript, ScriptClient
from otp_service.store.commit_request import LEASE_LUA, MARK_ARCHIVED_LUA, READ_PENDING_LUA
from otp_service.store.event_streams import parse_entry, parse_position
from otp_service.store.key_names import KeyNames
from otp_service.store.pipeline import retry_lost_reply


PARTITIONS_PER_ROUND_TRIP = 16
"""Partitions that are asked at once: Redis does nothing else meanwhile."""

ScriptCall = tuple[Sequence[str], Sequence[bytes]]


class RedisArchiveSource:
    """Implements `audit.source.Source`; `maximum` is the most entries of a partition's stream.

    Every method raises StoreUnavailable.
    """

    def __init__(self, link: ScriptClient, names: KeyNames, *, max_stream_entries: int) -> None:
        self._client = link
        self._key_names = names
        self._max_stream_entries = max_stream_entries
        self._lease_script, self._pending_script, self._mark_script = (
            LuaScript(LEASE_LUA),
            LuaScript(READ_PENDING_LUA),
            LuaScript(MARK_ARCHIVED_LUA),
        )

    async def acquire_lease(
        self, holder: str, milliseconds: int, *, floor: int, status: bytes
    ) -> int:
        """Take or keep the lease; return its fence, or 0 if somebody else has it.

        The fence is over `floor`; `told` is what others may read of us.
        """
        words = holder.encode(), *_encode_integers(milliseconds, floor), status
        fence = await retry_lost_reply(
            lambda: self._client.run_script(
                self._lease_script, (self._key_names.sealer_key(),), words
            )
        )
        return int(fence)

    async def read_status(self) -> tuple[int, bytes]:
        """Return until when somebody has the lease (0: nobody had it yet), and what he has told."""
        name = self._key_names.sealer_key()
        (((until, told),),) = await self._client.read_many(
            [(name, [("HMGET", name, "until", "told")])]
        )
        return int(until or 0), told or b"{}"

    async def fetch_pending(
        self, partitions: Collection[int], *, count: int, from_start: bool = False
    ) -> list[PendingEntries]:
        """Return what is not archived: of each stream the first `count` entries.

        `anew` reads from the beginning instead, for an archive that has less than others had.
        """
        words = _encode_integers(count, int(from_start))
        calls = [(self._list_event_log_keys(p), words) for p in partitions]
        replies = await self._run_on_each(self._pending_script, calls)
        return [
            _decode_pending_entries(p, r, count) for p, r in zip(partitions, replies, strict=True)
        ]

    async def mark_archived(self, fence: int, positions: Sequence[ArchivedPosition]) -> None:
        """Note what an archive has, where Redis is still what it was; elsewhere it is read again."""
        calls = [
            (
                self._list_event_log_keys(mark.pending.partition),
                self._encode_mark_arguments(fence, mark),
            )
            for mark in positions
        ]
        await self._run_on_each(self._mark_script, calls)

    async def measure_fullness(self) -> float:
        """Return how near the fullest partition is to where nothing is granted any more (1)."""
        logs = [self._list_event_log_keys(partition)[0] for partition in range(PARTITION_COUNT)]
        found = await self._client.read_many([(log, [("HGET", log, "waiting")]) for log in logs])
        return max(int(waiting or 0) for (waiting,) in found) / self._max_stream_entries

    def _encode_mark_arguments(self, fence: int, mark: ArchivedPosition) -> tuple[bytes, ...]:
        tail = mark.pending
        epoch, sequence = mark.sequence_id
        events = b"" if mark.from_start else b"%d" % len(tail.events)
        known = _encode_position(tail.archived_position)
        now = _encode_position(tail.entries[-1].position) if tail.entries else known
        return (
            b"%d" % fence,
            known,
            now,
            b"%d-%d" % (epoch, sequence),
            events,
            *_encode_integers(self._max_stream_entries),
        )

    def _list_event_log_keys(self, partition: int) -> tuple[str, ...]:
        return self._key_names.event_log_keys(partition)[:3]

    async def _run_on_each(self, script: LuaScript, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run it for each, some at a time. All of these may be run twice."""
        replies: list[Any] = []
        for start in range(0, len(calls), PARTITIONS_PER_ROUND_TRIP):
            some = calls[start : start + PARTITIONS_PER_ROUND_TRIP]
            replies += await retry_lost_reply(partial(self._client.run_scripts, script, some))
        return replies


def _encode_integers(*numbers: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in numbers)


def _encode_position(position: StreamPosition | None) -> bytes:
    return b"%d-%d" % position if position else b""


def _decode_pending_entries(partition: int, reply: list[Any], count: int) -> PendingEntries:
    now, epoch, sequence, at, archived, place, waiting, *streams = reply
    last = StreamPosition(at, sequence)
    read = [[parse_entry(partition, name, flat) for name, flat in stream] for stream in streams]
    # Where a stream was not read to its end, the other one is of use only as far as it was.
    ends = [stream[-1].position for stream in read if len(stream) == count]
    until = min([last, *ends])
    events, refusals = (tuple(e for e in stream if e.position <= until) for stream in read)
    return PendingEntries(
        partition=partition,
        now=now,
        last_position=last,
        epoch=epoch,
        archived_position=parse_position(archived) if archived else None,
        sequence_id=(*parse_position(place),) if place else None,
        waiting_count=waiting,
        events=events,
        refusals=refusals,
        is_complete=until == last,
    )
