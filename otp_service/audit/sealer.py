"""The sealer: copies events from the streams to an archive, and seals it.

    lease → read what is not archived → append, fsync → other sinks → mark → now and then a seal,
    whose anchor goes elsewhere

One of several is the leader, by a lease in Redis with a fence that only grows, which the archive's
folder keeps too. Whatever ends a turn, the next one begins where the folder stands: what was
written but not marked is read again and known, so nothing is lost and nothing stands twice.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec

from otp_service.audit.feeding import Feed, Sink, SinkFailed, again, give_all
from otp_service.audit.folder import Fenced, Folder
from otp_service.audit.lease import RENEWAL, Lease
from otp_service.audit.retiring import Retiring
from otp_service.audit.sealing import (
    ArchiveDamaged,
    IsOurs,
    Signing,
    Taken,
    in_time,
    merged,
    take,
)
from otp_service.audit.seals import anchor_of
from otp_service.audit.source import Source, Told
from otp_service.core.challenge import PARTITIONS
from otp_service.core.entry import Mark, Tail
from otp_service.core.errors import StoreUnavailable


PAUSE = 0.25
"""Seconds between two looks at streams that had nothing more."""

COUNT = 64
"""Entries that are read of each stream at once."""

STRETCH = 5000
"""Lines after which a stretch is sealed in any case."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What the sealer is given of the world."""

    holder: str
    """A name that nobody else has."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    clock: Callable[[], float]
    """Seconds, which go on while the process is stopped."""
    is_ours: IsOurs
    tell: Callable[[str, int], Awaitable[None]]
    """Appends the event of a reason; of a `gap` with how many entries are missing, of what was
    `dropped` with the number of the last seal."""
    retention: int | None = None
    """Milliseconds after which segments are dropped; None keeps them."""
    sinks: tuple[Sink, ...] = ()
    """They have every line before it is marked in Redis."""
    anchors: tuple[Sink, ...] = ()
    """Where a line goes for each seal; of what it misses, it gets only the newest."""


class Sealer:
    """Copies and seals for as long as it is the leader; `seal_seconds` is between two seals."""

    def __init__(
        self,
        source: Source,
        folder: Folder,
        signing: Signing,
        outside: Outside,
        *,
        seal_seconds: float = 10.0,
    ) -> None:
        self._source = source
        self._folder = folder
        self._signing = signing
        self._outside = outside
        self._seal_seconds = seal_seconds
        self._lease = Lease(source, outside.holder, outside.clock)
        self._seal_at = 0.0
        self._retiring = Retiring(folder, outside.retention)
        self._told = Told()
        self._events: list[tuple[str, int]] = []
        self._repeats = False
        self._feeds: list[Feed] = []
        """Nothing is marked before they have given everything."""
        self._anchors: list[Feed] = []
        self._is_anchored = True
        self._trouble = ""

    @property
    def leads(self) -> bool:
        """Whether this one may write now."""
        return self._lease.is_held

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then seal what is there."""
        while not stop.is_set():
            if not await self.turn():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSE if self.leads else RENEWAL)
        await self.stop()

    async def turn(self) -> bool:
        """Do what is to be done now; return whether there is more. Never raises."""
        try:
            return await self._lead() and await self._copy()
        except Fenced:
            self._lose()
        except BlockingIOError:
            self._stuck("disk", "somebody else is writing to the archive")
        except OSError as error:
            self._stuck("disk", f"the archive cannot be written: {error.strerror}")
        except ArchiveDamaged as error:
            self._stuck("damaged", f"the archive cannot be gone on with: {error}")
        except SinkFailed as error:
            self._stuck("sink", f"a sink does not take the lines: {error}", once="sink")
        except StoreUnavailable:
            self._stuck("redis", "Redis does not answer, so nothing is archived")
        except Exception:  # a fault of ours must not end it: what is there is read anew
            self._stuck("fault", "the sealer has met what it does not expect")
            logger.exception("the sealer begins anew")
            self._lose()
        return False

    async def stop(self) -> None:
        """Seal what is there, and let somebody else begin at once."""
        if self.leads:
            self._events.append(("stopped", 0))
            await self.turn()
            while await self.turn():  # what is told by the first one, too
                pass
            try:
                await self._seal()
                await self._keep_anchors()
                if trouble := await give_all(self._feeds):
                    raise trouble
                await self._lease.give_up(self._said())
            except (Fenced, OSError, ArchiveDamaged, SinkFailed, StoreUnavailable):
                logger.warning("the archive is not sealed to its end; the next sealer does it")
        self._lease.forget()
        self._close()

    # ------------------------------------------------------------------------- the lease

    async def _lead(self) -> bool:
        """Keep or take the lease; return whether this one is the leader."""
        if not self._lease.is_due:
            return True
        before = self._lease.fence
        await self._lease.ask(self._folder.floor(), self._said())
        if before and not self._lease.fence:
            self._lose()
        elif self._lease.fence != before:
            await self._begin()
        return self.leads

    async def _begin(self) -> None:
        try:
            await self._take_over()
        except Exception:
            await self._lease.give_up(self._said())  # somebody else may be luckier
            raise
        self._events.append(("started", 0))
        logger.info("this process seals the archive now, with fence %d", self._lease.fence)

    def _said(self) -> bytes:
        return msgspec.json.encode(self._told)

    async def _take_over(self) -> None:
        await asyncio.to_thread(self._folder.take, self._lease.fence, self._lease.holder)
        self._told = Told()
        self._learn()
        self._seal_at = self._outside.clock() + self._seal_seconds
        self._retiring = Retiring(self._folder, self._outside.retention)
        standing = self._folder.standing
        self._feeds = [Feed(sink) for sink in self._outside.sinks]
        self._anchors = [Feed(sink) for sink in self._outside.anchors]
        self._repeats = bool(self._feeds)
        if standing.seal_line:  # whoever sealed last may not have come to tell of it
            self._anchor(standing.seal_line)
        if self._signing.hands_over(standing):
            await self._seal()

    def _lose(self) -> None:
        logger.warning("this process no longer seals the archive")
        self._lease.forget()
        self._close()

    def _close(self) -> None:
        for feed in [*self._feeds, *self._anchors]:
            feed.close()
        self._folder.close()

    # ------------------------------------------------------------------------- a turn

    async def _copy(self) -> bool:
        """Archive what is new; return whether there is more."""
        tails = await self._tails()
        await self._repeat(tails)
        taken = [take(tail, self._folder.last, self._outside.is_ours) for tail, _ in tails]
        if lines := list(merged(taken)):
            await self._write(lambda: self._folder.append(lines, self._outside.now()))
        self._count(taken, len(lines))
        self._owe(lines)
        if self._is_due():
            await self._seal()
        trouble = await give_all(self._feeds)
        if trouble is None:
            await self._mark(tails, taken)
        await self._tell()
        await self._keep_anchors()
        await self._retire(min(tail.now for tail, _ in tails))
        if trouble:
            raise trouble
        self._go_on()
        return any(not tail.is_whole for tail, _ in tails)

    async def _retire(self, now: int) -> None:
        """Delete what a seal has stated, and tell what the next one will.

        `now` is by Redis's clock: one that jumped deletes nothing by itself.
        """
        if self._retiring.stated:
            await self._write(self._retiring.delete)
        if self._retiring.is_due(clock := self._outside.clock()):
            now = min(now, self._outside.now())
            if found := await self._write(lambda: self._retiring.look(clock, now)):
                self._events.append(("dropped", found.number))

    async def _tell(self) -> None:
        while self._events:
            await self._outside.tell(*self._events[0])
            self._events.pop(0)

    async def _mark(self, tails: Sequence[tuple[Tail, bool]], taken: Sequence[Taken]) -> None:
        marks = [
            Mark(tail=tail, anew=anew, place=one.place)
            for (tail, anew), one in zip(tails, taken, strict=True)
            if tail.entries
        ]
        if marks:
            await self._source.mark(self._lease.fence, marks)

    async def _repeat(self, tails: Sequence[tuple[Tail, bool]]) -> None:
        """Owe the sinks, once, what whoever led before may have kept from them."""
        if not self._repeats:
            return
        self._repeats = False
        first: dict[tuple[int, int], int] = {}
        for tail, _ in tails:
            for entry in tail.entries:
                place, sequence = (tail.partition, entry.epoch), entry.position.sequence
                if sequence <= self._folder.last(*place):
                    first[place] = min(sequence, first.get(place, sequence))
        self._owe(await asyncio.to_thread(again, self._folder.folder, first))

    def _owe(self, lines: Sequence[bytes]) -> None:
        for feed in self._feeds:
            feed.owe(lines)

    async def _tails(self) -> list[tuple[Tail, bool]]:
        """Read what is not archived; from the beginning where this archive has less than another."""
        tails = {t.partition: (t, False) for t in await self._read(range(PARTITIONS))}
        behind = [p for p, (tail, _) in tails.items() if self._is_behind(tail)]
        if behind:
            tails |= {t.partition: (t, True) for t in await self._read(behind, anew=True)}
        read = in_time([tail for tail, _ in tails.values()])
        return [(tail, tails[tail.partition][1]) for tail in read]

    async def _read(self, partitions: Collection[int], *, anew: bool = False) -> list[Tail]:
        return await self._source.tails(partitions, count=COUNT, anew=anew)

    def _is_behind(self, tail: Tail) -> bool:
        if tail.place is None:
            return False
        epoch, sequence = tail.place
        return self._folder.last(tail.partition, epoch) < sequence

    async def _write(self, write: Callable[[], T]) -> T:
        """Write, if that is still ours to do."""
        if not self.leads:
            raise Fenced
        return await asyncio.to_thread(write)

    def _count(self, taken: Sequence[Taken], lines: int) -> None:
        missing, failed = sum(t.missing for t in taken), sum(t.failed for t in taken)
        self._told = msgspec.structs.replace(
            self._told,
            archived=self._told.archived + lines,
            missing=self._told.missing + missing,
            failed=self._told.failed + failed,
        )
        self._learn()
        if failed:
            logger.error("%d entries of the log carry no MAC of ours", failed)
        if missing:
            logger.error("%d entries of the log are missing, which the archive declares", missing)
            self._events.append(("gap", missing))

    def _learn(self) -> None:
        standing = self._folder.standing
        self._told = msgspec.structs.replace(
            self._told,
            seal=standing.number,
            sealed_at=standing.sealed_at,
            unsealed=standing.oldest or 0,
        )

    def _go_on(self) -> None:
        if self._trouble:
            logger.info("the archive goes on")
            self._told = msgspec.structs.replace(self._told, trouble="")
            self._trouble = ""

    def _stuck(self, kind: str, text: str, once: str = "") -> None:
        """Tell once, not each time, what keeps the archive from going on."""
        self._told = msgspec.structs.replace(self._told, trouble=kind)
        if self._trouble != (once or text):
            logger.error("%s", text)
        self._trouble = once or text

    # ------------------------------------------------------------------------- the seal

    def _is_due(self) -> bool:
        waiting = self._folder.standing.waiting
        is_time = self._outside.clock() >= self._seal_at
        return waiting >= STRETCH or (waiting > 0 and is_time)

    async def _seal(self) -> None:
        self._seal_at = self._outside.clock() + self._seal_seconds
        standing = self._folder.standing
        if standing.is_sealed and not self._signing.hands_over(standing):
            return
        now, dropped = self._outside.now(), self._retiring.found
        line = await self._write(lambda: self._folder.seal(self._signing, now, dropped))
        self._retiring.state()
        self._learn()
        self._owe([line])
        self._anchor(line)

    def _anchor(self, line: bytes) -> None:
        for feed in self._anchors:
            feed.owe_only(str(anchor_of(line)).encode())

    async def _keep_anchors(self) -> None:
        """Have the newest anchor kept elsewhere; nothing waits for that."""
        if not any(feed.owes for feed in self._anchors):
            return
        trouble, was_kept = await give_all(self._anchors), self._is_anchored
        self._is_anchored = trouble is None
        if trouble and was_kept:
            logger.error("the archive's anchor is not kept elsewhere: %s", trouble)
        if trouble is None:
            now = self._outside.now()
            self._told = msgspec.structs.replace(self._told, anchored_at=now)
            if not was_kept:
                logger.info("the archive's anchor is kept elsewhere again")
