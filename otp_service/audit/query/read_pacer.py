"""Pacing of searches, so that the calls for codes in the same process are not delayed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


REST_RATIO = 2.0
"""Seconds of rest after each second of reading: searches take at most a third of a process."""

MAX_REST_SECONDS = 0.5
"""A part takes a fifth of a second at most, unless the machine or Redis is slow."""

EVENTS_PER_YIELD = 100
"""Events after which other calls run: some milliseconds."""


class ReadPacer:
    """Lets one search of a process read at a time, and none for some time after it."""

    def __init__(self, rest_ratio: float = REST_RATIO) -> None:
        self._rest_ratio = rest_ratio
        self._lock = asyncio.Lock()
        self._rests_until = 0.0

    @asynccontextmanager
    async def take_turn(self) -> AsyncIterator[None]:
        """Wait for the turn of this search; turns are given in the order of the calls."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(self._rests_until - loop.time())
            started_at = loop.time()
            try:
                yield
            finally:
                ended_at = loop.time()
                rest = min(self._rest_ratio * (ended_at - started_at), MAX_REST_SECONDS)
                self._rests_until = ended_at + rest


async def yield_after(count: int) -> None:
    """Let other calls run once in `EVENTS_PER_YIELD` events; `count` are done."""
    if count % EVENTS_PER_YIELD == 0:
        await asyncio.sleep(0)
