"""An event loop whose clock is simulated: it jumps to the next timer when nothing is ready.

It gives the order that asyncio promises: callbacks first in, first out, and timers by their instant.
asyncio leaves the order of timers of one instant open; here it is that of their creation. No callback
takes simulated time: delays come from timers and the network, whose draws decide how things interleave.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.errors import DeadlockError, LivelockError, UnhandledError
from tests.simulation.kernel.task import SimulatedFuture, SimulatedTask


T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_STEPS = 2_000_000
MAX_SECONDS = 30 * 24 * 3600.0
"""Of simulated time, in one run."""

CLEANUP_STEPS = 100_000
"""Granted after a run was ended, for the cancellation of its tasks."""

CLEANUP_SECONDS = 24 * 3600.0
"""The same in simulated time."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs one simulated world in one thread. Nothing of it reads a clock or starts a thread.

    `asyncio.Runner(loop_factory=…)` runs it as it runs every loop. A run ends with a SimulationError if
    it takes more than `max_steps` callbacks or `max_seconds`, if nothing can happen any more, and if an
    exception was handled by nothing.
    """

    # Of the base class.
    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, *, max_steps: int = MAX_STEPS, max_seconds: float = MAX_SECONDS) -> None:
        super().__init__()
        self.steps = 0
        """Callbacks that were run."""
        self.unhandled: list[dict[str, Any]] = []
        """What asyncio would have logged as an error: contexts of `call_exception_handler`."""
        self._now = 0.0
        self._max_steps = max_steps
        self._max_seconds = max_seconds
        self._numbers = itertools.count()
        self._draw_number = self._numbers.__next__
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._marks: list[tuple[int, int, asyncio.Handle]] = []
        self._next_mark = max_steps
        self._reported_count = 0
        self._paused_callbacks: dict[str, list[asyncio.Handle]] = {}
        self.connect: Callable[..., Any] = _refuse_to_connect
        """How the network opens a connection, once there is one (`network.py`)."""
        self.start_thread: Callable[[Callable[[], Any]], Any] = _refuse_thread
        """How a thread runs, in a run that has them (`threads.py`)."""

    def time(self) -> float:
        """Return simulated seconds since the loop was made."""
        return self._now

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as in a process that was stopped.

        The timers that become due meanwhile run late, in the order of their instants.
        """
        self._now += seconds

    def pause_host(self, host: str) -> None:
        """Run nothing of a host until `resume_host`, as if its processes were stopped.

        Its callbacks are those in whose context CURRENT_HOST has this name. The others go on.
        """
        self._paused_callbacks.setdefault(host, [])

    def resume_host(self, host: str) -> None:
        """Run what has become due meanwhile, in its order. Does nothing if it was not paused."""
        self._ready.extend(self._paused_callbacks.pop(host, ()))

    def resume_all_hosts(self) -> None:
        for host in list(self._paused_callbacks):
            self.resume_host(host)

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # there is one thread

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def call_at_step(self, step: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Run a callback before the callback of this number, or at once if it is past.

        So a fault can happen between any two steps.
        """
        handle = asyncio.Handle(callback, args, self)
        heapq.heappush(self._marks, (step, next(self._numbers), handle))
        self._next_mark = min(self._marks[0][0], self._max_steps)

    def create_future(self) -> asyncio.Future[Any]:
        return SimulatedFuture(self._draw_number, self)

    def create_task(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        return SimulatedTask(next(self._numbers), coro, loop=self, **options)

    async def create_connection(  # type: ignore[override]  # what is simulated of it
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: None = None,
    ) -> Any:
        """Open a connection over the simulated network. Raises OSError as a real loop does."""
        assert ssl is None  # TLS is not simulated
        return await self.connect(protocol_factory, host, port)

    def close(self) -> None:
        super().close()
        self._timers.clear()
        self._marks.clear()

    def run_in_executor(  # type: ignore[override]  # of threads alone
        self, executor: None, function: Callable[..., Any], *args: Any
    ) -> Any:
        assert executor is None
        return self.start_thread(partial(function, *args))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nothing has handled. The run ends with the turn."""
        self.unhandled.append(context)

    def _run_once(self) -> None:
        """Run the callbacks that are ready, without those that they add."""
        self._add_due_timers()
        if self._paused_callbacks:
            self._put_paused_aside()
        ready = self._ready
        for _ in range(len(ready)):
            if self.steps >= self._next_mark:
                self._reach_mark()
            handle = ready.popleft()
            if not handle._cancelled:
                self.steps += 1
                handle._run()
        if len(self.unhandled) > self._reported_count:
            self._report_unhandled()

    def _add_due_timers(self) -> None:
        """Make the timers that are due ready. Jump to the first one if nothing else is ready."""
        timers, ready = self._timers, self._ready
        while timers:
            when, _, timer = timers[0]
            if not timer._cancelled:
                if when > self._now:
                    if ready:
                        return
                    self._jump(when)
                ready.append(timer)
            heapq.heappop(timers)
        if not ready and not self._stopping:
            raise DeadlockError(asyncio.all_tasks(self))

    def _put_paused_aside(self) -> None:
        """Remove the callbacks of paused hosts from those that are ready."""
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            context: Context = handle._context  # type: ignore[attr-defined]  # no stub has it
            host = context.get(CURRENT_HOST, "")
            self._paused_callbacks.get(host, ready).append(handle)

    def _jump(self, when: float) -> None:
        limit = self._max_seconds
        if when > limit:
            self._max_seconds += CLEANUP_SECONDS
            raise LivelockError(f"the run has not ended in {limit:.0f} simulated seconds")
        self._now = when

    def _reach_mark(self) -> None:
        """Run what is due before this step."""
        while self._marks and self._marks[0][0] <= self.steps:
            heapq.heappop(self._marks)[2]._run()
        self._next_mark = (
            min(self._marks[0][0], self._max_steps) if self._marks else self._max_steps
        )
        limit = self._max_steps
        if self.steps >= limit:
            self._max_steps += CLEANUP_STEPS
            raise LivelockError(f"the run has not ended in {limit} steps")

    def _report_unhandled(self) -> None:
        """Raise the first error that was not raised before."""
        context = self.unhandled[self._reported_count]
        self._reported_count = len(self.unhandled)
        raise UnhandledError(context) from context.get("exception")


def _refuse_thread(_: object) -> NoReturn:
    raise RuntimeError("this run has no threads")


async def _refuse_to_connect(*_: object) -> NoReturn:
    raise OSError("this loop has no network")
