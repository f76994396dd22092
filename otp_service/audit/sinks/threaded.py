"""Runs what blocks in a thread of its own, so that what hangs holds up only itself."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from otp_service.audit.sinks.base import Put


class Threaded:
    """Implements `audit.feeding.Sink`. A daemon thread each time: none keeps a process from ending,
    and none takes a place among those that write the archive.
    """

    def __init__(self, name: str, put: Put) -> None:
        self._name = name
        self._put = put

    def __str__(self) -> str:
        return self._name

    async def append(self, lines: Sequence[bytes]) -> None:
        """Have the lines there. Raises what the sink raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            if done.cancelled():
                return
            if error:
                done.set_exception(error)
            else:
                done.set_result(None)

        def run() -> None:
            error = None
            try:
                self._put(lines)
            except Exception as raised:  # noqa: BLE001  # whoever waits is told
                error = raised
            with suppress(RuntimeError):  # nobody waits any more: the loop is closed
                loop.call_soon_threadsafe(finish, error)

        Thread(target=run, name=f"sink-{self._name}", daemon=True).start()
        await done
