"""The clock of a server's host, which may jump."""

import asyncio


class ServerClock:
    """Milliseconds since 1970 by the simulated time. A jump changes `shift_ms`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, start_ms: int, *, shift_ms: int = 0
    ) -> None:
        """Show `start_ms` at second 0 of the loop, if nothing shifts it."""
        self.shift_ms = shift_ms
        self._loop = loop
        self._start_ms = start_ms

    def __call__(self) -> int:
        return self._start_ms + self.shift_ms + int(self._loop.time() * 1000)
