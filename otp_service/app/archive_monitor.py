"""Metrics and events about the archive, from its state in Redis.

The leader of the sealers, in any process on any machine, stores its status in Redis. Each process
of the service exports that as metrics, so they exist without a sealer, too.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from otp_service.audit.sealer.status import SealerStatus
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import create_bounded_decoder
from otp_service.core.timestamps import format_rfc3339, parse_rfc3339
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.telemetry import Metrics


CHECK_INTERVAL_SECONDS = 2.0

MAX_READY_FULLNESS = 0.9
"""The fullness (0 to 1) of the fullest partition from which on the service is not ready.

At 1 requests of that partition are refused. The limit is not much lower: the other partitions may
have room, and a service that is not ready refuses all requests.
"""

MIN_WARNING_FULLNESS = 0.5

logger = logging.getLogger(__name__)


@dataclass
class ArchiveMonitor:
    """Watches the archive in Redis; `_record_event` appends `log.archive` with a reason."""

    _source: RedisArchiveSource
    _metrics: Metrics
    _max_partition_events: int
    _record_event: Callable[[str], Awaitable[None]]
    _is_filling: bool = False
    _is_full: bool = False

    async def run_once(self) -> None:
        """Update the metrics, unless Redis is away or an entry is invalid."""
        with suppress(StoreUnavailable, ValueError):  # an attacker may write invalid entries
            await self.update_metrics()

    async def update_metrics(self) -> None:
        """Set the metrics, and record an event if the log becomes full. Raises StoreUnavailable."""
        lease_until, body = await self._source.read_status()
        status = _parse_status(body)
        pending = await self._source.fetch_pending(range(PARTITION_COUNT), count=1)
        now = max(p.now for p in pending)
        oldest = [p.entries[0].position.at for p in pending if p.entries]
        if status.oldest_unsealed_at:
            oldest.append(status.oldest_unsealed_at)
        fullness = max(p.waiting_count for p in pending) / self._max_partition_events
        self._metrics.set_archive_metrics(
            leader=lease_until > now,
            stuck=bool(status.trouble),
            lag=max(0, now - min(oldest, default=now)) / 1000,
            waiting=sum(p.waiting_count for p in pending),
            fullness=fullness,
            seal=status.seal,
            sealed_at=parse_rfc3339(status.sealed_at) / 1000 if status.sealed_at else 0,
            anchored_at=status.anchored_at / 1000,
            archived=status.archived,
            missing=status.missing,
            failed=status.failed,
        )
        await self._report_fullness(fullness)

    async def _report_fullness(self, fullness: float) -> None:
        if (fullness >= MIN_WARNING_FULLNESS) is not self._is_filling:
            self._is_filling = not self._is_filling
            log = logger.error if self._is_filling else logger.info
            log("the fullest partition of the event log is %d %% full", 100 * fullness)
        if (fullness >= 1) is not self._is_full:
            self._is_full = not self._is_full
            await self._record_event("overflow" if self._is_full else "recovered")


def _parse_status(body: bytes) -> SealerStatus:
    """Return the leader's status. An invalid one, which only an attacker writes, is a `fault`."""
    try:
        status = _decode_status(body)
        parse_rfc3339(status.sealed_at or format_rfc3339(0))
    except ValueError:
        return SealerStatus(trouble="fault")
    return status


_decode_status = create_bounded_decoder(SealerStatus)
