"""The HTTP server of all listeners, given bytes on raw sockets: what is read, refused, closed."""

import asyncio
import json
import os
import re
import resource
import socket
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from otp_service import telemetry
from otp_service.cli.command import CommandError
from otp_service.cli.connection_monitor import ConnectionMonitor, count_waiting
from otp_service.cli.connection_refusal import refuse_waiting_connections
from otp_service.cli.http_exchange import MAX_DISCARDED_PARTS, HttpExchange
from otp_service.cli.http_server import MAX_HEADER_BYTES, ConnectionLimits, HttpServer
from otp_service.cli.listeners import (
    bind_listener,
    limit_connections,
    open_listener,
    raise_descriptor_limit,
)
from otp_service.settings.service_tables import ServiceSettings
from tests.processes import exchange_bytes


INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
"""The body of every request: it would be a request of its own."""


class Listener(NamedTuple):
    """A server, its port, and the requests that its application was called for."""

    server: HttpServer
    sock: socket.socket
    port: int
    handled: list[tuple[str, bytes]]
    released: asyncio.Event
    """A request for /slow gets its response after this is set."""


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """An application that answers 200 once it has a body, served as every listener is."""
    handled: list[tuple[str, bytes]] = []
    released = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        message: dict[str, Any] = {"more_body": True, "type": "http.request"}
        while message.get("more_body") and scope["path"] != "/unread":
            message = await receive()
            body += message.get("body", b"")
        if scope["path"] == "/slow":
            await released.wait()
        if scope["path"] == "/broken":
            raise LookupError
        if message["type"] == "http.request":
            handled.append((scope["path"], body))
            headers = [(b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})

    sock = open_listener("127.0.0.1", 0, advice="")
    server = HttpServer(app, sock, ConnectionLimits(max_connections=8, idle_seconds=1))
    server.start()
    yield Listener(server, sock, sock.getsockname()[1], handled, released)
    released.set()
    assert await server.stop(5)
    sock.close()


def request(*headers: str, line: str = "POST /callbacks HTTP/1.1", body: bytes = INNER) -> bytes:
    """Return a request with these header lines besides Host and Content-Length."""
    lines = [line, "Host: x", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


LAST = request("Connection: close", line="POST /last HTTP/1.1", body=b"")


def list_statuses(answer: bytes) -> list[int]:
    """Return the status of each response of one connection."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


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
async def test_upgrade_is_ignored_and_its_body_read_by_its_length(
    listener: Listener, headers: list[str], *, later: bool
) -> None:
    """RFC 9110 §7.8. The body is no request, and the request behind it is answered."""
    whole = request(*headers)
    segments = [whole.removesuffix(INNER), INNER] if later else [whole]

    answer = await asyncio.to_thread(exchange_bytes, listener.port, *segments, LAST)

    asks_to_close = "Connection: close" in headers
    assert ("/callbacks", INNER) == listener.handled[0]
    assert [path for path, _ in listener.handled] == ["/callbacks", "/last"][: 2 - asks_to_close]
    expected = [200] if asks_to_close else [200, 200]
    assert expected == [status for status in list_statuses(answer) if status != 100]


@pytest.mark.parametrize("target", ["x:443", "x", "/callbacks", "http://x/callbacks", "x:443/a"])
async def test_what_follows_connect_is_not_parsed(listener: Listener, target: str) -> None:
    """A tunnel has no requests of ours."""
    whole = request(line=f"CONNECT {target} HTTP/1.1")

    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, whole.removesuffix(INNER), INNER, LAST
    )

    assert len(list_statuses(answer)) <= 1
    assert "/smuggled" not in {path for path, _ in listener.handled}


async def test_upgrade_in_a_trailer_begins_no_other_protocol(listener: Listener) -> None:
    """A trailer field is no header: the message has ended, and the next one is read."""
    chunks = (
        b"POST /chunks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n"
    )
    trailer = b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"

    answer = await asyncio.to_thread(exchange_bytes, listener.port, chunks + trailer, LAST)

    assert [200, 200] == list_statuses(answer)
    assert [("/chunks", b"one"), ("/last", b"")] == listener.handled


async def test_invalid_bytes_behind_a_request_are_refused_after_its_answer(
    listener: Listener,
) -> None:
    """The first caller gets the answer to its own request."""
    first = request(line="POST /first HTTP/1.1", body=b"one")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, first + b"\x16\x03\x01" + INNER)

    assert list_statuses(answer) in ([200], [200, 400])
    assert [("/first", b"one")] == listener.handled


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES, 40 * MAX_HEADER_BYTES])
@pytest.mark.parametrize("name", ["A", "Cookie"])
async def test_a_header_that_is_too_long_is_431(listener: Listener, name: str, size: int) -> None:
    """R47: one of 40 MiB cost uvicorn's event loop 7 s."""
    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, request(f"{name}: {'x' * size}")
    )

    assert [431] == list_statuses(answer)
    assert [] == listener.handled


