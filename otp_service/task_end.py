"""Ending tasks without trusting a single cancellation.

On Python 3.11 `asyncio.wait_for`, which redis-py awaits where it writes a command, swallows a
cancellation that arrives as its result does (python/cpython#86296). The task then continues, and who
waits for its end waits for ever.
"""

import asyncio
from collections.abc import Collection
from typing import Any


CANCEL_INTERVAL_SECONDS = 0.2
"""Between two cancellations of a task that has not ended."""


async def wait_for_event(event: asyncio.Event, timeout_seconds: float) -> bool:
    """Return whether the event is set within this time."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def cancel_tasks(
    tasks: Collection[asyncio.Task[Any]], *, timeout_seconds: float
) -> set[asyncio.Task[Any]]:
    """Cancel tasks again and again until they have ended; return those that have not in time."""
    end = asyncio.get_running_loop().time() + timeout_seconds
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_INTERVAL_SECONDS)
        if asyncio.get_running_loop().time() >= end:
            break
    return pending
