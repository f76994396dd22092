"""What ends a simulated run early. Each of them is a finding, not a fault of the simulation."""

import asyncio
import inspect
from typing import Any


class SimulationError(Exception):
    """A run that cannot go on."""


class LivelockError(SimulationError):
    """The run has taken more steps, or more simulated time, than it may."""


class DeadlockError(SimulationError):
    """Nothing is ready and no timer is set, so that what the run waits for never happens."""

    def __init__(self, tasks: set[asyncio.Task[Any]]) -> None:
        waiting = sorted(_describe_wait(task) for task in tasks)
        super().__init__(f"nothing can happen any more; {len(waiting)} tasks wait: {waiting[:8]}")


class UnhandledError(SimulationError):
    """A callback or a task has raised what nothing has handled; `context` is what asyncio logs."""

    def __init__(self, context: dict[str, Any]) -> None:
        super().__init__(f"{context.get('message')}: {context.get('exception')!r}")
        self.context = context


def _describe_wait(task: asyncio.Task[Any]) -> str:
    """Return the innermost coroutine of a task, and the line at which it waits."""
    coroutine = task.get_coro()
    while inspect.iscoroutine(awaited := getattr(coroutine, "cr_await", None)):
        coroutine = awaited
    name = getattr(coroutine, "__qualname__", "a coroutine")
    frame = getattr(coroutine, "cr_frame", None)
    return f"{name} at line {frame.f_lineno}" if frame else str(name)
