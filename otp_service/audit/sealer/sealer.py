"""The sealer: copies events from Redis to an archive, and seals it.

    keep the lease → read pending entries → append lines, fsync → seal the batch when due →
    deliver to the sinks → mark archived → deliver the anchor → apply retention

One of several sealers is the leader: it holds a lease in Redis with a fencing token that only
grows, which the archive's folder stores too. After any failure the next turn continues from the
folder: entries that were appended and not marked are read again and recognized, so that none is
lost and none is archived twice.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from otp_service.audit.sealer.archive_writer import ArchiveWriter, FencedOffError
from otp_service.audit.sealer.backlog import read_backlog
from otp_service.audit.sealer.environment import ArchiveSource, SealerEnvironment
from otp_service.audit.sealer.lease import LEASE_RENEWAL_SECONDS, Lease
from otp_service.audit.sealer.partition_lines import PartitionLines, build_lines, merge_lines
from otp_service.audit.sealer.repeat_watch import RepeatWatch
from otp_service.audit.sealer.retention import RetentionJob
from otp_service.audit.sealer.signer import Signer
from otp_service.audit.sealer.sink_delivery import SinkDelivery
from otp_service.audit.sealer.state import ArchiveDamagedError
from otp_service.audit.sealer.status import SealerStatus, StatusReporter
from otp_service.audit.sinks.base import SinkError
from otp_service.core.errors import StoreUnavailable
from otp_service.task_end import wait_for_event


POLL_INTERVAL_SECONDS = 0.25
"""Seconds between two reads of streams that had no further entries."""

MAX_BATCH_LINES = 5000
"""Lines after which a batch is sealed before its time."""

REPEATS_MESSAGE = (
    "%d events are in the log twice: calls were repeated after Redis was replaced, or entries were"
    " copied; 'otp-service audit verify' lists them"
)

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Sealer:
    """Copies and seals while it is the leader; `seal_seconds` is the interval between two seals."""

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
        self._pending_events: list[tuple[str, int]] = []
        self._repeat_watch = RepeatWatch()

    @property
    def is_leader(self) -> bool:
        return self._lease.is_held

    @property
    def status(self) -> SealerStatus:
        return self._status_reporter.status

    async def run(self, stop: asyncio.Event) -> None:
        """Run turns until `stop` is set; then seal the last batch and release the lease."""
        while not stop.is_set():
            if not await self.run_once():
                pause = POLL_INTERVAL_SECONDS if self.is_leader else LEASE_RENEWAL_SECONDS
                await wait_for_event(stop, pause)
        await self.stop()

    async def run_once(self) -> bool:
        """Run one turn; return whether more entries are pending. Errors are reported, not raised."""
        try:
            return await self._keep_lease() and await self._archive_pending()
        except FencedOffError:
            self._handle_lost_lease()
        except (OSError, ArchiveDamagedError, SinkError, StoreUnavailable) as error:
            self._status_reporter.report_error(error)
        except Exception:  # a bug does not end the sealer: the state is read again from the folder
            self._status_reporter.report_trouble("fault", "the sealer had an unexpected error")
            logger.exception("the sealer starts over")
            self._handle_lost_lease()
        return False

    async def stop(self) -> None:
        """Archive and seal everything, and release the lease for another sealer."""
        if self.is_leader:
            self._pending_events.append(("stopped", 0))
            await self.run_once()
            while await self.run_once():  # archives the event of the first turn, too
                pass
            try:
                await self._seal_batch()
                await self._flush_anchors()
                if sink_error := await self._delivery.flush_sinks():
                    raise sink_error
                await self._lease.release(self._status_reporter.encoded_status)
            except (FencedOffError, OSError, ArchiveDamagedError, SinkError, StoreUnavailable):
                logger.warning("the last batch is not sealed or delivered; the next sealer does it")
        self._lease.mark_lost()
        self._close_all()

    async def _keep_lease(self) -> bool:
        """Renew or acquire the lease when due; return whether this sealer is the leader."""
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
        except Exception:  # another sealer may be able to write
            await self._lease.release(self._status_reporter.encoded_status)
            raise
        self._pending_events.append(("started", 0))
        logger.info("this process seals the archive now, with fence %d", self._lease.fence)

    async def _acquire_archive(self) -> None:
        await asyncio.to_thread(self._writer.acquire, self._lease.fence, self._lease.holder)
        state = self._writer.state
        self._status_reporter.reset_status(state)
        self._delivery.reset_queues(state.last_seal_line)
        self._retention_job = RetentionJob(self._writer, self._environment.retention_ms)
        self._seal_at = self._environment.clock() + self._seal_seconds
        if self._signer.is_key_change_due(state):
            await self._seal_batch()

    def _handle_lost_lease(self) -> None:
        logger.warning("this process no longer seals the archive")
        self._lease.mark_lost()
        self._close_all()

    def _close_all(self) -> None:
        self._delivery.close()
        self._writer.close()

    async def _archive_pending(self) -> bool:
        """Archive, deliver and mark one backlog; return whether more entries are pending."""
        find_last, verify_mac = self._writer.find_last_sequence, self._environment.has_valid_mac
        backlog = await read_backlog(self._source, find_last)
        lines = await asyncio.to_thread(build_lines, backlog.pending, find_last, verify_mac)
        if not self.is_leader:
            return True  # the search for an old epoch took long: renew the lease first
        await self._delivery.enqueue_undelivered(self._writer.folder, backlog.pending, find_last)
        if repeats := self._repeat_watch.count_repeats(backlog.pending):
            logger.warning(REPEATS_MESSAGE, repeats)
        await self._append_lines(lines)
        if self._is_seal_due():
            await self._seal_batch()
        sink_error = await self._delivery.flush_sinks()
        if sink_error is None:  # nothing is marked before every sink has every line
            positions = backlog.build_archived_positions(lines)
            await self._source.mark_archived(self._lease.fence, positions)
        await self._record_events()
        await self._flush_anchors()
        await self._apply_retention(backlog.now)
        if sink_error:
            raise sink_error
        self._status_reporter.clear_trouble()
        return not backlog.is_complete

    async def _append_lines(self, partition_lines: Sequence[PartitionLines]) -> None:
        lines, now = list(merge_lines(partition_lines)), self._environment.now
        if lines:
            await self._write_if_leader(lambda: self._writer.append_lines(lines, now()))
        missing = self._status_reporter.count_archived(partition_lines, len(lines))
        self._status_reporter.record_state(self._writer.state)
        if missing:
            self._pending_events.append(("gap", missing))
        self._delivery.enqueue_lines(lines)

    async def _apply_retention(self, redis_now: int) -> None:
        """Delete the segments that a seal has stated, and find those for the next seal."""
        job, clock = self._retention_job, self._environment.clock()
        if job.declared:
            await self._write_if_leader(job.delete_declared)
        if job.is_due(clock):
            now = min(redis_now, self._environment.now())  # one clock that jumps deletes nothing
            if expired := await self._write_if_leader(lambda: job.find_expired(clock, now)):
                self._pending_events.append(("dropped", expired.number))

    async def _record_events(self) -> None:
        while self._pending_events:
            await self._environment.record_archive_change(*self._pending_events[0])
            self._pending_events.pop(0)

    async def _write_if_leader(self, write: Callable[[], T]) -> T:
        """Run `write` in a thread. Raises FencedOffError if this sealer is not the leader."""
        if not self.is_leader:
            raise FencedOffError
        return await asyncio.to_thread(write)

    def _is_seal_due(self) -> bool:
        unsealed = self._writer.state.unsealed_count
        is_time = self._environment.clock() >= self._seal_at
        return unsealed >= MAX_BATCH_LINES or (unsealed > 0 and is_time)

    async def _seal_batch(self) -> None:
        self._seal_at = self._environment.clock() + self._seal_seconds
        state = self._writer.state
        if state.is_sealed and not self._signer.is_key_change_due(state):
            return
        now, dropped = self._environment.now(), self._retention_job.expired
        seal = partial(self._writer.append_seal, self._signer, now, dropped)
        line = await self._write_if_leader(seal)
        self._retention_job.mark_declared()
        self._status_reporter.record_state(self._writer.state)
        self._delivery.enqueue_seal(line)

    async def _flush_anchors(self) -> None:
        reporter, now = self._status_reporter, self._environment.now
        await self._delivery.flush_anchors(lambda: reporter.record_anchored(now()))
