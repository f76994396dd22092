"""The HTTP protocol of all listeners, given bytes on raw sockets: what is read, refused, closed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import msgspec
import pytest
import uvicorn

from otp_service.cli.uvicorn_servers import create_uvicorn_config, open_listener
from tests.processes import exchange_bytes


INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
"""The body of every refused request: it would be a request of its own."""

OK = b"HTTP/1.1 200 OK\r\n"


class Listener(NamedTuple):
    """A port, and the requests that its application was called for."""

    port: int
    handled: list[tuple[str, bytes]]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """An application that answers 200 once it has a body, served as every listener is."""
    handled: list[tuple[str, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if message["type"] == "http.request":
            handled.append((scope["path"], body))
            headers = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})

    sock = open_listener("127.0.0.1", 0)
    server = uvicorn.Server(create_uvicorn_config(app, 1))  # type: ignore[arg-type]  # any ASGI application
    serving = asyncio.create_task(server._serve(sockets=[sock]))
    yield Listener(sock.getsockname()[1], handled)
    server.should_exit = True
    await serving


def request(*headers: str, line: str = "POST /callbacks HTTP/1.1", body: bytes = INNER) -> bytes:
    """Return a request with these header lines besides Host and Content-Length."""
    lines = [line, "Host: x", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def problem(answer: bytes) -> dict[str, Any]:
    """Return the problem document of an answer that has to be a 400 and nothing after it."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert b"HTTP/1.1 400 Bad Request" == lines[0]
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    assert f"content-length: {len(body)}".encode() in lines
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


UPGRADES = [
    pytest.param(["Connection: Upgrade", "Upgrade: h2c"], id="h2c"),
    pytest.param(
        ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"],
        id="h2c with settings, as the JDK asks",
    ),
    pytest.param(
        [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        id="websocket",
    ),
    pytest.param(["Connection: Upgrade", "Upgrade: anything/1"], id="unknown protocol"),
    pytest.param(["Upgrade: h2c"], id="without Connection"),
    pytest.param(["Connection: keep-alive", "Upgrade: h2c"], id="Connection: keep-alive"),
    pytest.param(["Connection: close", "Upgrade: h2c"], id="Connection: close"),
    pytest.param(["Connection: upgrade", "Upgrade:"], id="empty"),
    pytest.param(["cOnNeCtIoN: uPGRADE", "uPgRaDe: H2C"], id="mixed case"),
    pytest.param(["Upgrade: h2c", "Connection: x", "Connection: Upgrade"], id="two Connections"),
    pytest.param(["Expect: 100-continue", "Connection: Upgrade", "Upgrade: h2c"], id="Expect"),
]


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize("headers", UPGRADES)
async def test_upgrade_is_refused_and_its_body_is_not_parsed(
    listener: Listener, headers: list[str], *, later: bool
) -> None:
    """A1: one answer, the end of the connection, and no call of the application."""
    whole = request(*headers)
    segments = [whole.removesuffix(INNER), INNER] if later else [whole]

    answer = await asyncio.to_thread(exchange_bytes, listener.port, *segments)

    found = problem(answer)
    assert "/problems/invalid-request" == found["type"]
    assert "without the Upgrade header" in found["detail"]
    assert [] == listener.handled


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize(
    "line",
    [
        "POST /callbacks HTTP/1.0",
        "GET /callbacks HTTP/1.1",
        "HEAD /callbacks HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT x:443 HTTP/1.1",
    ],
)
async def test_upgrade_is_refused_with_every_method_and_version(
    listener: Listener, line: str, *, later: bool
) -> None:
    """HTTP/1.0 has no Upgrade, and httptools takes CONNECT for one."""
    whole = request("Connection: Upgrade", "Upgrade: h2c", line=line)
    segments = [whole.removesuffix(INNER), INNER] if later else [whole]

    answer = await asyncio.to_thread(exchange_bytes, listener.port, *segments)

    problem(answer)
    assert [] == listener.handled


@pytest.mark.parametrize("target", ["x:443", "x", "/callbacks", "http://x/callbacks", "x:443/a"])
async def test_connect_is_refused_and_what_follows_is_not_parsed(
    listener: Listener, target: str
) -> None:
    """A1 without any header: two of these targets reached the application, and its body too."""
    whole = request(line=f"CONNECT {target} HTTP/1.1")

    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, whole.removesuffix(INNER), INNER
    )

    assert "Use a standard method" in problem(answer)["detail"]
    assert [] == listener.handled


