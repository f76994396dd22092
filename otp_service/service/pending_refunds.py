"""Refunds of calls that the store refused before anything was compared or sent.

While the store fails, its refunds fail too. They wait here, and are tried again until the store
answers. A refund applies only while the store records its charge as applied, and once, so it may be
tried although it is unknown whether the charge, or an earlier try, arrived.

With replicas a refund is durable: it is tried until as many as `redis.replicas` have it. A master that
is being replaced applies refunds too, and the next one would have the charge without them.

Settlements of debts wait here as well, because the verify that they follow has been answered. One that
is lost leaves a debt until it expires.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from otp_service.core.errors import OtpError, StoreTampered, StoreUnavailable


MAX_REFUND_WAIT_SECONDS = 240
"""How long a refund is tried again; the store keeps the records of charges longer (commit.lua)."""

MAX_PENDING_REFUNDS = 10_000
"""Beyond this the oldest refund is dropped, and its charge stays."""

RETRY_INTERVAL_SECONDS = 0.2
"""Shorter than the Retry-After of a refused call, which should find its charges refunded."""

CONCURRENT_REFUNDS = 16

RefundCall = Callable[[], Awaitable[object]]

logger = logging.getLogger(__name__)


async def apply_all(*parts: Awaitable[object]) -> None:
    """Apply every part of a refund, and only then raise the first error.

    So a part that too few replicas have does not keep the others from being applied.
    """
    results = await asyncio.gather(*parts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class PendingRefunds:
    """Applies refunds, and keeps those that the store cannot apply now, in memory and bounded."""

    def __init__(self) -> None:
        self._pending: deque[tuple[float, RefundCall]] = deque()
        self._retrying: asyncio.Task[None] | None = None
        self.dropped_count = 0
        """Refunds that were given up; their charges stay."""

    def __len__(self) -> int:
        return len(self._pending)

    @asynccontextmanager
    async def refund_if_unavailable(self, refund: RefundCall) -> AsyncIterator[None]:
        """Apply the refund if the body raises StoreUnavailable or an unexpected exception.

        It is applied before the exception leaves if the store answers: it only lacks replicas, or
        the event log is full.
        """
        try:
            yield
        except StoreUnavailable as error:
            if error.is_reachable:
                await self.apply(refund)
            else:
                self.apply_later(refund)
            raise
        except OtpError:
            raise
        except Exception:
            self.apply_later(refund)
            raise

    async def apply(self, refund: RefundCall) -> None:
        """Apply a refund now, or later if the store is not available."""
        try:
            await refund()
        except StoreUnavailable:
            self.apply_later(refund)

    def apply_later(self, refund: RefundCall) -> None:
        """Apply a refund as soon as the store answers, for MAX_REFUND_WAIT_SECONDS."""
        loop = asyncio.get_running_loop()
        if len(self._pending) >= MAX_PENDING_REFUNDS:
            self._pending.popleft()
            self._count_dropped(1)
        self._pending.append((loop.time() + MAX_REFUND_WAIT_SECONDS, refund))
        if self._retrying is None or self._retrying.done():
            # In a context of its own: it outlives the request that it begins in.
            context = contextvars.Context()
            self._retrying = loop.create_task(self._retry(), context=context)

    async def drain(self, seconds: float) -> int:
        """Try the refunds for this long; return how many are left, whose charges stay."""
        if self._retrying is not None:
            await asyncio.wait({self._retrying}, timeout=seconds)
            self._retrying.cancel()
            await asyncio.gather(self._retrying, return_exceptions=True)
        return len(self._pending)

    async def _retry(self) -> None:
        while self._pending:
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
            self._drop_overdue()
            batch_size = 1  # one refund shows whether the store answers
            while self._pending and await self._try_batch(batch_size):
                batch_size = CONCURRENT_REFUNDS

    async def _try_batch(self, size: int) -> bool:
        """Apply the oldest refunds; keep those that failed. Return whether all were applied.

        One that fails is tried again after the others, so that it does not keep them waiting.
        """
        batch = [self._pending.popleft() for _ in range(min(size, len(self._pending)))]
        try:
            results = await asyncio.gather(*(call() for _, call in batch), return_exceptions=True)
        except asyncio.CancelledError:
            self._pending.extendleft(reversed(batch))  # maybe applied: a refund applies once
            raise
        failed = []
        for waiting, result in zip(batch, results, strict=True):
            if isinstance(result, StoreUnavailable) and not isinstance(result, StoreTampered):
                failed.append(waiting)
            elif isinstance(result, Exception):
                logger.error("a refund failed, and its charge stays", exc_info=result)
                self.dropped_count += 1
        self._pending.extend(failed)
        return not failed

    def _drop_overdue(self) -> None:
        now, before = asyncio.get_running_loop().time(), len(self._pending)
        self._pending = deque(waiting for waiting in self._pending if waiting[0] > now)
        self._count_dropped(before - len(self._pending))

    def _count_dropped(self, count: int) -> None:
        if count and self.dropped_count == 0:
            logger.warning("refunds are given up: the store was not available for too long")
        self.dropped_count += count
