"""A TCP proxy on loopback that breaks connections to a real server at chosen replies.

    async with BreakingProxy(server, seed=1) as proxy:
        client = ScriptClient(create_redis_lines(url=proxy.url))
        proxy.break_at(100, Breakage.HALF_REPLY)

It forwards bytes in their order, and parses replies only to count them. So it serves one command at a
time as well as many that share a connection. `FaultyProxy` chooses by the content of commands instead.
"""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers
from tests.store.connection_tasks import ConnectionTasks


CHUNK_BYTES = 1 << 16

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a close sends RST instead of FIN."""


class Breakage(Enum):
    """How a connection breaks at a reply. The server has run the command of that reply."""

    LOST_REPLY = auto()
    """It is closed instead of the reply."""
    HALF_REPLY = auto()
    """It is closed after a part of the reply."""
    HALF_REQUEST = auto()
    """The reply is forwarded; of the next bytes for the server a part is, and it is closed."""
    RESET = auto()
    """It is reset instead of the reply."""
    FROZEN = auto()
    """Nothing is forwarded in either direction until `thaw`; it stays open."""
    FOREIGN_REPLY = auto()
    """An earlier reply of the connection is sent instead; it stays open."""


CLOSING_BREAKAGES = (Breakage.LOST_REPLY, Breakage.HALF_REPLY, Breakage.RESET)


class Stream(NamedTuple):
    """One of the two connections of a pair."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class BreakingProxy:
    """Forwards each connection to `server`, and counts the replies of all of them."""

    def __init__(self, server: EmbeddedServer, *, seed: int) -> None:
        self._target = urlsplit(server.url)
        self._port = redis_servers.find_free_port()
        self._plan: dict[int, Breakage] = {}
        self._waiters: dict[int, asyncio.Event] = {}
        self._tasks = ConnectionTasks()
        self._frozen: list[ForwardedConnection] = []
        self.generator = random.Random(seed)  # noqa: S311  # the same sequence in every run
        self.choose_delay: Callable[[], float] | None = None
        """Returns the seconds by which the replies that arrived together are delayed."""
        self.is_fragmenting = False
        """Whether replies arrive in small pieces."""
        self.counts_only_scripts = False
        """Whether only arrays are counted, which are replies to scripts and not to an introduction."""
        self.reply_count = 0
        self.break_count = 0
        self.opened_count = 0
        self.left_while_frozen_count = 0
        """Frozen connections that the client has closed."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}"

    def break_at(self, reply_number: int, breakage: Breakage) -> None:
        """Break the connection that has this reply. They are counted from now, the first is 1."""
        self._plan[self.reply_count + reply_number] = breakage

    async def wait_for_reply(self, reply_number: int) -> None:
        """Wait until so many replies were forwarded, counted from now."""
        await self._waiters.setdefault(self.reply_count + reply_number, asyncio.Event()).wait()

    def count_reply(self, reply: bytes) -> Breakage | None:
        """Count a reply; return how its connection breaks, None if it does not."""
        if self.counts_only_scripts and not reply.startswith(b"*"):
            return None
        self.reply_count += 1
        if waiter := self._waiters.pop(self.reply_count, None):
            waiter.set()
        breakage = self._plan.pop(self.reply_count, None)
        self.break_count += breakage is not None
        return breakage

    def add_frozen(self, connection: "ForwardedConnection") -> None:
        self._frozen.append(connection)

    async def thaw(self) -> None:
        """Forward what frozen connections hold, and return when the server has run all of it."""
        frozen, self._frozen = self._frozen, []
        for connection in frozen:
            await connection.thaw()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        await self._tasks.cancel()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add_current()
        self.opened_count += 1
        # Cancellation ends the handler; asyncio would log it as an error.
        with suppress(OSError, asyncio.CancelledError):
            async with (
                _close_at_end(Stream(reader, writer)) as client,
                _close_at_end(await self._connect()) as server,
            ):
                await ForwardedConnection(self, client, server).run()

    async def _connect(self) -> Stream:
        if self._target.scheme == "unix":
            return Stream(*await asyncio.open_unix_connection(unquote(self._target.path)))
        return Stream(*await asyncio.open_connection(self._target.hostname, self._target.port))


@asynccontextmanager
async def _close_at_end(stream: Stream) -> AsyncIterator[Stream]:
    try:
        yield stream
    finally:
        stream.writer.close()


class ForwardedConnection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: BreakingProxy, client: Stream, server: Stream) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._is_frozen = self._cuts_request = False
        self._last_script_reply = b"*0\r\n"
        self._held_requests: list[bytes] = []
        self._held_replies: list[bytes] = []
        self._has_left = False
        self._has_thawed = asyncio.Event()

    async def run(self) -> None:
        """Forward until the connection breaks or either side closes it."""
        requests = asyncio.create_task(self._forward_requests())
        self._replies = asyncio.create_task(self._forward_replies())
        tasks = (requests, self._replies)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._is_frozen:
                await self._has_thawed.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def thaw(self) -> None:
        """Forward what is held. If the client has left, return when the server has run all of it."""
        self._server.writer.write(b"".join(self._held_requests))
        if self._has_left:
            self._server.writer.write_eof()
            await asyncio.wait([self._replies])
        else:
            self._is_frozen = False
            self._client.writer.write(b"".join(self._held_replies))
        self._has_thawed.set()

    async def _forward_requests(self) -> None:
        try:
            while chunk := await self._client.reader.read(CHUNK_BYTES):
                if self._is_frozen:
                    self._held_requests.append(chunk)
                elif self._cuts_request:
                    self._server.writer.write(self._cut(chunk))
                    return
                else:
                    self._server.writer.write(chunk)
                    await self._server.writer.drain()
        finally:
            self._has_left = True
            self._proxy.left_while_frozen_count += self._is_frozen

    async def _forward_replies(self) -> None:
        buffer = b""
        while chunk := await self._server.reader.read(CHUNK_BYTES):
            if self._proxy.choose_delay:
                await asyncio.sleep(self._proxy.choose_delay())
            replies, buffer = split_replies(buffer + chunk)
            for i, reply in enumerate(replies):
                breakage = None if self._is_frozen else self._proxy.count_reply(reply)
                if breakage in CLOSING_BREAKAGES:
                    part = self._cut(reply) if breakage is Breakage.HALF_REPLY else b""
                    await self._send(b"".join(replies[:i]) + part)
                    self._close(is_reset=breakage is Breakage.RESET)
                    return
                self._cuts_request |= breakage is Breakage.HALF_REQUEST
                if breakage is Breakage.FROZEN:
                    await self._send(b"".join(replies[:i]))
                    replies = replies[i:]
                    self._is_frozen = True
                    self._proxy.add_frozen(self)
                    break
                if breakage is Breakage.FOREIGN_REPLY:
                    replies[i] = self._last_script_reply
                elif reply.startswith(b"*"):
                    self._last_script_reply = reply
            if self._is_frozen:
                self._held_replies += replies
            else:
                await self._send(b"".join(replies))

    async def _send(self, data: bytes) -> None:
        size = 7 if self._proxy.is_fragmenting else len(data) or 1
        for start in range(0, len(data), size):
            self._client.writer.write(data[start : start + size])
            if self._proxy.is_fragmenting:
                await asyncio.sleep(0)  # so that the client reads each piece by itself
        await self._client.writer.drain()

    def _close(self, *, is_reset: bool) -> None:
        if is_reset:
            sock = self._client.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._client.writer.transport.abort()
        self._client.writer.close()

    def _cut(self, data: bytes) -> bytes:
        """Return a part of the bytes that is not all of them."""
        return data[: self._proxy.generator.randrange(1, len(data))]


def split_replies(buffer: bytes) -> tuple[list[bytes], bytes]:
    """Return the replies of RESP2 that are whole, and the bytes of the one that is not."""
    replies, start = [], 0
    while (end := _find_reply_end(buffer, start)) is not None:
        replies.append(buffer[start:end])
        start = end
    return replies, buffer[start:]


def _find_reply_end(buffer: bytes, start: int) -> int | None:
    line_end = buffer.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, end = buffer[start : start + 1], line_end + 2
    if kind in b"+-:" or (size := int(buffer[start + 1 : line_end])) < 0:
        return end
    if kind == b"$":
        return end + size + 2 if len(buffer) >= end + size + 2 else None
    for _ in range(size):
        element_end = _find_reply_end(buffer, end)
        if element_end is None:
            return None
        end = element_end
    return end
