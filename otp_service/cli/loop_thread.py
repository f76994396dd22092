"""A coroutine in a thread with a loop of its own, which is started again with other settings.

Each job of the supervisor's process has a thread, so that a disk that hangs blocks neither the admin
listener nor the supervision of workers.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from otp_service.settings import Settings


class LoopThread:
    """Runs a coroutine with settings from `start` until `stop` sets its event."""

    def __init__(self, run: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]) -> None:
        self._run = run
        self.loop: asyncio.AbstractEventLoop | None = None
        self._stop_event = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, settings: Settings) -> None:
        self.loop = loop = asyncio.new_event_loop()
        self._stop_event = asyncio.Event()
        self._thread = threading.Thread(target=self._run_loop, args=(loop, settings), daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Ask the job to stop, and wait for it; return whether it stopped in time."""
        if self._thread is None or self.loop is None or self.loop.is_closed():
            return True
        self.loop.call_soon_threadsafe(self._stop_event.set)
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run_loop(self, loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
        try:
            loop.run_until_complete(self._run(settings, self._stop_event))
        finally:
            loop.close()


async def call_in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Return what the function returns, in a thread that does not delay the end of the process.

    `asyncio.to_thread` waits for its threads at the end, also for one that a disk blocks.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def set_outcome(value: Any, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(value)
        else:
            result.set_exception(error)

    def call() -> None:
        value, error = None, None
        try:
            value = function(*args)
        except Exception as raised:  # noqa: BLE001  # the caller gets it
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(set_outcome, value, error)

    threading.Thread(target=call, daemon=True).start()
    return await result
