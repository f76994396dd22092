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
from typing import Protocol, TypeVar

import msgspec

from otp_service.audit.feeding import Feed, Sink, SinkFailed, again, give_all
from otp_service.audit.folder import Fenced, Folder
from otp_service.audit.sealing import ArchiveDamaged, IsOurs, Signing, Taken, merged, take
from otp_service.audit.seals import Dropped, anchor_of
from otp_service.core.challenge import PARTITIONS
from otp_service.core.entry import Mark, Tail
from otp_service.core.errors import StoreUnavailable


LEASE = 4000
"""Milliseconds after which somebody else takes over from a leader who is silent."""

RENEWAL = 1.0
"""Seconds between two times that the leader says that he lives."""

PAUSE = 0.25
"""Seconds between two looks at streams that had nothing more."""

LOOK = 3600.0
"""Seconds between two looks whether something's retention has ended."""

COUNT = 64
"""Entries that are read of each stream at once."""

STRETCH = 5000
"""Lines after which a stretch is sealed in any case."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where the entries are. Every method raises StoreUnavailable."""

    async def lease(self, holder: str, milliseconds: int, *, floor: int, told: bytes) -> int:
        """Take or keep the lease; return its fence, which is over `floor`, or 0."""

    async def tails(
        self, partitions: Collection[int], *, count: int, anew: bool = False
    ) -> list[Tail]:
        """Return what is not archived of each partition, or `anew` what there is."""

    async def mark(self, fence: int, marks: Sequence[Mark]) -> None:
        """Note how far the archive has come."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader tells of himself, for metrics; counts are since he took over."""

    seal: int = 0
    sealed_at: str = ""
    unsealed: int = 0
    """When the oldest entry was told that is archived and not sealed; 0 if there is none."""
    archived: int = 0
    missing: int = 0
    failed: int = 0
    anchored_at: int = 0
    """When the newest seal's anchor was kept elsewhere, in milliseconds; 0 if none was yet."""
    trouble: str = ""
    """What keeps it from going on: `disk`, `sink`, `damaged`."""


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
        self._drop: Dropped | None = None
        """What the next seal states that is dropped."""
        self._look_at = 0.0
        self._fence = 0
        self._until = self._renew_at = self._seal_at = 0.0
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
        return self._fence > 0 and self._outside.clock() < self._until

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then seal what is there."""
        while not stop.is_set():
            if not await self.turn():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSE if self._fence else RENEWAL)
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
                await self._say(0)
            except (Fenced, OSError, ArchiveDamaged, SinkFailed, StoreUnavailable):
                logger.warning("the archive is not sealed to its end; the next sealer does it")
        self._fence = 0
        self._close()

    # ------------------------------------------------------------------------- the lease

    async def _lead(self) -> bool:
        """Keep or take the lease; return whether this one is the leader."""
        if self.leads and self._outside.clock() < self._renew_at:
            return True
        before, asked = self._fence, self._outside.clock()
        self._fence = await self._say(LEASE)
        self._until, self._renew_at = asked + LEASE / 1000, asked + RENEWAL
        if self._fence != before:
            await self._change(before)
        return self.leads

    async def _say(self, milliseconds: int) -> int:
        floor = 0 if self._fence else self._folder.floor()
        told = msgspec.json.encode(self._told)
        return await self._source.lease(self._outside.holder, milliseconds, floor=floor, told=told)

    async def _change(self, before: int) -> None:
        if not self._fence:
            self._fence = before
            self._lose()
            return
        try:
            await self._take_over()
        except Exception:
            await self._say(0)  # somebody else may be luckier
            self._fence = 0
            raise
        self._events.append(("started", 0))
        logger.info("this process seals the archive now, with fence %d", self._fence)

    async def _take_over(self) -> None:
        await asyncio.to_thread(self._folder.take, self._fence, self._outside.holder)
        self._told = Told()
        self._learn()
        self._look_at = self._outside.clock()
        self._seal_at = self._look_at + self._seal_seconds
        self._drop = None
        standing = self._folder.standing
        self._feeds = [Feed(sink) for sink in self._outside.sinks]
        self._anchors = [Feed(sink) for sink in self._outside.anchors]
        self._repeats = bool(self._feeds)
        if standing.seal_line:  # whoever sealed last may not have come to tell of it
            self._anchor(standing.seal_line)
        if self._signing.hands_over(standing):
            await self._seal()

    def _lose(self) -> None:
        if self._fence:
            logger.warning("this process no longer seals the archive")
        self._fence = 0
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
        self._owe(lines)
        trouble = await give_all(self._feeds)
        if trouble is None:
            await self._mark(tails, taken)
        self._count(taken, len(lines))
        await self._look_for_expired(min(tail.now for tail, _ in tails))
        while self._events:
            await self._outside.tell(*self._events[0])
            self._events.pop(0)
        if self._is_due():
            await self._seal()
        await self._keep_anchors()
        if trouble:
            raise trouble
        self._go_on()
        return any(not tail.is_whole for tail, _ in tails)

    async def _look_for_expired(self, now: int) -> None:
        """Tell what the next seal will drop. `now` is Redis's time: two clocks have to say so."""
        if self._outside.retention is None or self._outside.clock() < self._look_at:
            return
        self._look_at = self._outside.clock() + LOOK
        before = min(now, self._outside.now()) - self._outside.retention
        self._drop = await self._write(lambda: self._folder.expired(before))
        if self._drop:
            self._events.append(("dropped", self._drop.number))

    async def _mark(self, tails: Sequence[tuple[Tail, bool]], taken: Sequence[Taken]) -> None:
        marks = [
            Mark(tail=tail, anew=anew, place=one.place)
            for (tail, anew), one in zip(tails, taken, strict=True)
            if tail.entries
        ]
        if marks:
            await self._source.mark(self._fence, marks)

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
        return list(tails.values())

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
            trouble="",
        )

    def _stuck(self, kind: str, text: str, once: str = "") -> None:
        """Tell once, not each time, what keeps the archive from going on."""
        self._told = msgspec.structs.replace(self._told, trouble=kind)
        if self._trouble != (once or text):
            logger.error("%s", text)
        self._trouble = once or text

    def _go_on(self) -> None:
        if self._trouble:
            logger.info("the archive goes on")
            self._trouble = ""

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
        drop, now = self._drop, self._outside.now()
        line = await self._write(lambda: self._folder.seal(self._signing, now, drop))
        self._learn()
        self._owe([line])
        self._anchor(line)
        if drop:
            await self._write(lambda: self._folder.drop(drop))
            logger.info(
                "the archive up to seal %d is deleted: its retention has ended", drop.number
            )
            self._drop = None

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
