"""The connections of a comparison: one to a real server, and one to the model without a network."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hiredis import Reader, pack_command

from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.server import SimulatedServer


class RealEnd:
    """A blocking connection to a real server."""

    def __init__(self, socket_path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(socket_path))
        self._reader = Reader(replyError=ErrorReply)

    def run(self, *commands: Sequence[Any]) -> list[Any]:
        """Return the replies to commands that are sent together."""
        self._socket.sendall(b"".join(pack_command(tuple(command)) for command in commands))
        return [self._read_reply() for _ in commands]

    def run_timed(self, command: Sequence[Any]) -> tuple[int, Any]:
        """Return the time by which the server has run a command, in milliseconds, and its reply."""
        # One transaction has one clock.
        *queued, results = self.run(("MULTI",), ("TIME",), command, ("EXEC",))
        if isinstance(results, ErrorReply):
            return 0, queued[-1]
        (seconds, microseconds), reply = results
        return int(seconds) * 1000 + int(microseconds) // 1000, reply

    def close(self) -> None:
        self._socket.close()

    def _read_reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            assert data, "the server has closed the connection"
            self._reader.feed(data)
        return reply


class ModelEnd:
    """A connection to a simulated server without a network. The client's and the server's end."""

    def __init__(self, server: SimulatedServer) -> None:
        self.on_data: Callable[[bytes], None] = lambda _: None
        self.on_close: Callable[[], None] = lambda: None
        self._reader = Reader(replyError=ErrorReply)
        server.accept(self)

    def write(self, data: bytes) -> None:
        self._reader.feed(data)

    def reset(self) -> None:
        self.on_close()

    def run(self, command: Sequence[Any]) -> Any:
        """Return the reply to a command; False if it waits."""
        self.on_data(pack_command(tuple(command)))
        return self.read()

    def read(self) -> Any:
        """Return the next reply; False if there is none yet."""
        return self._reader.gets()
