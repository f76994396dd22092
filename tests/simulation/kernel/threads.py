"""Threads of a run: what `asyncio.to_thread` is given runs in one step, at a drawn instant."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.loop import SimulatedLoop


LONGEST_START_SECONDS = 0.001
LONGEST_RETURN_SECONDS = 0.02
"""Until a thread begins, and from its effect until the loop has the result."""


class SimulatedThreads:
    """The threads of one loop. What runs in a thread has its whole effect in one step.

    Like a thread, what has begun is not canceled; what has not begun is.
    """

    def __init__(self, loop: SimulatedLoop, chance: Chance) -> None:
        self.extra_seconds = 0.0
        """How much later each function begins, as with a slow disk."""
        self._loop = loop
        self._chance = chance
        loop.start_thread = self.start

    def start(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function at a later instant; its result or its exception is that of the future."""
        future = self._loop.create_future()
        seconds = self.extra_seconds + self._chance.draw_fraction() * LONGEST_START_SECONDS
        self._loop.call_later(seconds, self._run, function, future)
        return future

    def _run(self, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            return
        finish: Callable[[Any], None] = future.set_result
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # whatever a thread raises, its caller gets
            finish, result = future.set_exception, error
        seconds = self._chance.draw_fraction() * LONGEST_RETURN_SECONDS
        self._loop.call_later(seconds, _finish, future, finish, result)


def _finish(future: asyncio.Future[Any], finish: Callable[[Any], None], result: Any) -> None:
    if not future.cancelled():
        finish(result)
