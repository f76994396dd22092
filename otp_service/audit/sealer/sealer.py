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

from otp_service.audit.sealer.archive_writer import ArchiveWriter, FencedOff
from otp_service.audit.sealer.backlog import build_archived_positions, read_pending
from otp_service.audit.sealer.lease import LEASE_RENEWAL_SECONDS, Lease
from otp_service.audit.sealer.partition_lines import (
    PartitionLines,
    build_partition_lines,
    merge_lines,
)
from otp_service.audit.sealer.ports import ArchiveSource, SealerEnvironment, SealerStatus
from otp_service.audit.sealer.retention import RetentionJob
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.sink_delivery import SinkDelivery
from otp_service.audit.sealer.state import ArchiveDamagedError
from otp_service.audit.sealer.status import StatusReporter
from otp_service.audit.sinks.base import SinkError
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import PendingEntries


POLL_INTERVAL_SECONDS = 0.25
"""Seconds between two looks at streams that had nothing more."""

MAX_BATCH_LINES = 5000
"""Lines after which a stretch is sealed in any case."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Sealer:
    """Copies and seals for as long as it is the leader; `seal_seconds` is between two seals."""

    def __init__(
        self,
        source: ArchiveSource,
        writer: ArchiveWriter,
        signer: Signer,
        environment: SealerEnvironment,
        *,
        seal_seconds: float = 10.0,
    ) -> None:
        self._source = source
        self._writer = writer
        self._signer = signer
        self._environment = environment
        self._seal_seconds = seal_seconds
        self._lease = Lease(source, environment.holder, environment.clock)
        self._seal_at = 0.0
        self._retention_job = RetentionJob(writer, environment.retention_ms)
        self._status_reporter = StatusReporter()
        self._delivery = SinkDelivery(environment.sinks, environment.anchor_sinks)
        """Nothing is marked before every sink has everything."""
        self._pending_events: list[tuple[str, int]] = []

    @property
    def is_leader(self) -> bool:
        """Whether this one may write now."""
        return self._lease.is_held

    @property
    def status(self) -> SealerStatus:
        """What the leader tells of himself."""
        return self._status_reporter.status

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then seal what is there."""
        while not stop.is_set():
            if not await self.run_once():
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        stop.wait(),
                        POLL_INTERVAL_SECONDS if self.is_leader else LEASE_RENEWAL_SECONDS,
                    )
        await self.stop()

    async def run_once(self) -> bool:
        """Do what is to be done now; return whether there is more. Never raises."""
        stuck = self._status_reporter.report_trouble
        try:
            return await self._ensure_leadership() and await self._archive_pending()
        except FencedOff:
            self._handle_lost_lease()
        except BlockingIOError:
            stuck("disk", "somebody else is writing to the archive")
        except OSError as error:
            stuck("disk", f"the archive cannot be written: {error.strerror}")
        except ArchiveDamagedError as error:
            stuck("damaged", f"the archive cannot be gone on with: {error}")
        except SinkError as error:
            stuck("sink", f"a sink does not take the lines: {error}", dedupe_key="sink")
        except StoreUnavailable:
            stuck("redis", "Redis does not answer, so nothing is archived")
        except Exception:  # a fault of ours must not end it: what is there is read anew
            stuck("fault", "the sealer has met what it does not expect")
            logger.exception("the sealer begins anew")
            self._handle_lost_lease()
        return False

    async def stop(self) -> None:
        """Seal what is there, and let somebody else begin at once."""
        if self.is_leader:
            self._pending_events.append(("stopped", 0))
            await self.run_once()
            while await self.run_once():  # what is told by the first one, too
                pass
            try:
                await self._seal_batch()
                await self._flush_anchors()
                if trouble := await self._delivery.flush_sinks():
                    raise trouble
                await self._lease.release(self._status_reporter.encoded_status)
            except (FencedOff, OSError, ArchiveDamagedError, SinkError, StoreUnavailable):
                logger.warning("the archive is not sealed to its end; the next sealer does it")
        self._lease.mark_lost()
        self._close_all()

    # ------------------------------------------------------------------------- the lease

    async def _ensure_leadership(self) -> bool:
        """Keep or take the lease; return whether this one is the leader."""
        if not self._lease.is_renewal_due:
            return True
        before = self._lease.fence
        floor = 0 if before else await asyncio.to_thread(self._writer.read_last_fence)
        await self._lease.acquire_or_renew(floor, self._status_reporter.encoded_status)
        if before and not self._lease.fence:
            self._handle_lost_lease()
        elif self._lease.fence != before:
            await self._start_leading()
        return self.is_leader

    async def _start_leading(self) -> None:
        try:
            await self._acquire_archive()
        except Exception:
            await self._lease.release(
                self._status_reporter.encoded_status
            )  # somebody else may be luckier
            raise
        self._pending_events.append(("started", 0))
        logger.info("this process seals the archive now, with fence %d", self._lease.fence)

    async def _acquire_archive(self) -> None:
        await asyncio.to_thread(self._writer.acquire, self._lease.fence, self._lease.holder)
        standing = self._writer.state
        self._status_reporter.reset_status(standing)
        self._delivery.reset_queues(standing.last_seal_line)
        self._retention_job = RetentionJob(self._writer, self._environment.retention_ms)
        self._seal_at = self._environment.clock() + self._seal_seconds
        if self._signer.is_key_change_due(standing):
            await self._seal_batch()

    def _handle_lost_lease(self) -> None:
        logger.warning("this process no longer seals the archive")
        self._lease.mark_lost()
        self._close_all()

    def _close_all(self) -> None:
        self._delivery.close()
        self._writer.close()

    # ------------------------------------------------------------------------- a turn

    async def _archive_pending(self) -> bool:
        """Archive what is new; return whether there is more."""
        tails = await read_pending(self._source, self._writer.find_last_sequence)
        read = [tail for tail, _ in tails]
        taken = await asyncio.to_thread(self._build_partition_lines, read)
        if not self.is_leader:
            return True  # an old epoch was looked for, for long: ask first whether we still do
        await self._delivery.enqueue_undelivered(
            self._writer.folder, read, self._writer.find_last_sequence
        )
        await self._append_lines(taken)
        if self._is_seal_due():
            await self._seal_batch()
        trouble = await self._delivery.flush_sinks()
        if trouble is None:
            await self._source.mark_archived(
                self._lease.fence, build_archived_positions(tails, taken)
            )
        await self._record_events()
        await self._flush_anchors()
        await self._apply_retention(min(tail.now for tail in read))
        if trouble:
            raise trouble
        self._status_reporter.clear_trouble()
        return any(not tail.is_complete for tail in read)

    def _build_partition_lines(self, pending: Sequence[PendingEntries]) -> list[PartitionLines]:
        return [
            build_partition_lines(
                tail, self._writer.find_last_sequence, self._environment.has_valid_mac
            )
            for tail in pending
        ]

    async def _append_lines(self, partition_lines: Sequence[PartitionLines]) -> None:
        lines = list(merge_lines(partition_lines))
        if lines:
            await self._write_if_leader(
                lambda: self._writer.append_lines(lines, self._environment.now())
            )
        missing = self._status_reporter.count_archived(partition_lines, len(lines))
        self._status_reporter.record_state(self._writer.state)
        if missing:
            self._pending_events.append(("gap", missing))
        self._delivery.enqueue_lines(lines)

    async def _apply_retention(self, now: int) -> None:
        """Delete what a seal has stated, and tell what the next one will.

        `now` is by Redis's clock: one that jumped deletes nothing by itself.
        """
        if self._retention_job.declared:
            await self._write_if_leader(self._retention_job.delete_declared)
        if self._retention_job.is_due(clock := self._environment.clock()):
            now = min(now, self._environment.now())
            if found := await self._write_if_leader(
                lambda: self._retention_job.find_expired(clock, now)
            ):
                self._pending_events.append(("dropped", found.number))

    async def _record_events(self) -> None:
        while self._pending_events:
            await self._environment.record_archive_change(*self._pending_events[0])
            self._pending_events.pop(0)

    async def _write_if_leader(self, write: Callable[[], T]) -> T:
        """Write, if that is still ours to do."""
        if not self.is_leader:
            raise FencedOff
        return await asyncio.to_thread(write)

    # ------------------------------------------------------------------------- the seal

    def _is_seal_due(self) -> bool:
        waiting = self._writer.state.unsealed_count
        is_time = self._environment.clock() >= self._seal_at
        return waiting >= MAX_BATCH_LINES or (waiting > 0 and is_time)

    async def _seal_batch(self) -> None:
        self._seal_at = self._environment.clock() + self._seal_seconds
        standing = self._writer.state
        if standing.is_sealed and not self._signer.is_key_change_due(standing):
            return
        now, dropped = self._environment.now(), self._retention_job.expired
        line = await self._write_if_leader(
            lambda: self._writer.append_seal(self._signer, now, dropped)
        )
        self._retention_job.mark_declared()
        self._status_reporter.record_state(self._writer.state)
        self._delivery.enqueue_seal(line)

    async def _flush_anchors(self) -> None:
        await self._delivery.flush_anchors(
            lambda: self._status_reporter.record_anchored(self._environment.now())
        )