async def test_a_request_split_inside_its_upgrade_header_is_refused(listener: Listener) -> None:
    """The parser keeps a part of a header line for the next segment."""
    whole = request("Connection: Upgrade", "Upgrade: h2c")
    cut = whole.index(b"grade: h2c")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, whole[:cut], whole[cut:])

    problem(answer)
    assert [] == listener.handled


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
async def test_a_pipelined_upgrade_is_refused_after_the_answer_before_it(
    listener: Listener, *, later: bool
) -> None:
    """The 400 is never the answer to the request before it, which has an answer of its own."""
    first = request(line="POST /first HTTP/1.1", body=b"one")
    whole = first + request("Connection: Upgrade", "Upgrade: h2c")
    segments = [whole.removesuffix(INNER), INNER] if later else [whole]

    answer = await asyncio.to_thread(exchange_bytes, listener.port, *segments)

    before, _, refused = answer.partition(b"\r\n\r\nok")
    assert before.startswith(OK)
    problem(refused)
    assert [("/first", b"one")] == listener.handled


async def test_a_pipelined_upgrade_waits_for_every_answer_before_it(listener: Listener) -> None:
    """Two requests are queued before it, and one that is behind it is never begun."""
    before = request(line="POST /first HTTP/1.1") + request(line="POST /second HTTP/1.1")
    behind = request(line="POST /third HTTP/1.1")
    upgrade = request("Connection: Upgrade", "Upgrade: h2c", body=b"")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, before + upgrade + behind)

    first, second, refused = answer.split(b"\r\n\r\nok")
    assert first.startswith(OK)
    assert second.startswith(OK)
    problem(refused)
    assert [("/first", INNER), ("/second", INNER)] == listener.handled


async def test_an_upgrade_behind_a_last_request_is_not_answered(listener: Listener) -> None:
    """`Connection: close` ends the connection with the answer to the request that has it."""
    last = request("Connection: close", line="POST /last HTTP/1.1", body=b"")

    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, last + request("Connection: Upgrade", "Upgrade: h2c")
    )

    assert answer.startswith(OK)
    assert answer.endswith(b"\r\n\r\nok")
    assert [("/last", b"")] == listener.handled


@pytest.mark.parametrize("later", [False, True], ids=["same segment", "later segment"])
@pytest.mark.parametrize("value", ["Upgrade", "upgrade", "keep-alive, Upgrade"])
async def test_connection_upgrade_without_upgrade_is_an_ordinary_request(
    listener: Listener, value: str, *, later: bool
) -> None:
    """nginx's usual lines for WebSocket send it with every request; RFC 9110 §7.8 needs both.

    The body is read by its length, so the request after it is the next one.
    """
    whole = request(f"Connection: {value}")
    segments = [whole.removesuffix(INNER), INNER] if later else [whole]
    last = request("Connection: close", line="POST /last HTTP/1.1", body=b"")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, *segments, last)

    assert 2 == answer.count(OK)
    assert [("/callbacks", INNER), ("/last", b"")] == listener.handled


async def test_upgrade_in_a_trailer_begins_no_other_protocol(listener: Listener) -> None:
    """A trailer field is no header: the message has ended, and the next one is read."""
    chunks = (
        b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n"
    )
    trailer = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    last = request("Connection: close", line="POST /last HTTP/1.1", body=b"")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, chunks + trailer, last)

    assert 2 == answer.count(OK)
    assert [("/chunks", b"one"), ("/last", b"")] == listener.handled


async def test_an_invalid_body_is_refused_at_once(listener: Listener) -> None:
    """The application waits for the rest of it, so there is no answer to wait for."""
    chunks = (
        b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\nx\r\n"
    )

    answer = await asyncio.to_thread(exchange_bytes, listener.port, chunks, INNER)

    assert "Use a standard method" in problem(answer)["detail"]
    assert [] == listener.handled


async def test_invalid_bytes_behind_a_request_are_refused_after_its_answer(
    listener: Listener,
) -> None:
    """The first caller gets the answer to its own request."""
    first = request(line="POST /first HTTP/1.1", body=b"one")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, first + b"\x16\x03\x01" + INNER)

    before, _, refused = answer.partition(b"\r\n\r\nok")
    assert before.startswith(OK)
    problem(refused)
    assert [("/first", b"one")] == listener.handled
