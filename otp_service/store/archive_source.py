"""What a sealer asks of Redis: the lease, what is not archived yet, and to note what is."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from otp_service.core.challenge import PARTITIONS
from otp_service.core.log_entry import Mark, Position, Tail
from otp_service.store.client import Link, Script
from otp_service.store.commit_request import LEASE, MARK, TAIL
from otp_service.store.event_streams import entry_of, position_of
from otp_service.store.key_names import Names
from otp_service.store.pipeline import insist


TOGETHER = 16
"""Partitions that are asked at once: Redis does nothing else meanwhile."""

Call = tuple[Sequence[str], Sequence[bytes]]


class RedisSealing:
    """Implements `audit.source.Source`; `maximum` is the most entries of a partition's stream.

    Every method raises StoreUnavailable.
    """

    def __init__(self, link: Link, names: Names, *, maximum: int) -> None:
        self._link = link
        self._names = names
        self._maximum = maximum
        self._lease, self._tail, self._mark = Script(LEASE), Script(TAIL), Script(MARK)

    async def lease(self, holder: str, milliseconds: int, *, floor: int, told: bytes) -> int:
        """Take or keep the lease; return its fence, or 0 if somebody else has it.

        The fence is over `floor`; `told` is what others may read of us.
        """
        words = holder.encode(), *_words(milliseconds, floor), told
        fence = await insist(lambda: self._link.run(self._lease, (self._names.sealer(),), words))
        return int(fence)

    async def told(self) -> tuple[int, bytes]:
        """Return until when somebody has the lease (0: nobody had it yet), and what he has told."""
        name = self._names.sealer()
        (((until, told),),) = await self._link.read([(name, [("HMGET", name, "until", "told")])])
        return int(until or 0), told or b"{}"

    async def tails(
        self, partitions: Collection[int], *, count: int, anew: bool = False
    ) -> list[Tail]:
        """Return what is not archived: of each stream the first `count` entries.

        `anew` reads from the beginning instead, for an archive that has less than others had.
        """
        words = _words(count, int(anew))
        calls = [(self._log(p), words) for p in partitions]
        replies = await self._each(self._tail, calls)
        return [_tail(p, r, count) for p, r in zip(partitions, replies, strict=True)]

    async def mark(self, fence: int, marks: Sequence[Mark]) -> None:
        """Note what an archive has, where Redis is still what it was; elsewhere it is read again."""
        calls = [(self._log(mark.tail.partition), self._told(fence, mark)) for mark in marks]
        await self._each(self._mark, calls)

    async def fullest(self) -> float:
        """Return how near the fullest partition is to where nothing is granted any more (1)."""
        logs = [self._log(partition)[0] for partition in range(PARTITIONS)]
        found = await self._link.read([(log, [("HGET", log, "waiting")]) for log in logs])
        return max(int(waiting or 0) for (waiting,) in found) / self._maximum

    def _told(self, fence: int, mark: Mark) -> tuple[bytes, ...]:
        tail = mark.tail
        epoch, sequence = mark.place
        events = b"" if mark.anew else b"%d" % len(tail.events)
        known = _id(tail.archived)
        now = _id(tail.entries[-1].position) if tail.entries else known
        return (
            b"%d" % fence,
            known,
            now,
            b"%d-%d" % (epoch, sequence),
            events,
            *_words(self._maximum),
        )

    def _log(self, partition: int) -> tuple[str, ...]:
        return self._names.log(partition)[:3]

    async def _each(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run it for each, some at a time. All of these may be run twice."""
        replies: list[Any] = []
        for start in range(0, len(calls), TOGETHER):
            some = calls[start : start + TOGETHER]
            replies += await insist(partial(self._link.run_all, script, some))
        return replies


def _words(*numbers: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in numbers)


def _id(position: Position | None) -> bytes:
    return b"%d-%d" % position if position else b""


def _tail(partition: int, reply: list[Any], count: int) -> Tail:
    now, epoch, sequence, at, archived, place, waiting, *streams = reply
    last = Position(at, sequence)
    read = [[entry_of(partition, name, flat) for name, flat in stream] for stream in streams]
    # Where a stream was not read to its end, the other one is of use only as far as it was.
    ends = [stream[-1].position for stream in read if len(stream) == count]
    until = min([last, *ends])
    events, refusals = (tuple(e for e in stream if e.position <= until) for stream in read)
    return Tail(
        partition=partition,
        now=now,
        last=last,
        epoch=epoch,
        archived=position_of(archived) if archived else None,
        place=(*position_of(place),) if place else None,
        waiting=waiting,
        events=events,
        refusals=refusals,
        is_whole=until == last,
    )
