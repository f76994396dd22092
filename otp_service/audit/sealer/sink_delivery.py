"""What the leader has to give to other places: lines to sinks, and of each seal the anchor."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from otp_service.audit.archive_format.seals import anchor_of
from otp_service.audit.sealer.partition_lines import Known
from otp_service.audit.sealer.sink_queue import Feed, again, give_all
from otp_service.audit.sinks.base import Sink, SinkFailed
from otp_service.core.log_entry import Tail


logger = logging.getLogger(__name__)


class Delivery:
    """Knows what each sink and each place for anchors does not have yet."""

    def __init__(self, sinks: Sequence[Sink], anchors: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._keepers = anchors
        self._feeds: list[Feed] = []
        self._anchors: list[Feed] = []
        self._repeats = False
        self._is_kept = True

    def begin(self, seal_line: bytes) -> None:
        """Begin anew, with the last seal: whoever made it may not have come to tell of it."""
        self._feeds = [Feed(sink) for sink in self._sinks]
        self._anchors = [Feed(sink) for sink in self._keepers]
        self._repeats = bool(self._feeds)
        if seal_line:
            self._owe_anchor(seal_line)

    def owe(self, lines: Sequence[bytes]) -> None:
        """Have these lines go to every sink."""
        for feed in self._feeds:
            feed.owe(lines)

    def owe_seal(self, line: bytes) -> None:
        """Have a seal go to every sink, and its anchor to where those are kept."""
        self.owe([line])
        self._owe_anchor(line)

    async def repeat(self, folder: Path, tails: Sequence[Tail], known: Known) -> None:
        """Owe the sinks, once, what whoever led before may have kept from them."""
        if not self._repeats:
            return
        self._repeats = False
        first: dict[tuple[int, int], int] = {}
        for tail in tails:
            for entry in tail.entries:
                place, sequence = (tail.partition, entry.epoch), entry.position.sequence
                if sequence <= known(*place):
                    first[place] = min(sequence, first.get(place, sequence))
        self.owe(await asyncio.to_thread(again, folder, first))

    async def give(self) -> SinkFailed | None:
        """Give every sink what it is owed; return why one does not have it."""
        return await give_all(self._feeds)

    async def keep_anchors(self, kept: Callable[[], None]) -> None:
        """Have the newest anchor kept elsewhere, and call `kept`; nothing waits for that."""
        if not any(feed.owes for feed in self._anchors):
            return
        trouble, was_kept = await give_all(self._anchors), self._is_kept
        self._is_kept = trouble is None
        if trouble and was_kept:
            logger.error("the archive's anchor is not kept elsewhere: %s", trouble)
        if trouble is None:
            kept()
            if not was_kept:
                logger.info("the archive's anchor is kept elsewhere again")

    def close(self) -> None:
        """Give no more."""
        for feed in [*self._feeds, *self._anchors]:
            feed.close()

    def _owe_anchor(self, line: bytes) -> None:
        for feed in self._anchors:
            feed.owe_only(str(anchor_of(line)).encode())
