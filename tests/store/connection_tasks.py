"""The tasks that serve the connections of a server of the tests."""

import asyncio


class ConnectionTasks:
    """Tasks that are canceled together when their server closes."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def add_current(self) -> None:
        """Add the task that runs, until it ends."""
        task = asyncio.current_task()
        assert task  # a connection is served by one
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Cancel every task, and return when all have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
