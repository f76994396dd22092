"""Calls that finish although nobody waits for them any more."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from otp_service.core.errors import OtpError


T = TypeVar("T")


logger = logging.getLogger(__name__)


class BackgroundCalls:
    """What is running; a caller who goes away takes nothing with him.

    Half an issue would be a message that nobody accounts for, half a verify a claim that is never
    settled: so each runs in a task of its own, which the end of the request does not end.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.is_draining = False
        """Whether new requests are to be refused."""

    def __len__(self) -> int:
        return len(self._tasks)

    async def run_shielded(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the call returns; it goes on if this is canceled."""
        task = self._create_task(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_exception)  # shield keeps what nobody waits for to itself
            raise

    def start_detached(self, call: Coroutine[Any, Any, object]) -> None:
        """Let a call run that nobody waits for."""
        self._create_task(call).add_done_callback(_log_exception)

    def _create_task(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, seconds: float) -> int:
        """Refuse what is new and wait for what runs; return how many calls were not done."""
        self.is_draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        # A request that was let in before may only now come to its call.
        while self._tasks and (left := end - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)
        return len(self._tasks)


def _log_exception(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error and not isinstance(error, OtpError):
        logger.error("a call failed after its caller had left", exc_info=error)
