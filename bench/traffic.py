"""Everybody outside of the service, in one event loop: login back end, gateway and phones.

They share the machine with what is measured, so these are raw protocols without tasks or futures:
a pair costs them a tenth of a millisecond.
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


BLOCKS = (("+447400", 6), ("+491512", 7), ("+33612", 6), ("+39312", 7))
"""Where every number is a valid mobile one: how it begins, and how many digits follow."""

STRIDE = 7919
"""Has no factor in common with 10: numbers in turn are of different prefixes, and none repeats."""

WARM = 0.3
"""Seconds at the beginning of a measurement that do not count: the queues fill."""

PATIENCE = 20.0
"""Seconds that the last answers may take."""

Bodies = Callable[[str], str]
Told = Callable[[int, bytes], None]

_RECIPIENT = re.compile(rb'"to":"([^"]+)"')
_CODE = re.compile(rb'"text":"[^"]*?(\d{6})')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class UnexpectedAnswer(Exception):
    """An answer that makes every number worthless."""


def numbers() -> Iterator[str]:
    """Return valid mobile numbers of several countries and prefixes, none of them twice."""
    for index in itertools.count():
        step, block = divmod(index, len(BLOCKS))
        start, digits = BLOCKS[block]
        yield f"{start}{step * STRIDE % 10**digits:0{digits}d}"


class Messages(asyncio.Protocol):
    """HTTP/1.1 as both ends use it: a head, and a body of the length that it announces."""

    def __init__(self) -> None:
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where to write."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on each message that is whole."""
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            self.received(message, head + 4)

    def received(self, message: bytes, body: int) -> None:
        """Take one message, whose body begins there."""
        raise NotImplementedError


class Gateway(Messages):
    """An SMS gateway that takes everything; the code is on the phone at once."""

    REPLY = (
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"id":"1"}'
    )

    def __init__(self, phones: dict[str, str]) -> None:
        super().__init__()
        self._phones = phones

    def received(self, message: bytes, body: int) -> None:
        """Take one SMS."""
        to, code = _RECIPIENT.search(message, body), _CODE.search(message, body)
        assert to, message
        assert code, message
        self._phones[to[1].decode()] = code[1].decode()
        self.transport.write(self.REPLY)


