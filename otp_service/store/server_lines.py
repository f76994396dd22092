"""The two lines of a worker to one server.

One is for durable calls, each batch with its WAIT, and one for the rest.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.connector import Connector, SentinelMaster
from otp_service.store.current_server import CurrentServer, shows_wrong_server
from otp_service.store.group_commit import GroupCommit
from otp_service.store.line import MAX_CALLS_IN_FLIGHT, Command, Line, Request
from otp_service.store.outage import Outage
from otp_service.store.reply_errors import ServerUnavailable


REOPEN_INTERVAL_SECONDS = 0.05
"""Between the starts of two attempts to open a line during an outage. The calls wait meanwhile."""


class ServerLines:
    """Opens a line at its first use, and again at the next use after it was closed or outdated.

    Calls that arrive meanwhile wait on the new line. A line is outdated by a reply that shows a
    wrong server, or by a new line to another server; calls that are on it still get their replies.
    """

    def __init__(self, connector: Connector, *, max_calls: int = MAX_CALLS_IN_FLIGHT) -> None:
        self._connector = connector
        self._max_calls = max_calls
        self._server = CurrentServer()
        self._outage = Outage(connector.timeout)
        self._opening_began_at = 0.0
        self._lines: dict[str, Line] = {}
        self._groups: dict[Command, GroupCommit] = {}
        self._openings: set[asyncio.Task[None]] = set()
        self._closed_by: Disconnected | None = None
        self.on_other_server: Callable[[Mapping[str, str]], None] = lambda _: None
        """Called with the INFO of a server that a line reaches for the first time."""

    @property
    def timeout(self) -> float:
        """Seconds within which a connection is opened, and a reply must arrive."""
        return self._connector.timeout

    @property
    def sentinel(self) -> SentinelMaster | None:
        return self._connector.sentinel

    async def run(
        self, _: str, requests: Sequence[Request], wait: Command | None = None
    ) -> list[Any]:
        """Return the replies to requests that are sent together, and to WAIT.

        Errors of Redis are among them. Raises ConnectionError and TimeoutError of redis-py, after
        which it is unknown what was run, and StoreUnavailable if too many calls wait. Among them is
        ServerUnavailable, after which it is useless to repeat the call.
        """
        try:
            if wait:
                return await self._run_durably(requests, wait)
            line = self._get_line("plain")
            self._check_load(line.call_count)
            replies = await line.send(requests)
        except (Disconnected, TimedOut) as error:
            if self._outage.is_too_long(asyncio.get_running_loop().time()):
                raise ServerUnavailable("Redis has answered nothing for too long") from error
            raise
        self._inspect_replies(line, requests, replies)
        return replies

    async def _run_durably(self, requests: Sequence[Request], wait: Command) -> list[Any]:
        group = self._groups.get(wait)
        if group is None:
            group = GroupCommit(self._get_durable_line, wait, self._inspect_replies)
            self._groups[wait] = group
        self._check_load(group.call_count)
        return await group.send(requests)

    async def aclose(self) -> None:
        """Close both lines; no new ones are opened."""
        self._closed_by = ServerUnavailable("the client was closed")
        for opening in self._openings:
            opening.cancel()
        for line in self._lines.values():
            line.close(self._closed_by)
        self._lines.clear()
        await asyncio.gather(*self._openings, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets
        if self.sentinel:
            await self.sentinel.aclose()

    def retire(self) -> None:
        """Close each line once its calls have their replies. Other calls belong on other lines."""
        self._closed_by = Disconnected("the lines to this server were replaced")
        for line in self._lines.values():
            line.retire()

    def _inspect_replies(
        self, line: Line, requests: Sequence[Request], replies: Sequence[Any]
    ) -> None:
        """Leave the server of a line if replies show that it may be the wrong one."""
        if shows_wrong_server(requests, replies):
            self._server.leave(line)

    def _check_load(self, call_count: int) -> None:
        if call_count >= self._max_calls:
            raise StoreUnavailable(cause=f"{call_count} calls wait for Redis, which is too slow")

    def _get_durable_line(self) -> Line:
        return self._get_line("durable")

    def _get_line(self, purpose: str) -> Line:
        line = self._lines.get(purpose)
        if line and not line.is_closed and not self._server.is_outdated(line):
            return line
        if line:
            line.retire()
        line = self._lines[purpose] = Line(self._connector.timeout, self._outage)
        if self._closed_by:
            line.close(self._closed_by)
        else:
            opening = asyncio.get_running_loop().create_task(self._open(line))
            self._openings.add(opening)
            opening.add_done_callback(self._openings.discard)
        return line

    async def _open(self, line: Line) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._outage.has_begun:
                next_at = self._opening_began_at + REOPEN_INTERVAL_SECONDS
                await asyncio.sleep(next_at - loop.time())
            self._opening_began_at = began_at = loop.time()
            info = await self._connector.open(line)
        except asyncio.CancelledError:
            line.close(ServerUnavailable("the client was closed"))
            raise
        except Exception as error:  # noqa: BLE001  # it is raised in each call that waits for the line
            self._outage.begin(began_at)
            line.close(error)
            return
        is_other = self._server.add_line(line, info.get("run_id", ""))
        if is_other:
            self.on_other_server(info)
        line.start()
