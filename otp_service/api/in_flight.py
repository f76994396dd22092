"""Calls that finish even if their request is canceled."""

import asyncio
import logging
import math
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from otp_service.core.errors import OtpError, Overloaded


T = TypeVar("T")

logger = logging.getLogger(__name__)


class BackgroundCalls:
    """The running calls, each in its own task, which the end of its request does not cancel.

    Half an issue would be a message without a record, and half a verify an attempt that is charged
    and never compared.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._drain_started = asyncio.Event()
        self._drain_end = math.inf

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_draining(self) -> bool:
        """Whether new requests are refused."""
        return self._drain_started.is_set()

    async def run_shielded(self, call: Coroutine[Any, Any, T]) -> T:
        """Return the result of the call, which continues if this is canceled."""
        task = self._create_task(call)
        try:
            await asyncio.wait([task])  # asyncio.shield would log what such a task raises (3.14)
        except asyncio.CancelledError:
            task.add_done_callback(_log_exception)
            raise
        return task.result()

    def start_detached(self, call: Coroutine[Any, Any, object]) -> None:
        """Start a call without waiting for it."""
        self._create_task(call).add_done_callback(_log_exception)

    async def sleep(self, seconds: float) -> None:
        """Sleep, for a detached call. Raises Overloaded if the drain would end before.

        The drain would otherwise wait for a call that it then cancels.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._drain_started.wait()
        if end > self._drain_end:
            raise Overloaded
        await asyncio.sleep(end - loop.time())

    def _create_task(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, seconds: float) -> int:
        """Refuse new requests and wait for running calls; return how many are unfinished."""
        loop = asyncio.get_running_loop()
        end = self._drain_end = loop.time() + seconds
        self._drain_started.set()
        # A request that was accepted before may start its call only now.
        while self._tasks and (left := end - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return len(self._tasks)


def _log_exception(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error and not isinstance(error, OtpError):
        logger.error("a call failed after its request was canceled", exc_info=error)
