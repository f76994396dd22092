"""A thread with an event loop, for the jobs of `serve` in its parent process.

Each job has a thread, so that a disk that hangs blocks neither the admin listener nor the
supervisor. SIGHUP stops a job and starts it again with the new settings.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from otp_service.settings import Settings


class LoopThread:
    """Runs a coroutine with settings from `start` until `stop` sets its event."""

    def __init__(
        self, coroutine_function: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]
    ) -> None:
        self._coroutine_function = coroutine_function
        self._loop = asyncio.new_event_loop()
        self._stop_event = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self, settings: Settings) -> None:
        self._loop, self._stop_event = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run_loop, args=(settings,), daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Ask the job to stop, and wait for it; return whether it stopped in time."""
        if self._thread is None or self._loop.is_closed():
            return True
        self._loop.call_soon_threadsafe(self._stop_event.set)
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run_loop(self, settings: Settings) -> None:
        try:
            self._loop.run_until_complete(self._coroutine_function(settings, self._stop_event))
        finally:
            self._loop.close()