class Connection(Messages):
    """One connection of the login back end, which asks one thing at a time."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._head = (
            "host: bench\r\n"
            f"authorization: Bearer {key}\r\n"
            "content-type: application/json\r\n"
            "content-length: "
        )
        self._told: Told | None = None

    def ask(self, path: str, body: str, told: Told) -> None:
        """POST, and call back with status and body."""
        self._told = told
        request = f"POST {path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n{body}"
        self.transport.write(request.encode())

    def received(self, message: bytes, body: int) -> None:
        """Take the answer."""
        self._tell(int(message[9:12]), message[body:])

    def connection_lost(self, error: Exception | None) -> None:
        """Tell it as an answer with a status that there is not, if one is awaited."""
        self._tell(0, f"the connection was lost: {error}".encode())

    def _tell(self, status: int, body: bytes) -> None:
        told, self._told = self._told, None
        if told:
            told(status, body)


class Tally(msgspec.Struct):
    """What came of one measurement."""

    done: int = 0
    """Pieces of work, of those that count."""
    rate: float = 0.0
    """Of them in a second."""
    cpu: float = 0.0
    """Seconds of CPU that each piece took, those that do not count among them."""
    issue: list[float] = []
    """Seconds from when it was due to its answer."""
    verify: list[float] = []


class Work:
    """One kind of work, done on many connections; each piece of it begins with an issue."""

    def __init__(self, bodies: Bodies, source: Iterator[str]) -> None:
        """Take what makes a number into the body of its issue, and where numbers come from."""
        self._bodies = bodies
        self._source = source
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._begin = self._end = 0.0
        self._wrong = ""
        self.tally = Tally()

    async def flood(self, connections: Sequence[Connection], seconds: float) -> Tally:
        """Keep every connection busy, and count what is done in so many seconds."""
        self._begin = time.perf_counter() + WARM
        self._end = self._begin + seconds
        for connection in connections:
            self._start(connection, time.perf_counter())
        await asyncio.sleep(WARM + seconds)
        await self._settle(len(connections))
        self.tally.rate = self.tally.done / seconds
        return self.tally

    async def pace(self, connections: Sequence[Connection], seconds: float, rate: float) -> Tally:
        """Begin at random instants at this rate, whether or not what was begun is done."""
        self._idle = list(connections)
        chance = random.Random(0)  # noqa: S311  # nobody gains by guessing it
        due = time.perf_counter()
        end = due + seconds
        while (due := due + chance.expovariate(rate)) < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self._waiting.append(due)
            self._feed()
        await self._settle(len(connections))
        return self.tally

    def issued(self, connection: Connection, number: str, status: int, body: bytes) -> None:
        """Take the answer to an issue, and go on to `done` or `fail`."""
        raise NotImplementedError

    def done(self, connection: Connection, *, counts: bool = True) -> None:
        """Go on with the next piece; this one counts if it was done in the time for that."""
        now = time.perf_counter()
        self.tally.done += counts and self._begin <= now < self._end
        if now < self._end:
            self._start(connection, now)
        else:
            self._idle.append(connection)
            self._feed()

    def fail(self, status: int, body: bytes) -> None:
        """Remember what nobody expected: no number is worth anything after it."""
        self._wrong = f"{status} {body.decode(errors='replace')[:500]}"

    def _start(self, connection: Connection, due: float) -> None:
        number = next(self._source)

        def told(status: int, body: bytes) -> None:
            self.tally.issue.append(time.perf_counter() - due)
            self.issued(connection, number, status, body)

        connection.ask("/v1/challenges", self._bodies(number), told)

    def _feed(self) -> None:
        while self._waiting and self._idle:
            self._start(self._idle.pop(), self._waiting.popleft())

    async def _settle(self, connections: int) -> None:
        give_up = time.perf_counter() + PATIENCE
        while len(self._idle) < connections or self._waiting:
            if self._wrong or time.perf_counter() > give_up:
                raise UnexpectedAnswer(self._wrong or "none, for too long")
            await asyncio.sleep(0.01)


class Pairs(Work):
    """A code is issued, read on the phone, and verified."""

    def __init__(self, bodies: Bodies, source: Iterator[str], phones: dict[str, str]) -> None:
        super().__init__(bodies, source)
        self._phones = phones

    def issued(self, connection: Connection, number: str, status: int, body: bytes) -> None:
        """Verify the code that was sent."""
        if status != HTTPStatus.CREATED:
            self.fail(status, body)
            return
        began = time.perf_counter()

        def told(status: int, body: bytes) -> None:
            self.tally.verify.append(time.perf_counter() - began)
            if status == HTTPStatus.OK:
                self.done(connection)
            else:
                self.fail(status, body)

        start = body.index(b'"id":"') + 6
        challenge = body[start : body.index(b'"', start)].decode()
        code = f'{{"code":"{self._phones.pop(number)}"}}'
        connection.ask(f"/v1/challenges/{challenge}/verify", code, told)


class Refusals(Work):
    """An issue that the number's own limits refuse, once they have let the first one pass."""

    def issued(self, connection: Connection, _: str, status: int, body: bytes) -> None:
        """Count a refusal."""
        if status in {HTTPStatus.CREATED, HTTPStatus.TOO_MANY_REQUESTS}:
            self.done(connection, counts=status == HTTPStatus.TOO_MANY_REQUESTS)
        else:
            self.fail(status, body)


class Outside:
    """The gateway that listens, and the connections to whoever is measured."""

    def __init__(self) -> None:
        self.phones: dict[str, str] = {}
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Gateway(self.phones), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    @property
    def gateway(self) -> str:
        """Where messages are posted to."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/messages"

    @asynccontextmanager
    async def connected(self, target: Target, count: int) -> AsyncIterator[list[Connection]]:
        """Open so many connections, and close them.

        One after another, each with an answer: of those that come at once, the worker that wakes
        first takes all, and the others have nothing to do.
        """
        loop = asyncio.get_running_loop()
        made: list[Connection] = []
        try:
            for _ in range(count):
                _, connection = await loop.create_connection(
                    lambda: Connection(target.key), "127.0.0.1", target.port
                )
                made.append(connection)
                answered = loop.create_future()
                connection.ask("/nothing", "{}", lambda *_: answered.set_result(None))  # noqa: B023  # awaited below
                await asyncio.wait_for(answered, PATIENCE)
            yield made
        finally:
            for connection in made:
                connection.transport.close()