async def test_too_many_headers_are_431(listener: Listener) -> None:
    """500,000 of them cost 60 MiB of memory."""
    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, request(*(f"A{n}: b" for n in range(200)))
    )

    assert [431] == list_statuses(answer)


async def test_headers_of_just_below_the_limit_are_read(listener: Listener) -> None:
    """A long cookie or a long trace state of a proxy is common."""
    header = f"A: {'x' * (MAX_HEADER_BYTES - 300)}"

    answer = await asyncio.to_thread(exchange_bytes, listener.port, request(header), LAST)

    assert [200, 200] == list_statuses(answer)


async def test_a_stopping_server_finishes_requests_and_accepts_none(listener: Listener) -> None:
    """R86: what runs is answered, and the connection then closed.

    Granian receives one signal: the third `set` would wait with the GIL, so that nothing ends.
    """
    slow = request(line="POST /slow HTTP/1.1")
    running = asyncio.create_task(asyncio.to_thread(exchange_bytes, listener.port, slow))
    await asyncio.sleep(0.3)  # it is read; nothing reports that

    for _ in range(3):
        assert not await listener.server.stop(0.1)
    listener.released.set()
    assert await listener.server.stop(5)
    assert [200] == list_statuses(await running)


async def test_a_retiring_server_closes_each_connection_after_its_response(
    listener: Listener,
) -> None:
    """A client that is not told loses the request that crosses the close."""
    listener.server.retire()

    answer = await asyncio.to_thread(exchange_bytes, listener.port, request())

    assert [200] == list_statuses(answer)
    assert b"connection: close" in answer


async def test_an_application_that_raises_is_answered_500(listener: Listener) -> None:
    """The middleware catches what it can; this is for the rest."""
    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, request(line="POST /broken HTTP/1.1"), LAST
    )

    assert [500, 200] == list_statuses(answer)


async def test_a_body_that_the_application_does_not_read_is_read_before_the_response(
    listener: Listener,
) -> None:
    """A client that writes head and body separately, as the JDK does, gets no reset instead of a 401."""
    whole = request(line="POST /unread HTTP/1.1")

    answer = await asyncio.to_thread(
        exchange_bytes, listener.port, whole.removesuffix(INNER), INNER, LAST
    )

    assert [200, 200] == list_statuses(answer)
    assert ["/unread", "/last"] == [path for path, _ in listener.handled]


async def test_an_unread_body_in_many_parts_is_not_read_to_its_end() -> None:
    """Each chunk costs some 20 us whatever its size: 60,000 of one byte cost a worker a second."""
    received, sent = [], []

    async def receive():
        received.append(b"a")
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def send(message):
        sent.append(message)

    protocol = SimpleNamespace(receive=receive, send=send)
    exchange = HttpExchange(protocol, [(b"transfer-encoding", b"chunked")], is_last=False)

    await exchange.send({"type": "http.response.start", "status": 401, "headers": []})

    assert MAX_DISCARDED_PARTS == len(received)
    assert 401 == sent[0]["status"]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param([], id="a body that does not arrive"),
        pytest.param(["Expect: 100-continue"], id="a body that waits for a response"),
    ],
)
async def test_an_unread_body_that_does_not_arrive_delays_the_response_for_a_second(
    listener: Listener, more: list[str]
) -> None:
    """It ends the connection, because its end is unknown."""
    whole = request(*more, line="POST /unread HTTP/1.1")

    answer = await asyncio.to_thread(exchange_bytes, listener.port, whole.removesuffix(INNER))

    assert [200] == list_statuses(answer)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"POST / HT", id="half a request line"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nA: b", id="half a header"),
        pytest.param(request(line="GET / HTTP/1.1", body=b""), id="idle after a request"),
    ],
)
async def test_a_connection_without_a_complete_header_is_closed(
    listener: Listener, sent: bytes
) -> None:
    """R47: 200 of them were open after 80 s."""
    answer = await asyncio.to_thread(exchange_bytes, listener.port, sent)

    assert list_statuses(answer) in ([], [200])


async def test_slow_connections_block_others_only_until_their_deadline(
    listener: Listener,
) -> None:
    """More connections than allowed: the next one waits, and is then served."""
    silent = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(8)]

    answer = await asyncio.to_thread(exchange_bytes, listener.port, LAST)

    assert [200] == list_statuses(answer)
    for _, writer in silent:
        writer.close()


@pytest.fixture
async def full_listener() -> AsyncIterator[socket.socket]:
    """A listener with a server that has as many connections as allowed, for a long time."""

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise LookupError

    sock = open_listener("127.0.0.1", 0, advice="")
    server = HttpServer(app, sock, ConnectionLimits(max_connections=2, idle_seconds=60))
    server.start()
    silent = [await asyncio.open_connection(*sock.getsockname()) for _ in range(2)]
    yield sock
    for _, writer in silent:
        writer.close()
    assert await server.stop(5)
    sock.close()


