"""What the leader has to give to other places: lines to sinks, and of each seal the anchor."""

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
    """Knows what each sink and each place for anchors does not have yet."""

    def __init__(self, sinks: Sequence[Sink], anchor_sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._anchor_sinks = anchor_sinks
        self._queues: list[SinkQueue] = []
        self._anchor_queues: list[SinkQueue] = []
        self._is_replay_due = False
        self._is_anchor_delivered = True

    def reset_queues(self, seal_line: bytes) -> None:
        """Begin anew, with the last seal: whoever made it may not have come to tell of it."""
        self._queues = [SinkQueue(sink) for sink in self._sinks]
        self._anchor_queues = [SinkQueue(sink) for sink in self._anchor_sinks]
        self._is_replay_due = bool(self._queues)
        if seal_line:
            self._enqueue_anchor(seal_line)

    def enqueue_lines(self, lines: Sequence[bytes]) -> None:
        """Have these lines go to every sink."""
        for feed in self._queues:
            feed.enqueue(lines)

    def enqueue_seal(self, line: bytes) -> None:
        """Have a seal go to every sink, and its anchor to where those are kept."""
        self.enqueue_lines([line])
        self._enqueue_anchor(line)

    async def enqueue_undelivered(
        self, folder: Path, pending: Sequence[PendingEntries], last_sequence: SequenceLookup
    ) -> None:
        """Owe the sinks, once, what whoever led before may have kept from them."""
        if not self._is_replay_due:
            return
        self._is_replay_due = False
        first: dict[tuple[int, int], int] = {}
        for tail in pending:
            for entry in tail.entries:
                place, sequence = (tail.partition, entry.epoch), entry.position.sequence
                if sequence <= last_sequence(*place):
                    first[place] = min(sequence, first.get(place, sequence))
        self.enqueue_lines(await asyncio.to_thread(read_undelivered, folder, first))

    async def flush_sinks(self) -> SinkError | None:
        """Give every sink what it is owed; return why one does not have it."""
        return await flush_queues(self._queues)

    async def flush_anchors(self, on_delivered: Callable[[], None]) -> None:
        """Have the newest anchor kept elsewhere, and call `kept`; nothing waits for that."""
        if not any(feed.has_pending for feed in self._anchor_queues):
            return
        trouble, was_kept = await flush_queues(self._anchor_queues), self._is_anchor_delivered
        self._is_anchor_delivered = trouble is None
        if trouble and was_kept:
            logger.error("the archive's anchor is not kept elsewhere: %s", trouble)
        if trouble is None:
            on_delivered()
            if not was_kept:
                logger.info("the archive's anchor is kept elsewhere again")

    def close(self) -> None:
        """Give no more."""
        for feed in [*self._queues, *self._anchor_queues]:
            feed.close()

    def _enqueue_anchor(self, line: bytes) -> None:
        for feed in self._anchor_queues:
            feed.replace_pending(str(build_anchor(line)).encode())
