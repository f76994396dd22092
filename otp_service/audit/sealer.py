"""The sealer: copies events from the streams to an archive, and seals it.

    lease → read what is not archived → append, fsync → other sinks → mark → now and then a seal

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

from otp_service.audit.folder import Fenced, Folder
from otp_service.audit.lease import RENEWAL, Lease
from otp_service.audit.lines import line_of
from otp_service.audit.sealing import ArchiveDamaged, IsOurs, Signing, Taken, merged, take
from otp_service.audit.sinks import AnchorSink, Deliveries, Sink, SinkFailed
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
    """Appends the event of a reason, and of how many entries are missing."""
    sinks: tuple[Sink, ...] = ()
    """They have every line before it is marked in Redis."""
    anchors: tuple[AnchorSink, ...] = ()


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
        self._told = Told()
        self._events: list[tuple[str, int]] = []
        self._repeats = False
        self._deliveries = Deliveries(outside.sinks, outside.anchors)
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
            self._stuck("sink", f"a sink does not take the lines: {error}")
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
                await self._deliveries.give_lines()
                await self._deliveries.give_anchors()
                await self._lease.give_up(self._said())
            except (Fenced, OSError, ArchiveDamaged, SinkFailed, StoreUnavailable):
                logger.warning("the archive is not sealed to its end; the next sealer does it")
        self._lease.forget()
        self._folder.close()

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
        standing = self._folder.standing
        self._deliveries.begin(standing.seal_line)
        self._repeats = self._deliveries.has_sinks
        if self._signing.hands_over(standing):
            await self._seal()

    def _lose(self) -> None:
        logger.warning("this process no longer seals the archive")
        self._lease.forget()
        self._folder.close()

    # ------------------------------------------------------------------------- a turn

    async def _copy(self) -> bool:
        """Archive what is new; return whether there is more."""
        tails = await self._tails()
        known = self._known(tails)
        taken = [take(tail, self._folder.last, self._outside.is_ours) for tail, _ in tails]
        if lines := list(merged(taken)):
            await self._write(lambda: self._folder.append(lines, self._outside.now()))
        self._count(taken, len(lines))
        self._deliveries.owe([*known, *lines])
        if self._is_due():
            await self._seal()
        await self._deliveries.give_lines()
        await self._mark(tails, taken)
        await self._tell()
        await self._deliveries.give_anchors()
        self._go_on()
        return any(not tail.is_whole for tail, _ in tails)

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

    def _known(self, tails: Sequence[tuple[Tail, bool]]) -> list[bytes]:
        """Return the lines that whoever led before may have kept from the sinks, once."""
        if not self._repeats:
            return []
        self._repeats = False
        is_ours = self._outside.is_ours
        return [
            line_of(entry, is_ours=is_ours(entry.event, entry.mac))
            for tail, _ in tails
            for entry in tail.entries
            if entry.position.sequence <= self._folder.last(tail.partition, entry.epoch)
        ]

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
        )

    def _go_on(self) -> None:
        if self._trouble:
            logger.info("the archive goes on")
            self._told = msgspec.structs.replace(self._told, trouble="")
            self._trouble = ""

    def _stuck(self, kind: str, text: str) -> None:
        """Tell once, not each time, what keeps the archive from going on."""
        self._told = msgspec.structs.replace(self._told, trouble=kind)
        if text != self._trouble:
            logger.error("%s", text)
        self._trouble = text

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
        line = await self._write(lambda: self._folder.seal(self._signing, self._outside.now()))
        self._learn()
        self._deliveries.owe_seal(line)
