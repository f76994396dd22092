"""The sealer of an installation, and what everybody else sees of it.

Whoever seals, in this process, beside it or on another machine, tells in Redis how it goes, and
the watch makes metrics of that: so they are there also if nobody seals.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from otp_service.audit.sealer.status import SealerStatus
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import create_bounded_decoder
from otp_service.core.timestamps import format_rfc3339, parse_rfc3339
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.telemetry import Metrics


CHECK_INTERVAL_SECONDS = 2.0
"""Seconds between two looks."""

MAX_READY_FULLNESS = 0.9
"""How full the fullest partition may be for whoever asks whether we are ready.

A tenth before anybody is refused: the others may still have room, and a service that takes itself
out at the first trouble of a disk would refuse everybody for it.
"""

MIN_WARNING_FULLNESS = 0.5

logger = logging.getLogger(__name__)


class ArchiveMonitor:
    """Looks at the archive's state in Redis; `tell` appends the event of a reason."""

    def __init__(
        self,
        source: RedisArchiveSource,
        metrics: Metrics,
        max_partition_events: int,
        record_event: Callable[[str], Awaitable[None]],
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._max_partition_events = max_partition_events
        self._record_event = record_event
        self._is_filling = self._is_full = False

    async def run(self) -> None:
        """Look again and again."""
        while True:
            with suppress(StoreUnavailable, ValueError):  # whoever writes to Redis says anything
                await self.update_metrics()
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    async def update_metrics(self) -> None:
        """Tell the metrics where the archive stands. Raises StoreUnavailable."""
        until, said = await self._source.read_status()
        told = _parse_status(said)
        tails = await self._source.fetch_pending(range(PARTITION_COUNT), count=1)
        now = max(tail.now for tail in tails)
        oldest = [tail.entries[0].position.at for tail in tails if tail.entries]
        if told.oldest_unsealed_at:
            oldest.append(told.oldest_unsealed_at)
        fullness = max(tail.waiting_count for tail in tails) / self._max_partition_events
        self._metrics.set_archive_metrics(
            leader=until > now,
            stuck=bool(told.trouble),
            lag=max(0, now - min(oldest, default=now)) / 1000,
            waiting=sum(tail.waiting_count for tail in tails),
            fullness=fullness,
            seal=told.seal,
            sealed_at=parse_rfc3339(told.sealed_at) / 1000 if told.sealed_at else 0,
            anchored_at=told.anchored_at / 1000,
            archived=told.archived,
            missing=told.missing,
            failed=told.failed,
        )
        await self._report_fullness(fullness)

    async def _report_fullness(self, fullness: float) -> None:
        if (fullness >= MIN_WARNING_FULLNESS) is not self._is_filling:
            self._is_filling = not self._is_filling
            say = logger.error if self._is_filling else logger.info
            say("the fullest partition of the event log is at %d %% of its room", 100 * fullness)
        if (fullness >= 1) is not self._is_full:
            self._is_full = not self._is_full
            await self._record_event("overflow" if self._is_full else "recovered")


def _parse_status(body: bytes) -> SealerStatus:
    """Return what the sealer has told; of what anybody else has, that it is of no use."""
    try:
        told = _decode_status(body)
        parse_rfc3339(told.sealed_at or format_rfc3339(0))
    except ValueError:
        return SealerStatus(trouble="fault")
    return told


_decode_status = create_bounded_decoder(SealerStatus)
