"""Runs a blocking LineWriter in a thread of its own, so that a hanging sink blocks only itself."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from otp_service.audit.sinks.base import LineWriter


class ThreadedSink:
    """Implements `audit.sinks.base.Sink` with a daemon thread for each call: it neither keeps the
    process alive nor takes a thread of the pool that writes the archive.
    """

    def __init__(self, name: str, write_lines: LineWriter) -> None:
        self._name = name
        self._write_lines = write_lines

    def __str__(self) -> str:
        return self._name

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        """Deliver the lines. Raises whatever the writer raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def set_outcome(error: Exception | None) -> None:
            if done.cancelled():
                return
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)

        def write_in_thread() -> None:
            error = None
            try:
                self._write_lines(lines)
            except Exception as raised:  # noqa: BLE001  # passed on to the caller
                error = raised
            with suppress(RuntimeError):  # the loop is closed: nothing waits for the outcome
                loop.call_soon_threadsafe(set_outcome, error)

        Thread(target=write_in_thread, name=f"sink-{self._name}", daemon=True).start()
        await done
