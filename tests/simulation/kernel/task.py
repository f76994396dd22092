"""Tasks and futures whose place in a set does not depend on their address in memory."""

import asyncio
from collections.abc import Callable
from typing import Any


class SimulatedTask(asyncio.Task[Any]):
    """Hashes by its number in the run.

    asyncio keeps tasks in sets (`wait`, `TaskGroup`, `all_tasks`), and so do programs. Sets are
    iterated in the order of hashes, and the hash of an object is its address: without this, tasks
    would be canceled in another order in each process.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number  # first: asyncio puts the task into a set before it returns
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class SimulatedFuture(asyncio.Future[Any]):
    """Hashes by a number of its run, which it gets when it is first hashed: few are put into a set."""

    __slots__ = ("_draw_number", "_number")

    def __init__(self, draw_number: Callable[[], int], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._draw_number = draw_number
        self._number: int | None = None

    def __hash__(self) -> int:
        if self._number is None:
            self._number = self._draw_number()
        return self._number
