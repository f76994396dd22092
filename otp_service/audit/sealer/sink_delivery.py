"""The leader's deliveries: lines to the sinks, and the anchor of each seal to the anchor sinks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from otp_service.audit.archive_format.seals import build_anchor
from otp_service.audit.sealer.partition_lines import SequenceLookup
from otp_service.audit.sealer.sink_queue import SinkQueue, flush_queues, read_undelivered
from otp_service.audit.sinks.base import Sink, SinkError
from otp_service.core.log_entry import PendingEntries


logger = logging.getLogger(__name__)


class SinkDelivery:
    """The queues of all sinks and anchor sinks."""

    def __init__(self, sinks: Sequence[Sink], anchor_sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._anchor_sinks = anchor_sinks
        self._queues: list[SinkQueue] = []
        self._anchor_queues: list[SinkQueue] = []
        self._is_replay_due = False
        self._is_anchor_delivered = True

    def reset_queues(self, seal_line: bytes) -> None:
        """Begin with the last seal's anchor, which an earlier leader may not have delivered."""
        self.close()  # a delivery of an earlier lease of this sealer may be under way
        self._queues = [SinkQueue(sink) for sink in self._sinks]
        self._anchor_queues = [SinkQueue(sink) for sink in self._anchor_sinks]
        self._is_replay_due = bool(self._queues)
        if seal_line:
            self._enqueue_anchor(seal_line)

    def enqueue_lines(self, lines: Sequence[bytes]) -> None:
        for queue in self._queues:
            queue.enqueue(lines)

    def enqueue_seal(self, line: bytes) -> None:
        """Enqueue a seal for the sinks and its anchor for the anchor sinks."""
        self.enqueue_lines([line])
        self._enqueue_anchor(line)

    async def enqueue_undelivered(
        self, folder: Path, pending: Sequence[PendingEntries], find_last: SequenceLookup
    ) -> None:
        """Enqueue, once, the archived lines that the previous leader may not have delivered."""
        if not self._is_replay_due:
            return
        self._is_replay_due = False
        first: dict[tuple[int, int], int] = {}
        for p in pending:
            for entry in p.entries:
                epoch, sequence = (p.partition, entry.epoch), entry.position.sequence
                if sequence <= find_last(*epoch):
                    first[epoch] = min(sequence, first.get(epoch, sequence))
        self.enqueue_lines(await asyncio.to_thread(read_undelivered, folder, first))

    async def flush_sinks(self) -> SinkError | None:
        """Deliver all lines to the sinks; return the first failure."""
        return await flush_queues(self._queues)

    async def flush_anchors(self, on_delivered: Callable[[], None]) -> None:
        """Deliver the newest anchor and call `on_delivered`. A failure is logged, not raised."""
        if not any(queue.has_pending for queue in self._anchor_queues):
            return
        error, was_delivered = await flush_queues(self._anchor_queues), self._is_anchor_delivered
        self._is_anchor_delivered = error is None
        if error is None:
            on_delivered()
        if error and was_delivered:
            logger.error("the archive's anchor is not delivered: %s", error)
        elif error is None and not was_delivered:
            logger.info("the archive's anchor is delivered again")

    def close(self) -> None:
        for queue in [*self._queues, *self._anchor_queues]:
            queue.close()

    def _enqueue_anchor(self, line: bytes) -> None:
        for queue in self._anchor_queues:
            queue.replace_pending(str(build_anchor(line)).encode())
