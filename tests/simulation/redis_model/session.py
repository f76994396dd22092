"""A connection of a client to a simulated server."""

from collections.abc import Callable
from typing import Any, Protocol

from hiredis import Reader

from tests.simulation.redis_model.replies import encode_reply


BLOCKED = object()
"""What a command returns whose reply is not known yet; `Session.resume` has it later."""


class ServerEnd(Protocol):
    """The server's end of a connection: a `ServerConnection` of the kernel, or one of a test."""

    on_data: Callable[[bytes], None]
    on_close: Callable[[], None]

    def write(self, data: bytes) -> None: ...

    def reset(self) -> None: ...


class Session:
    """Runs the commands of a connection one after another. Replies of one turn leave in one write."""

    __slots__ = (
        "_connection", "_execute", "_forget", "_held", "_is_closed", "_late_replies", "_reader",
        "is_blocked", "is_frozen", "is_logged_in", "write_offset",
    )  # fmt: skip

    def __init__(
        self,
        connection: ServerEnd,
        execute: Callable[["Session", list[bytes]], Any],
        forget: Callable[["Session"], None],
    ) -> None:
        """Begin a session; `forget` is called at its end."""
        self._connection = connection
        self._execute = execute
        self._forget = forget
        self._reader = Reader()
        self._held: list[bytes] = []
        self._late_replies: list[Any] = []
        self.is_frozen = False
        """Whether the server does not read."""
        self.is_blocked = False
        """Whether a WAIT is not answered."""
        self.is_logged_in = False
        self.write_offset = 0
        """After the last write of this connection; what its WAIT is about."""
        self._is_closed = False
        connection.on_data = self.receive
        connection.on_close = self._close

    def receive(self, data: bytes) -> None:
        """Run the commands that have arrived as a whole."""
        if self.is_frozen:
            self._held.append(data)
            return
        self._reader.feed(data)
        if not self.is_blocked:
            self._run_commands([])

    def resume(self, reply: Any) -> None:
        """Answer the command that has blocked, and run those after it."""
        if self._is_closed:
            return  # Redis forgets the commands after a WAIT with their connection
        if self.is_frozen:
            self._late_replies.append(reply)
            return
        self.is_blocked = False
        self._run_commands([encode_reply(reply)])

    def thaw(self) -> None:
        """Read again, first what has arrived meanwhile, also if the client has closed since."""
        self.is_frozen = False
        late_replies, self._late_replies = self._late_replies, []
        for reply in late_replies:
            self.resume(reply)
        held, self._held = self._held, []
        if held:
            self.receive(b"".join(held))
        if self._is_closed:
            self._forget(self)

    def reset(self) -> None:
        """Break the connection, and run nothing more."""
        if not self._is_closed:
            self._is_closed = True
            self._connection.reset()

    def _close(self) -> None:
        self._is_closed = True
        if not self.is_frozen:
            self._forget(self)

    def _run_commands(self, replies: list[bytes]) -> None:
        gets, execute = self._reader.gets, self._execute
        while (command := gets()) is not False:
            reply = execute(self, command)
            if reply is BLOCKED:
                self.is_blocked = True
                break
            replies.append(encode_reply(reply))
        if replies:
            self._connection.write(b"".join(replies))
