"""The sealer of an installation, and what everybody else sees of it.

Whoever seals, in this process, beside it or on another machine, tells in Redis how it goes, and
the watch makes metrics of that: so they are there also if nobody seals.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from otp_service.audit.sealer.ports import Told
from otp_service.core.challenge import PARTITIONS
from otp_service.core.errors import StoreUnavailable
from otp_service.core.log_entry import decoder, milliseconds_of, rfc3339
from otp_service.store.archive_source import RedisSealing
from otp_service.telemetry import Metrics


EVERY = 2.0
"""Seconds between two looks."""

READY_BELOW = 0.9
"""How full the fullest partition may be for whoever asks whether we are ready.

A tenth before anybody is refused: the others may still have room, and a service that takes itself
out at the first trouble of a disk would refuse everybody for it.
"""

WARN_FROM = 0.5

logger = logging.getLogger(__name__)


class Watch:
    """Looks at the archive's state in Redis; `tell` appends the event of a reason."""

    def __init__(
        self,
        source: RedisSealing,
        metrics: Metrics,
        maximum: int,
        tell: Callable[[str], Awaitable[None]],
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._maximum = maximum
        self._tell = tell
        self._is_filling = self._is_full = False

    async def run(self) -> None:
        """Look again and again."""
        while True:
            with suppress(StoreUnavailable, ValueError):  # whoever writes to Redis says anything
                await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Tell the metrics where the archive stands. Raises StoreUnavailable."""
        until, said = await self._source.told()
        told = _told_in(said)
        tails = await self._source.tails(range(PARTITIONS), count=1)
        now = max(tail.now for tail in tails)
        oldest = [tail.entries[0].position.at for tail in tails if tail.entries]
        if told.unsealed:
            oldest.append(told.unsealed)
        fullness = max(tail.waiting for tail in tails) / self._maximum
        self._metrics.archive(
            leader=until > now,
            stuck=bool(told.trouble),
            lag=max(0, now - min(oldest, default=now)) / 1000,
            waiting=sum(tail.waiting for tail in tails),
            fullness=fullness,
            seal=told.seal,
            sealed_at=milliseconds_of(told.sealed_at) / 1000 if told.sealed_at else 0,
            anchored_at=told.anchored_at / 1000,
            archived=told.archived,
            missing=told.missing,
            failed=told.failed,
        )
        await self._warn(fullness)

    async def _warn(self, fullness: float) -> None:
        if (fullness >= WARN_FROM) is not self._is_filling:
            self._is_filling = not self._is_filling
            say = logger.error if self._is_filling else logger.info
            say("the fullest partition of the event log is at %d %% of its room", 100 * fullness)
        if (fullness >= 1) is not self._is_full:
            self._is_full = not self._is_full
            await self._tell("overflow" if self._is_full else "recovered")


def _told_in(said: bytes) -> Told:
    """Return what the sealer has told; of what anybody else has, that it is of no use."""
    try:
        told = _told(said)
        milliseconds_of(told.sealed_at or rfc3339(0))
    except ValueError:
        return Told(trouble="fault")
    return told


_told = decoder(Told)
