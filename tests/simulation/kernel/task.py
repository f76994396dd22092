"""A task whose place in a set does not depend on its address in memory."""

import asyncio
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