async def test_connections_beyond_the_limit_are_503_while_it_lasts(
    full_listener: socket.socket,
) -> None:
    """R47: a client waited until another connection was closed, for 65 s by default.

    One that sends nothing is closed, so that it delays nobody.
    """
    port = full_listener.getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    answer = await asyncio.to_thread(exchange_bytes, port, request(body=b"x" * 100_000))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert [503] == list_statuses(answer)
    for line in (b"Retry-After: 1", b"Cache-Control: no-store", b"Connection: close"):
        assert line in head.split(b"\r\n")
    problem = json.loads(body)
    assert ("/problems/overloaded", 503) == (problem["type"], problem["status"])
    async with asyncio.timeout(10):
        assert b"" == await reader.read()
    writer.close()


async def test_a_connection_that_was_accepted_meanwhile_is_not_refused() -> None:
    """The number that waits is a moment old."""
    with open_listener("127.0.0.1", 0, advice="") as sock:
        async with asyncio.timeout(5):
            await refuse_waiting_connections(sock, 3)


def test_connections_are_refused_only_where_the_limit_stays_reached() -> None:
    """Usually another one is closed within a second, and those that wait are served."""
    with open_listener("127.0.0.1", 0, advice="") as listener:
        monitor = ConnectionMonitor(listener, 100, None)
        refusing = []
        for waiting in (1, 1, 0, 1, 1, 1, 1, 0):
            monitor.observe(waiting, 100)
            refusing.append(monitor.is_refusing)

    assert [False] * 5 + [True] * 2 + [False] == refusing


async def test_a_server_does_not_make_its_listener_block(listener: Listener) -> None:
    """A worker and its successor share it: `accept` would stop all of the other's connections."""
    blocking = socket.socket(
        fileno=os.dup(listener.sock.fileno())
    )  # as a worker opens its descriptor
    assert blocking.gettimeout() is None

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise LookupError

    server = HttpServer(app, blocking, ConnectionLimits(max_connections=8, idle_seconds=1))
    server.start()
    await asyncio.sleep(0.05)  # its monitor starts, too
    assert not os.get_blocking(listener.sock.fileno())
    assert await server.stop(5)
    blocking.close()


def test_reaching_the_limit_of_connections_is_logged_and_counted_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R47: 1,024 descriptors were an outage without a log line."""
    metrics = telemetry.Metrics("1", tenants=(), providers=())
    with open_listener("127.0.0.1", 0, advice="") as listener:
        monitor = ConnectionMonitor(listener, 100, metrics)
        for waiting, descriptors in ((0, 120), (3, 99), (3, 100), (5, 101), (0, 90)):
            monitor.observe(waiting, descriptors)

    page = metrics.render_metrics()[0].decode()
    assert "otp_connection_limit_reached_total 1.0" in page
    assert "otp_connections_waiting 0.0" in page
    assert "otp_open_descriptors 90.0" in page
    logged = [record.getMessage() for record in caplog.records]
    assert 1 == sum("the limit of connections is reached" in line for line in logged)
    assert 1 == sum("accepted again" in line for line in logged)


async def test_waiting_connections_are_seen() -> None:
    """What the kernel holds for a listener that does not accept."""
    with open_listener("127.0.0.1", 0, advice="") as sock:
        assert 0 == count_waiting(sock)
        _, writer = await asyncio.open_connection(*sock.getsockname())
        assert 1 == count_waiting(sock)
        writer.close()


def test_a_system_without_the_number_of_waiting_connections_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """macOS, for development."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with open_listener("127.0.0.1", 0, advice="") as sock:
        assert 0 == count_waiting(sock)


@pytest.mark.parametrize(
    ("soft", "allowed"), [(1024, 512), (100, 1), (65_536, 4096), (resource.RLIM_INFINITY, 4096)]
)
def test_connections_are_fewer_where_descriptors_are(
    monkeypatch: pytest.MonkeyPatch, soft: int, allowed: int
) -> None:
    """Without a descriptor Granian would try to accept again and again."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))

    assert allowed == limit_connections(4096)
    assert allowed == ConnectionLimits.from_settings(ServiceSettings()).max_connections


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (1024, 4096, [(4096, 4096)]),
        (1024, resource.RLIM_INFINITY, [(65_536, resource.RLIM_INFINITY)]),
        (1024, 1_000_000, [(65_536, 1_000_000)]),
        (4096, 4096, []),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_the_soft_limit_of_descriptors_is_raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: list[tuple[int, int]]
) -> None:
    """Many systems begin with 1,024."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))

    raise_descriptor_limit()

    assert expected == limits


def test_an_address_in_use_is_named_with_the_advice_of_the_command() -> None:
    """`serve` has no --port, and its advice is not that of `dev`."""
    with open_listener("127.0.0.1", 0, advice="") as used:
        port = used.getsockname()[1]
        with pytest.raises(
            CommandError, match=rf"127\.0\.0\.1:{port}: Address already in use. .* Move!"
        ):
            bind_listener("127.0.0.1", port, advice="Move!")
