"""The log for a sealer: its lease, the entries to archive, and the archived positions."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.log_entry import ArchivedPosition, PendingEntries, StreamPosition
from otp_service.store.client import ScriptCall, ScriptClient
from otp_service.store.commit_request import read_lua
from otp_service.store.event_streams import parse_entry, parse_position
from otp_service.store.key_names import KeyNames
from otp_service.store.lua_script import LuaScript


PARTITIONS_PER_ROUND_TRIP = 16
"""Partitions to read in one round trip: Redis does nothing else during that time."""


class RedisArchiveSource:
    """Implements `audit.sealer.environment.ArchiveSource`. Every method raises StoreUnavailable.

    `max_stream_entries` is the limit of one stream of a partition.
    """

    def __init__(
        self, client: ScriptClient, key_names: KeyNames, *, max_stream_entries: int
    ) -> None:
        self._client = client
        self._key_names = key_names
        self._max_stream_entries = max_stream_entries
        self._lease_script = LuaScript(read_lua("lease"))
        self._pending_script = LuaScript(read_lua("read_pending"))
        self._mark_script = LuaScript(read_lua("mark_archived"))

    async def acquire_lease(
        self, holder: str, milliseconds: int, *, floor: int, status: bytes
    ) -> int:
        """Acquire or renew the lease. Return its fence, or 0 if another holder has it.

        The fence is higher than `floor`. `status` is what other processes read about the holder.
        """
        keys = (self._key_names.sealer_key(),)
        arguments = holder.encode(), *_encode_integers(milliseconds, floor), status
        acquire = partial(self._client.run_script, self._lease_script, keys, arguments)
        return int(await self._client.retry_lost_reply(acquire))

    async def read_status(self) -> tuple[int, bytes]:
        """Return the instant until which the lease is held (0: never held), and the status."""
        key = self._key_names.sealer_key()
        ((until, status),) = await self._client.read_each([key], "HMGET", "until", "status")
        return int(until or 0), status or b"{}"

    async def fetch_pending(
        self, partitions: Collection[int], *, count: int, from_start: bool = False
    ) -> list[PendingEntries]:
        """Return what is not archived: of each stream the first `count` entries.

        `from_start` reads all entries instead, for an archive that has fewer than Redis notes.
        """
        arguments = _encode_integers(count, int(from_start))
        calls = [(self._list_event_log_keys(p), arguments) for p in partitions]
        replies = await self._run_on_each(self._pending_script, calls)
        pairs = zip(partitions, replies, strict=True)
        return [_decode_pending_entries(partition, reply, count) for partition, reply in pairs]

    async def mark_archived(self, fence: int, positions: Sequence[ArchivedPosition]) -> None:
        """Note what the archive has, unless Redis has changed since; then it is read again."""
        calls = [
            (self._list_event_log_keys(p.pending.partition), self._encode_mark_arguments(fence, p))
            for p in positions
        ]
        await self._run_on_each(self._mark_script, calls)

    async def measure_fullness(self) -> float:
        """Return how full the fullest partition is; at 1 it grants nothing."""
        logs = [self._list_event_log_keys(partition)[0] for partition in range(PARTITION_COUNT)]
        counts = await self._client.read_each(logs, "HGET", "waiting")
        return max(int(waiting or 0) for waiting in counts) / self._max_stream_entries

    def _encode_mark_arguments(self, fence: int, position: ArchivedPosition) -> tuple[bytes, ...]:
        pending = position.pending
        before = _encode_position(pending.archived_position)
        return (
            b"%d" % fence,
            before,
            _encode_position(pending.entries[-1].position) if pending.entries else before,
            b"%d-%d" % position.sequence_id,
            b"" if position.from_start else b"%d" % len(pending.events),
            b"%d" % self._max_stream_entries,
        )

    def _list_event_log_keys(self, partition: int) -> tuple[str, ...]:
        return self._key_names.event_log_keys(partition)[:3]

    async def _run_on_each(self, script: LuaScript, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run a script for each call, a few in one round trip. It may run twice after a loss."""
        replies: list[Any] = []
        for start in range(0, len(calls), PARTITIONS_PER_ROUND_TRIP):
            chunk = calls[start : start + PARTITIONS_PER_ROUND_TRIP]
            replies += await self._client.retry_lost_reply(
                partial(self._client.run_scripts, script, chunk)
            )
        return replies


def _encode_integers(*numbers: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in numbers)


def _encode_position(position: StreamPosition | None) -> bytes:
    return b"%d-%d" % position if position else b""


def _decode_pending_entries(partition: int, reply: list[Any], count: int) -> PendingEntries:
    now, epoch, sequence, at, archived, place, waiting, *replies = reply
    last = StreamPosition(at, sequence)
    streams = [[parse_entry(partition, *raw) for raw in stream] for stream in replies]
    # Where one stream was not read to its end, entries of the other after that are of no use yet.
    until = min([last, *(stream[-1].position for stream in streams if len(stream) == count)])
    events, refusals = (tuple(e for e in stream if e.position <= until) for stream in streams)
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
