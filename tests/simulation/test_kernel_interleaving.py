"""Tasks interleave on the simulated loop exactly as on the loop of asyncio.

Random programs without timers run on both: their order is then decided by the loop alone.
"""

import asyncio
from typing import Any

import pytest

from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.runner import run_simulated


TASK_COUNT = 8
TURNS = 200
"""After these many turns of the loop, tasks that still wait are canceled."""


class Program:
    """Tasks that draw what they do next: yield, wait, wake, cancel, pass items, start others."""

    def __init__(self, seed: int) -> None:
        self._chance = Chance(seed)
        self._events = [asyncio.Event() for _ in range(2)]
        self._queue: asyncio.Queue[int] = asyncio.Queue(2)
        self._lock = asyncio.Lock()
        self._tasks: list[asyncio.Task[Any]] = []
        self.trace: list[Any] = []

    async def run(self) -> list[Any]:
        """Return what the tasks did, in its order."""
        self._tasks += [asyncio.create_task(self._live(number)) for number in range(TASK_COUNT)]
        for _ in range(TURNS):
            await asyncio.sleep(0)
        while not all(task.done() for task in self._tasks):  # some ignore a cancellation
            for task in self._tasks:
                task.cancel()
            await asyncio.sleep(0)
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        return [*self.trace, *map(repr, ends)]

    async def _live(self, number: int) -> int:
        moves = [
            self._yield_turn,
            self._wait_for_event,
            self._wake_others,
            self._cancel_one,
            self._put_item,
            self._get_item,
            self._hold_lock,
            self._gather_some,
            self._schedule_callbacks,
        ]
        for _ in range(self._chance.draw_between(3, 12)):
            move = self._chance.pick(moves)
            self.trace.append((number, move.__name__))
            try:
                await move(number)
            except asyncio.CancelledError:
                self.trace.append((number, "canceled"))
                if self._chance.has_luck(0.5):
                    raise
        return number

    async def _yield_turn(self, _: int) -> None:
        await asyncio.sleep(0)

    async def _wait_for_event(self, _: int) -> None:
        await self._chance.pick(self._events).wait()

    async def _wake_others(self, _: int) -> None:
        event = self._chance.pick(self._events)
        event.set()
        event.clear()

    async def _cancel_one(self, _: int) -> None:
        self._chance.pick(self._tasks).cancel()

    async def _put_item(self, number: int) -> None:
        await self._queue.put(number)

    async def _get_item(self, number: int) -> None:
        self.trace.append((number, "got", await self._queue.get()))

    async def _hold_lock(self, number: int) -> None:
        async with self._lock:
            self.trace.append((number, "holds"))
            await asyncio.sleep(0)

    async def _gather_some(self, number: int) -> None:
        await asyncio.gather(self._yield_turn(number), self._wait_for_event(number))

    async def _schedule_callbacks(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        for part in range(3):
            handle = loop.call_soon(self.trace.append, (number, "callback", part))
            if self._chance.has_luck(0.3):
                handle.cancel()


@pytest.mark.parametrize("seed", range(40))
def test_tasks_interleave_as_on_the_loop_of_asyncio(seed: int):
    """The order of everything that they do, and how each of them ends."""

    async def run_program() -> list[Any]:
        return await Program(seed).run()

    real = asyncio.run(run_program())

    assert real == run_simulated(lambda _: run_program())
    assert len(real) > 2 * TASK_COUNT
