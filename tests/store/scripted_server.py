"""A loopback server that parses commands and sends exactly the bytes that a test wants."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from hiredis import Reader

from tests.store.connection_tasks import ConnectionTasks


INFO = b"# Server\r\nredis_version:7.0.0\r\nrun_id:1\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1"


def encode(value: Any) -> bytes:
    """Return a value as a reply of RESP 2; bytes that begin with + or - are sent as they are."""
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"$-1\r\n"
    return b"$%d\r\n%b\r\n" % (len(value), value)


def answer(command: list[bytes]) -> bytes:
    """Return the right reply to a command: a script returns its first argument after its keys."""
    match command:
        case [b"EVALSHA" | b"EVAL", _, keys, *words]:
            return encode([words[-1], words[int(keys)]])
        case [b"ECHO", word]:
            return encode(word)
        case [b"WAIT", *_]:
            return encode(1)
        case [b"INFO", *_]:
            return encode(INFO)
        case _:
            return b"+OK\r\n"


class ScriptedServer:
    """Answers each command with the bytes that `respond` returns; None closes the connection.

    `commands` are those of calls, in the order of their arrival. `lost_introductions` connections are
    closed at their first command, after the bytes `last_words`.
    """

    def __init__(self, respond: Callable[[list[bytes]], bytes | None] = answer) -> None:
        self.respond = respond
        self.lost_introductions = 0
        self.last_words = b""
        self.hangs = False
        """Whether it answers nothing, new connections included."""
        self.commands: list[list[bytes]] = []
        self.introductions: list[list[bytes]] = []
        self.connections: list[asyncio.StreamWriter] = []
        self._folder = tempfile.TemporaryDirectory(prefix="otp-scripted-")
        self._path = Path(self._folder.name) / "redis.sock"
        self._tasks = ConnectionTasks()
        self._has_news = asyncio.Event()

    async def wait_until(self, condition: Callable[[], object]) -> None:
        """Return once commands have arrived for which the condition is true."""
        while not condition():
            self._has_news.clear()
            await self._has_news.wait()

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._tasks.cancel()
        await self._server.wait_closed()
        self._folder.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add_current()
        self.connections.append(writer)
        parser = Reader()
        try:
            while data := await reader.read(1 << 16):
                parser.feed(data)
                commands = []
                while (command := parser.gets()) is not False:
                    commands.append(command)
                if not self._answer(commands, writer):
                    break
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, commands: list[list[bytes]], writer: asyncio.StreamWriter) -> bool:
        if self.hangs:
            return True
        if self.lost_introductions:
            self.lost_introductions -= 1
            writer.write(self.last_words)
            return False
        calls = [c for c in commands if c[0] not in {b"INFO", b"CLIENT", b"AUTH", b"SELECT"}]
        self.introductions += [c for c in commands if c not in calls]
        self.commands += calls
        for command in commands:
            reply = answer(command) if command not in calls else self.respond(command)
            if reply is None:
                return False
            writer.write(reply)
        self._has_news.set()
        return True
