"""The clock of a round, and waits for what processes do not announce."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final


LOOK_SECONDS: Final = 0.1


def read_ms() -> int:
    """Return milliseconds since 1970, by the one clock of this machine."""
    return int(time.time() * 1000)


async def wait_for(condition: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Return once a condition holds that no process announces. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # no process sets an event of this one
            await asyncio.sleep(LOOK_SECONDS)
