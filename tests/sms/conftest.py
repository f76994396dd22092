"""A scripted gateway on loopback, and a message to send through it."""

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import pytest

from otp_service.core.delivery import Message
from otp_service.core.phone_number import PhoneNumber
from otp_service.sms.http_provider import create_transport


class ReceivedRequest(NamedTuple):
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), strict_parsing=True)


class ScriptedGateway:
    """Keeps what it was asked; `says` an answer, or `does` anything else with the connection."""

    def __init__(self) -> None:
        self.requests: list[ReceivedRequest] = []
        self.connection_count = 0
        self.request_received = asyncio.Event()
        self.closing = asyncio.Event()
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.set_reply(200, {})

    async def __aenter__(self):
        await self.listen()
        return self

    async def __aexit__(self, *exc):
        self.closing.set()
        self._server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def listen(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/v1/messages"

    def set_reply(self, status: int, body: Any, **headers: str) -> None:
        """Answer every request with this; bytes go out as they are, all else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = [f"HTTP/1.1 {status} Said", *lines, f"content-length: {len(content)}", "", ""]
        self.set_raw_reply("\r\n".join(head).encode() + content)

    def set_raw_reply(self, raw: bytes, *, then_close: bool = False) -> None:
        """Answer every request with these bytes."""

        async def write_reply(writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()
            if then_close:
                writer.close()

        self.set_handler(write_reply)

    def set_handler(self, handler: Callable[[asyncio.StreamWriter], Awaitable[object]]) -> None:
        """Once a request is read, do this."""
        self._handler = handler

    def hold_replies(self) -> None:
        """Read requests and never answer."""
        self.set_handler(lambda _: self.closing.wait())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections[task] = writer
        self.connection_count += 1
        try:
            while not writer.is_closing():
                self.requests.append(await _read_request(reader))
                self.request_received.set()
                await self._handler(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    method, target, _ = first.split(" ")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return ReceivedRequest(method, target, headers, body)


@pytest.fixture
async def gateway():
    """A gateway that listens."""
    async with ScriptedGateway() as gateway:
        yield gateway


@pytest.fixture
async def start_gateway():
    """Makes further ones."""
    async with AsyncExitStack() as stack:

        async def start_another() -> ScriptedGateway:
            return await stack.enter_async_context(ScriptedGateway())

        yield start_another


@pytest.fixture
def unresponsive_url():
    """The address of a listener whose queue is full, so that connecting to it never ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [_start_connection(listener.getsockname()) for _ in range(8)]
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for each in waiting:
            each.close()


def _start_connection(address):
    connection = socket.socket()
    connection.settimeout(0)
    connection.connect_ex(address)
    return connection


@pytest.fixture
async def transport():
    """The transport that all providers share."""
    async with create_transport() as transport:
        yield transport


@pytest.fixture
def message():
    """What is sent."""
    return Message(
        PhoneNumber("+447400123456", "GB", 44),
        "864209 is your Example code.",
        "ref-3f9",
        validity_seconds=290,
        tenant="shop",
    )
