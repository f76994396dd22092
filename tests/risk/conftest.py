"""A risk service on loopback that answers with set octets, and the client that asks it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, NamedTuple

import pytest

from otp_service.clock import now_ms
from otp_service.core.keys import Key
from otp_service.core.phone_number import parse_number
from otp_service.core.risk import RiskQuery
from otp_service.core.secret import Secret
from otp_service.risk import RiskClient, RiskSettings
from otp_service.sms.http_provider import create_transport


WEBHOOK_SECRET = "whsec_d29ydGhsZXNzLXNlY3JldC1vZi1hLXJpc2stc2VydmljZQ=="
QUERY = RiskQuery(
    call="issue",
    phone=parse_number("+447400123456"),
    purpose="login",
    tenant="shop",
    request_id="request-1",
    account="user-1",
    client_ip="192.0.2.7",
)

Responder = Callable[[asyncio.StreamWriter], Awaitable[None]]


class AskedQuestion(NamedTuple):
    """A request as the service got it; header names are in lower case."""

    target: str
    headers: dict[str, str]
    body: bytes


class RiskServer:
    """Reads each request whole, and lets `respond` write what it likes."""

    def __init__(self) -> None:
        self.questions: list[AskedQuestion] = []
        self.connection_count = 0
        self.respond: Responder = write_answer({"answer": "allow"})
        self.is_closed_after_reply = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/check"

    async def serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connection_count += 1
        try:
            while True:
                self.questions.append(await read_question(reader))
                await self.respond(writer)
                if self.is_closed_after_reply:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def read_question(reader: asyncio.StreamReader) -> AskedQuestion:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return AskedQuestion(first, headers, body)


def write_reply(status: str, body: bytes = b"", headers: str = "") -> Responder:
    """Return what writes a whole reply."""

    async def write(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return write


def write_answer(answer: Any) -> Responder:
    """Return what writes this JSON with the status 200."""
    return write_reply("200 OK", json.dumps(answer).encode())


@pytest.fixture
async def risk_server() -> AsyncIterator[RiskServer]:
    server = RiskServer()
    listener = await asyncio.start_server(server.serve_connection, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


@pytest.fixture
async def create_risk_client() -> AsyncIterator[Callable[..., RiskClient]]:
    """Return what creates a client of the service at a URL."""
    transport = create_transport(max_connections=2, max_connections_per_provider=2)

    def create(
        url: str, on_failure: Literal["allow", "refuse"] = "allow", **settings: Any
    ) -> RiskClient:
        # Longer than settings may have: an answer must not be late because the machine is busy.
        settings.setdefault("deadline_milliseconds", 20_000)
        return RiskClient(
            RiskSettings(
                url=url,
                secret=Secret(WEBHOOK_SECRET),
                on_failure=on_failure,
                **settings,
            ),
            transport,
            pseudonym_key=Key("n1", bytes(32)),
            generate_id=lambda: "question-1",
            now=now_ms,
        )

    yield create
    await transport.aclose()
