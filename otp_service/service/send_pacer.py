"""Starting the sends of a burst a few at a time, so that verifies overtake those that wait."""

import asyncio
from collections import deque


STARTS_PER_TURN = 4
"""Sends that begin in one turn of the event loop.

Each needs about a millisecond of it, in some ten turns; a verify needs about eight turns. If 100 begin
in one turn, each of these turns lasts as long as 100 steps. Fewer starts leave less to one write to Redis.
"""


class SendPacer:
    """Starts issues and resends in the order of their calls.

    A send that waits holds nothing, and what a started one waits for does not matter: while Redis or a
    provider is silent, turns of the event loop are short, and the others start at once.
    """

    def __init__(self, starts_per_turn: int = STARTS_PER_TURN) -> None:
        self._starts_per_turn = starts_per_turn
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    async def wait_for_start(self) -> None:
        """Wait for the turn of the event loop in which this send may begin."""
        loop = asyncio.get_running_loop()
        start = loop.create_future()
        self._waiting.append(start)
        self._schedule(loop)
        await start

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            loop.call_soon(self._start_some, loop)

    def _start_some(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_scheduled = False
        started = 0
        while self._waiting and started < self._starts_per_turn:
            start = self._waiting.popleft()
            if not start.done():  # its caller may have been canceled
                start.set_result(None)
                started += 1
        self._schedule(loop)
