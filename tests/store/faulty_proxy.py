"""A proxy that simulates a bad network between a client and a real server, on a Unix socket.

It parses only the RESP2 it needs: which commands were sent together (a batch, which costs one
round trip), and where the last of their replies ends.

    async with Proxy(server) as proxy:
        link = Link(connect(url=proxy.url))
        proxy.will(Fate.LOSE_REPLY, b"otp.attempted", times=2)
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

from otp_service.store.embedded import EmbeddedServer
from tests.store.connection_tasks import ConnectionTasks


class ConnectionFailure(Enum):
    """How the proxy handles a batch."""

    LOST_REPLY = auto()
    """The server does it; the connection breaks before the answer arrives."""
    LOST_REQUEST = auto()
    """The connection breaks before the server has heard of it."""
    SILENCE = auto()
    """The server does it, and nothing is ever heard of it."""


class CommandBatch(NamedTuple):
    """Commands that were sent together, and when they were under way, by the loop's clock."""

    commands: list[list[bytes]]
    sent_at: float
    answered_at: float

    @property
    def is_script(self) -> bool:
        """Return whether the batch counts as a round trip of a call; opening a connection does not."""
        return self.commands[0][0] in {b"EVALSHA", b"EVAL"}


class FailureRule(NamedTuple):
    """The fault for the next batches that contain a given text."""

    failure: ConnectionFailure | bytes
    words: tuple[bytes, ...]
    times: int


class FaultyProxy:
    """Forwards every batch unless a fault is set; `delay` is in seconds, for each batch."""

    def __init__(self, server: EmbeddedServer, *, delay: float = 0.0) -> None:
        self._target = urlsplit(server.url)
        self._folder = tempfile.TemporaryDirectory(prefix="otp-proxy-")
        self._path = Path(self._folder.name) / "redis.sock"
        self._rules: list[FailureRule] = []
        self._tasks = ConnectionTasks()
        self.delay = delay
        self.batches: list[CommandBatch] = []
        self.failed_count = 0
        """How many batches met a fate of theirs."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"unix://{self._path}"

    def fail_next(self, failure: ConnectionFailure | bytes, *words: bytes, times: int = 1) -> None:
        """Do this to the next batches of scripts that mention all of `of`.

        Any word of a request may be mentioned: the script's name, a key, an event. Bytes instead
        of a fate are our answer to each of its commands.
        """
        self._rules.append(FailureRule(failure, words, times))

    def clear_failures(self) -> None:
        """Do nothing more to anybody."""
        self._rules.clear()

    def count_sequential_trips(self) -> int:
        """Return how many round trips were made one after another; what overlaps counts once."""
        trips, free = 0, 0.0
        for batch in sorted(self.batches, key=lambda batch: batch.answered_at):
            if batch.sent_at >= free:
                trips, free = trips + 1, batch.answered_at
        return trips

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
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
        self._folder.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add_current()
        try:
            there, back = await self._connect()
        except OSError:  # the server is away: let the client see that
            writer.close()
            return
        # Batches that follow one another on a connection overlap, like packets on the way.
        under_way: asyncio.Queue[tuple[list[list[bytes]], float]] = asyncio.Queue()
        reading = asyncio.create_task(_queue_batches(reader, under_way))
        try:
            # Cancellation ends the handler; asyncio would log it as an error.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while (batch := await under_way.get())[0]:
                    if not await self._forward_batch(*batch, there, back, writer):
                        break
        finally:
            reading.cancel()
            for end in (writer, back):
                end.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.scheme == "unix":
            return await asyncio.open_unix_connection(unquote(self._target.path))
        return await asyncio.open_connection(self._target.hostname, self._target.port)

    async def _forward_batch(
        self,
        commands: list[list[bytes]],
        sent: float,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Carry a batch and its answers; False if the connection is to break now."""
        clock = asyncio.get_running_loop().time
        fate = self._take_failure(commands)
        if fate is ConnectionFailure.LOST_REQUEST:
            return False
        if isinstance(fate, bytes):
            answers = fate * len(commands)
        else:
            server_writer.write(b"".join(_pack_command(command) for command in commands))
            answers = b"".join([await _read_reply(server_reader) for _ in commands])
        # So that what is sent side by side overlaps.
        await asyncio.sleep(max(0.0, sent + self.delay - clock()))
        if fate is ConnectionFailure.SILENCE:
            await asyncio.Event().wait()
        if fate is ConnectionFailure.LOST_REPLY:
            return False
        self.batches.append(CommandBatch(commands, sent, clock()))
        writer.write(answers)
        await writer.drain()
        return True

    def _take_failure(self, commands: list[list[bytes]]) -> ConnectionFailure | bytes | None:
        if not CommandBatch(commands, 0, 0).is_script:
            return None
        words = b"\0".join(word for command in commands for word in command)
        for i, order in enumerate(self._rules):
            if all(word in words for word in order.words):
                self._rules[i] = order._replace(times=order.times - 1)
                self._rules = [order for order in self._rules if order.times]
                self.failed_count += 1
                return order.failure
        return None


async def _queue_batches(
    reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[list[list[bytes]], float]]
) -> None:
    """Queue each batch with the time of its arrival, and at the end an empty one."""
    with suppress(OSError):
        async for commands in _read_batches(reader):
            queue.put_nowait((commands, asyncio.get_running_loop().time()))
    queue.put_nowait(([], 0.0))


async def _read_batches(reader: asyncio.StreamReader) -> AsyncIterator[list[list[bytes]]]:
    """Yield the commands that arrived together: a client writes those of one call at once."""
    buffer, commands = b"", []
    while chunk := await reader.read(1 << 20):
        buffer += chunk
        while read := _parse_command(buffer):
            command, buffer = read
            commands.append(command)
        if not buffer:
            yield commands
            commands = []


def _parse_command(buffer: bytes) -> tuple[list[bytes], bytes] | None:
    """Return the first command and what follows it; None if it is not whole yet."""
    head, found, rest = buffer.partition(b"\r\n")
    if not found:
        return None
    words = []
    for _ in range(int(head[1:])):
        size, found, rest = rest.partition(b"\r\n")
        end = int(size[1:] or 0) if found else 0
        if not found or len(rest) < end + 2:
            return None
        words.append(rest[:end])
        rest = rest[end + 2 :]
    return words, rest


def _pack_command(command: list[bytes]) -> bytes:
    words = b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in command)
    return b"*%d\r\n%b" % (len(command), words)


async def _read_reply(reader: asyncio.StreamReader) -> bytes:
    """Read one answer, with all that is in it."""
    line = await reader.readuntil(b"\r\n")
    kind, size = line[:1], line[1:-2]
    if kind in b"+-:" or int(size) < 0:
        return line
    if kind == b"$":
        return line + await reader.readexactly(int(size) + 2)
    return line + b"".join([await _read_reply(reader) for _ in range(int(size))])
