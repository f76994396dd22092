"""The load: login back end, SMS gateway and phones, in one event loop.

It shares the machine with the measured programs, so it uses raw protocols without tasks or futures:
a pair costs it a tenth of a millisecond.
"""

import asyncio
import itertools
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Self, cast

import msgspec

from bench.environment import Target


NUMBER_BLOCKS = (("+447400", 6), ("+491512", 7), ("+33612", 6), ("+39312", 7))
"""Blocks of valid mobile numbers: their prefix, and how many digits follow."""

NUMBER_STRIDE = 7919
"""Has no factor in common with 10, so no number repeats and the next one has another prefix."""

WARM_UP_SECONDS = 0.3
"""Seconds at the start of a measurement that do not count, while queues fill."""

REPLY_TIMEOUT_SECONDS = 20.0
"""Seconds that the last replies may take."""

BodyBuilder = Callable[[str], str]
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

    def handle_message(self, message: bytes, body: int) -> None:
        self._pass_reply(int(message[9:12]), message[body:])

    def connection_lost(self, error: Exception | None) -> None:
        """Pass on a reply with the status 0, if one is awaited."""
        self._pass_reply(0, f"the connection was lost: {error}".encode())

    def _pass_reply(self, status: int, body: bytes) -> None:
        on_reply, self._on_reply = self._on_reply, None
        if on_reply:
            on_reply(status, body)


class Measurement(msgspec.Struct):
    """The result of one measurement; a piece of work is a pair or an issue."""

    completed: int = 0
    """Pieces of work completed in the counted time."""
    per_second: float = 0.0
    """Completed pieces a second."""
    cpu_seconds: float = 0.0
    """CPU seconds of each piece, over all pieces, counted or not."""
    issue_seconds: list[float] = []
    """Seconds from the instant at which each issue was due to its reply."""
    verify_seconds: list[float] = []


class Workload:
    """One kind of work on many connections; each piece of it begins with an issue."""

    def __init__(self, bodies: BodyBuilder, source: Iterator[str]) -> None:
        """Take a function from a number to the body of its issue, and the numbers."""
        self._build_body = bodies
        self._numbers = source
        self._idle: list[BenchConnection] = []
        self._due_times: deque[float] = deque()
        self._count_from = self._count_until = 0.0
        self._failure = ""
        self.measurement = Measurement()

    async def run_saturated(
        self, connections: Sequence[BenchConnection], seconds: float
    ) -> Measurement:
        """Keep every connection busy, and count the pieces completed in this time."""
        self._count_from = time.perf_counter() + WARM_UP_SECONDS
        self._count_until = self._count_from + seconds
        for connection in connections:
            self._start_piece(connection, time.perf_counter())
        await asyncio.sleep(WARM_UP_SECONDS + seconds)
        await self._wait_until_idle(len(connections))
        self.measurement.per_second = self.measurement.completed / seconds
        return self.measurement

    async def run_at_rate(
        self, connections: Sequence[BenchConnection], seconds: float, rate: float
    ) -> Measurement:
        """Start pieces at random instants at this rate, whether or not earlier ones have ended."""
        self._idle = list(connections)
        chance = random.Random(0)  # noqa: S311  # not for security
        due = time.perf_counter()
        end = due + seconds
        while (due := due + chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._due_times.append(due)
            self._start_due_pieces()
        await self._wait_until_idle(len(connections))
        return self.measurement

    def handle_issue_reply(
        self, connection: BenchConnection, number: str, status: int, body: bytes
    ) -> None:
        """Handle the reply to an issue: continue to `finish_piece` or `record_failure`."""
        raise NotImplementedError

    def finish_piece(self, connection: BenchConnection, *, counts: bool = True) -> None:
        """Start the next piece; this one counts if it ended in the counted time."""
        now = time.perf_counter()
        self.measurement.completed += counts and self._count_from <= now < self._count_until
        if now < self._count_until:
            self._start_piece(connection, now)
        else:
            self._idle.append(connection)
            self._start_due_pieces()

    def record_failure(self, status: int, body: bytes) -> None:
        """Record an unexpected reply, which invalidates the measurement."""
        self._failure = f"{status} {body.decode(errors='replace')[:500]}"

    def _start_piece(self, connection: BenchConnection, due: float) -> None:
        number = next(self._numbers)

        def handle_reply(status: int, body: bytes) -> None:
            self.measurement.issue_seconds.append(time.perf_counter() - due)
            self.handle_issue_reply(connection, number, status, body)

        connection.post("/v1/challenges", self._build_body(number), handle_reply)

    def _start_due_pieces(self) -> None:
        while self._due_times and self._idle:
            self._start_piece(self._idle.pop(), self._due_times.popleft())

    async def _wait_until_idle(self, connections: int) -> None:
        give_up = time.perf_counter() + REPLY_TIMEOUT_SECONDS
        while len(self._idle) < connections or self._due_times:
            if self._failure or time.perf_counter() > give_up:
                raise UnexpectedReplyError(self._failure or "no reply in time")
            await asyncio.sleep(0.01)


class PairWorkload(Workload):
    """Pairs: a code is issued, read on the phone, and verified."""

    def __init__(self, bodies: BodyBuilder, source: Iterator[str], phones: dict[str, str]) -> None:
        super().__init__(bodies, source)
        self._phones = phones

    def handle_issue_reply(
        self, connection: BenchConnection, number: str, status: int, body: bytes
    ) -> None:
        if status != HTTPStatus.CREATED:
            self.record_failure(status, body)
            return
        began = time.perf_counter()

        def handle_verify_reply(status: int, body: bytes) -> None:
            self.measurement.verify_seconds.append(time.perf_counter() - began)
            if status == HTTPStatus.OK:
                self.finish_piece(connection)
            else:
                self.record_failure(status, body)

        start = body.index(b'"id":"') + 6
        challenge = body[start : body.index(b'"', start)].decode()
        code = f'{{"code":"{self._phones.pop(number)}"}}'
        connection.post(f"/v1/challenges/{challenge}/verify", code, handle_verify_reply)


class RefusalWorkload(Workload):
    """Issues that the number's own limits refuse after the first one."""

    def handle_issue_reply(
        self, connection: BenchConnection, _: str, status: int, body: bytes
    ) -> None:
        """Count the piece only if it was refused."""
        if status in {HTTPStatus.CREATED, HTTPStatus.TOO_MANY_REQUESTS}:
            self.finish_piece(connection, counts=status == HTTPStatus.TOO_MANY_REQUESTS)
        else:
            self.record_failure(status, body)


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
        """Open this many connections, and close them at the end.

        They are opened one after another, each with a reply. If they were opened at once, the worker
        that wakes first would accept all of them. The request has no body: after one that is not
        read the service closes the connection.
        """
        loop = asyncio.get_running_loop()
        connections: list[BenchConnection] = []
        try:
            for _ in range(count):
                _, connection = await loop.create_connection(
                    lambda: BenchConnection(target.key), "127.0.0.1", target.port
                )
                connections.append(connection)
                replied = loop.create_future()
                connection.post("/nothing", "", lambda *_: replied.set_result(None))  # noqa: B023  # awaited below
                await asyncio.wait_for(replied, REPLY_TIMEOUT_SECONDS)
            yield connections
        finally:
            for connection in connections:
                connection.transport.close()
