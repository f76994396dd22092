"""The load: login back end, SMS gateway and phones, in one event loop.

It shares the machine with the measured programs, so it uses raw protocols without tasks or futures:
a pair costs it a tenth of a millisecond.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Self, cast

from bench.environment import Target


NUMBER_BLOCKS = (("+447400", 6), ("+491512", 7), ("+33612", 6), ("+39312", 7))
"""Blocks of valid mobile numbers: their prefix, and how many digits follow."""

PUMPED_BLOCK = "+447500"
"""A block of which the numbers with the same two next digits have one prefix."""

NUMBER_STRIDE = 7919
"""Has no factor in common with 10, so no number repeats and the next one has another prefix."""

REPLY_TIMEOUT_SECONDS = 20.0
"""Seconds that the last replies may take."""

ReplyHandler = Callable[[int, bytes], None]

_RECIPIENT_PATTERN = re.compile(rb'"to":"([^"]+)"')
_CODE_PATTERN = re.compile(rb'"text":"[^"]*?(\d{6})')
_LENGTH_PATTERN = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class UnexpectedReplyError(Exception):
    """A reply that invalidates the measurement."""


def generate_numbers() -> Iterator[str]:
    """Yield different valid mobile numbers of several countries and prefixes."""
    for index in itertools.count():
        step, block = divmod(index, len(NUMBER_BLOCKS))
        start, digits = NUMBER_BLOCKS[block]
        yield f"{start}{step * NUMBER_STRIDE % 10**digits:0{digits}d}"


def generate_prefix_numbers(index: int) -> Iterator[str]:
    """Yield the 10,000 numbers of one prefix, of which there are 100. They are not in other blocks."""
    for number in range(10_000):
        yield f"{PUMPED_BLOCK}{index % 100:02d}{number:04d}"


class HttpMessageProtocol(asyncio.Protocol):
    """HTTP/1.1 messages: a head, and a body of the length in Content-Length."""

    def __init__(self) -> None:
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Pass on each complete message."""
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH_PATTERN.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            self.handle_message(message, head + 4)

    def handle_message(self, message: bytes, body: int) -> None:
        """Handle one message; `body` is the offset of its body."""
        raise NotImplementedError


class BenchGateway(HttpMessageProtocol):
    """An SMS gateway that accepts everything; the code is on the phone at once."""

    REPLY = (
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"id":"1"}'
    )

    def __init__(self, phones: dict[str, str]) -> None:
        super().__init__()
        self._phones = phones

    def handle_message(self, message: bytes, body: int) -> None:
        to, code = _RECIPIENT_PATTERN.search(message, body), _CODE_PATTERN.search(message, body)
        assert to, message
        assert code, message
        self._phones[to[1].decode()] = code[1].decode()
        self.transport.write(self.REPLY)


class BenchConnection(HttpMessageProtocol):
    """One connection of the login back end, with one request at a time."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._head = (
            "host: bench\r\n"
            f"authorization: Bearer {key}\r\n"
            "content-type: application/json\r\n"
            "content-length: "
        )
        self._on_reply: ReplyHandler | None = None

    def post(self, path: str, body: str, on_reply: ReplyHandler) -> None:
        """Send a POST, and call `on_reply` with status and body."""
        self._on_reply = on_reply
        request = f"POST {path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n{body}"
        self.transport.write(request.encode())

    async def send_post(
        self, path: str, body: str, timeout_seconds: float = REPLY_TIMEOUT_SECONDS
    ) -> tuple[int, bytes]:
        """Send a POST, and return status and body. Raises TimeoutError."""
        replied: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

        def handle_reply(*reply: *tuple[int, bytes]) -> None:
            if not replied.done():  # its timeout has not passed
                replied.set_result(reply)

        self.post(path, body, handle_reply)
        return await asyncio.wait_for(replied, timeout_seconds)

    def handle_message(self, message: bytes, body: int) -> None:
        self._pass_reply(int(message[9:12]), message[body:])

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on a reply with the status 0, if one is awaited."""
        self._pass_reply(0, f"the connection was lost: {error}".encode())

    def _pass_reply(self, status: int, body: bytes) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply:
            on_reply(status, body)


class BenchTraffic:
    """A context manager: the gateway, and connections to the measured targets."""

    def __init__(self) -> None:
        self.phones: dict[str, str] = {}
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: BenchGateway(self.phones), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    @property
    def gateway_url(self) -> str:
        """The URL of the gateway."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/messages"

    @asynccontextmanager
    async def open_connections(
        self, target: Target, count: int
    ) -> AsyncIterator[list[BenchConnection]]:
        """Open this many connections, and close them at the end."""
        loop = asyncio.get_running_loop()
        connections: list[BenchConnection] = []
        try:
            for _ in range(count):
                _, connection = await loop.create_connection(
                    lambda: BenchConnection(target.key), "127.0.0.1", target.port
                )
                connections.append(connection)
            yield connections
        finally:
            for connection in connections:
                connection.transport.close()
