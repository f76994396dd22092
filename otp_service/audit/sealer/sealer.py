"""The sealer: copies events from the streams to an archive, and seals it.

    lease → read what is not archived → append, fsync → other sinks → mark → now and then a seal,
    whose anchor goes elsewhere

One of several is the leader, by a lease in Redis with a fence that only grows, which the archive's
folder keeps too. Whatever ends a turn, the next one begins where the folder stands: what was
written but not marked is read again and known, so nothing is lost and nothing stands twice.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from otp_service.audit.sealer.archive_writer import Fenced, Folder
from otp_service.audit.sealer.backlog import marks_of, read_on
from otp_service.audit.sealer.lease import RENEWAL, Lease
from otp_service.audit.sealer.partition_lines import Taken, merged, take
from otp_service.audit.sealer.ports import Outside, Source, Told
from otp_service.audit.sealer.retention import Retiring
from otp_service.audit.sealer.signer import Signing
from otp_service.audit.sealer.sink_delivery import Delivery
from otp_service.audit.sealer.state import ArchiveDamaged
from otp_service.audit.sealer.status import Telling
from otp_service.audit.sinks.base import SinkFailed
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import Tail


PAUSE = 0.25
"""Seconds between two looks at streams that had nothing more."""

STRETCH = 5000
"""Lines after which a stretch is sealed in any case."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


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
        self._telling = Telling()
        self._delivery = Delivery(outside.sinks, outside.anchors)
        """Nothing is marked before every sink has everything."""
        self._events: list[tuple[str, int]] = []

    @property
    def leads(self) -> bool:
        """Whether this one may write now."""
        return self._lease.is_held

    @property
    def told(self) -> Told:
        """What the leader tells of himself."""
        return self._telling.told

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then seal what is there."""
        while not stop.is_set():
            if not await self.turn():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), PAUSE if self.leads else RENEWAL)
        await self.stop()

    async def turn(self) -> bool:
        """Do what is to be done now; return whether there is more. Never raises."""
        stuck = self._telling.stuck
        try:
            return await self._lead() and await self._copy()
        except Fenced:
            self._lose()
        except BlockingIOError:
            stuck("disk", "somebody else is writing to the archive")
        except OSError as error:
            stuck("disk", f"the archive cannot be written: {error.strerror}")
        except ArchiveDamaged as error:
            stuck("damaged", f"the archive cannot be gone on with: {error}")
        except SinkFailed as error:
            stuck("sink", f"a sink does not take the lines: {error}", once="sink")
        except StoreUnavailable:
            stuck("redis", "Redis does not answer, so nothing is archived")
        except Exception:  # a fault of ours must not end it: what is there is read anew
            stuck("fault", "the sealer has met what it does not expect")
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
                if trouble := await self._delivery.give():
                    raise trouble
                await self._lease.give_up(self._telling.said)
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
        floor = 0 if before else await asyncio.to_thread(self._folder.floor)
        await self._lease.ask(floor, self._telling.said)
        if before and not self._lease.fence:
            self._lose()
        elif self._lease.fence != before:
            await self._begin()
        return self.leads

    async def _begin(self) -> None:
        try:
            await self._take_over()
        except Exception:
            await self._lease.give_up(self._telling.said)  # somebody else may be luckier
            raise
        self._events.append(("started", 0))
        logger.info("this process seals the archive now, with fence %d", self._lease.fence)

    async def _take_over(self) -> None:
        await asyncio.to_thread(self._folder.take, self._lease.fence, self._lease.holder)
        standing = self._folder.standing
        self._telling.begin(standing)
        self._delivery.begin(standing.seal_line)
        self._retiring = Retiring(self._folder, self._outside.retention)
        self._seal_at = self._outside.clock() + self._seal_seconds
        if self._signing.hands_over(standing):
            await self._seal()

    def _lose(self) -> None:
        logger.warning("this process no longer seals the archive")
        self._lease.forget()
        self._close()

    def _close(self) -> None:
        self._delivery.close()
        self._folder.close()

    # ------------------------------------------------------------------------- a turn

    async def _copy(self) -> bool:
        """Archive what is new; return whether there is more."""
        tails = await read_on(self._source, self._folder.last)
        read = [tail for tail, _ in tails]
        taken = await asyncio.to_thread(self._take, read)
        if not self.leads:
            return True  # an old epoch was looked for, for long: ask first whether we still do
        await self._delivery.repeat(self._folder.folder, read, self._folder.last)
        await self._append(taken)
        if self._is_due():
            await self._seal()
        trouble = await self._delivery.give()
        if trouble is None:
            await self._source.mark(self._lease.fence, marks_of(tails, taken))
        await self._tell()
        await self._keep_anchors()
        await self._retire(min(tail.now for tail in read))
        if trouble:
            raise trouble
        self._telling.go_on()
        return any(not tail.is_whole for tail in read)

    def _take(self, tails: Sequence[Tail]) -> list[Taken]:
        return [take(tail, self._folder.last, self._outside.is_ours) for tail in tails]

    async def _append(self, taken: Sequence[Taken]) -> None:
        lines = list(merged(taken))
        if lines:
            await self._write(lambda: self._folder.append(lines, self._outside.now()))
        missing = self._telling.count(taken, len(lines))
        self._telling.learn(self._folder.standing)
        if missing:
            self._events.append(("gap", missing))
        self._delivery.owe(lines)

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

    async def _write(self, write: Callable[[], T]) -> T:
        """Write, if that is still ours to do."""
        if not self.leads:
            raise Fenced
        return await asyncio.to_thread(write)

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
        self._telling.learn(self._folder.standing)
        self._delivery.owe_seal(line)

    async def _keep_anchors(self) -> None:
        await self._delivery.keep_anchors(lambda: self._telling.anchored(self._outside.now()))
