"""Jobs that run at intervals until the process stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from otp_service.core.errors import StoreUnavailable
from otp_service.task_end import cancel_tasks, wait_for_event


logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Seconds for the jobs that run at the stop; each call of Redis is bounded by its own timeout."""

CANCEL_SECONDS = 2.0
"""Seconds after that for jobs that are canceled."""


class BackgroundTasks:
    """Periodic jobs, which an event stops between two runs.

    A job is canceled only if its run takes too long, and the stop waits for no job for ever.
    """

    def __init__(self) -> None:
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def has_started(self) -> bool:
        return bool(self._tasks)

    def start_periodic(
        self,
        interval_seconds: float,
        job: Callable[[], Awaitable[float | None]],
        *,
        first_after: float | None = None,
    ) -> None:
        """Run `job` every interval, first after as many seconds, or `first_after`.

        A job may return other seconds until its next run. A run that raises StoreUnavailable is
        skipped. Any other error is logged, and the job runs again: a process that has lost one of its
        jobs would go on without it for weeks.
        """
        first = interval_seconds if first_after is None else first_after
        self._tasks.append(asyncio.create_task(self._repeat(interval_seconds, job, first)))

    async def stop(self) -> None:
        """Let the running jobs finish, within STOP_SECONDS, and cancel the others."""
        self._stop.set()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        if stuck := await cancel_tasks(late, timeout_seconds=CANCEL_SECONDS):
            logger.error(
                "%d background tasks do not end; the process ends without them", len(stuck)
            )

    async def _repeat(
        self,
        interval_seconds: float,
        job: Callable[[], Awaitable[float | None]],
        wait_seconds: float,
    ) -> None:
        while not await wait_for_event(self._stop, wait_seconds):
            chosen_seconds = None
            try:
                chosen_seconds = await job()
            except StoreUnavailable:
                pass
            except Exception:
                logger.exception(
                    "a background task failed, and runs again in %d s", interval_seconds
                )
            wait_seconds = interval_seconds if chosen_seconds is None else chosen_seconds
