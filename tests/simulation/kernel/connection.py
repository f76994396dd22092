"""A simulated TCP connection: its client's end, which is a transport of asyncio, and its server's end."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextvars import Context, copy_context

from tests.simulation.kernel.link import Link
from tests.simulation.kernel.pipe import Pipe


class Connection:
    """Two pipes and what is at their ends."""

    def __init__(self, link: Link, protocol: asyncio.Protocol, server_context: Context) -> None:
        self.link = link
        self.server = server = ServerConnection(self)
        self.transport = client = ClientTransport(self, protocol)
        self.to_server = Pipe(link, link.to_server, server.receive, server.end, server_context)
        self.to_client = Pipe(link, link.to_client, client.receive, client.end, copy_context())
        link.connections.append(self)

    def cut(self) -> None:
        """Break it. What both ends see is drawn: the end of the stream, or a reset."""
        is_reset = self.link.chance.has_luck(0.5)
        for pipe in (self.to_server, self.to_client):
            pipe.cut(create_reset_error() if is_reset else None)

    def resume(self) -> None:
        """Go on after the link was frozen."""
        self.to_server.check_arrivals()
        self.to_client.check_arrivals()

    def release(self) -> None:
        """Remove it from its link once nothing can arrive any more."""
        if self.to_server.is_over and self.to_client.is_over and self in self.link.connections:
            self.link.connections.remove(self)


class ServerConnection:
    """The server's end. A server sets `on_data` and `on_close` when it accepts the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.on_data: Callable[[bytes], None] = lambda _: None
        """Called with bytes that have arrived, which may begin and end anywhere."""
        self.on_close: Callable[[], None] = lambda: None
        """Called once if the client has closed, or the connection was cut; not for its own `close`."""

    @property
    def link(self) -> Link:
        return self._connection.link

    def write(self, data: bytes) -> None:
        """Send bytes. After the end of the connection they are lost."""
        self._connection.to_client.send(data)

    def close(self) -> None:
        """Send what was written, then the end of the stream; read nothing more."""
        self._connection.to_server.discard()
        self._connection.to_client.finish()
        self._connection.release()

    def reset(self) -> None:
        """Break the connection as the death of a process does: a part of what is in flight is lost."""
        self._connection.to_server.discard()
        self._connection.to_client.cut(create_reset_error())
        self._connection.release()

    def receive(self, data: bytes) -> None:
        self.on_data(data)

    def end(self, _: Exception | None) -> None:
        self._connection.release()
        self.on_close()


class ClientTransport(asyncio.Transport):
    """The client's end, with the behavior of asyncio's transport of a socket.

    Bytes in flight count as its write buffer, so that a protocol is paused while a link is frozen.
    `close` does not wait for them: they arrive nevertheless.
    """

    def __init__(self, connection: Connection, protocol: asyncio.Protocol) -> None:
        link = connection.link
        extra = {"peername": (link.server, link.port), "sockname": (link.client, 0)}
        super().__init__(extra)
        self._connection = connection
        self._context = copy_context()
        self._protocol = protocol
        self._high_water = link.conditions.high_water_bytes
        self._is_paused = False
        self._is_closing = False

    # ---- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pipe = self._connection.to_server
        pipe.send(bytes(data))
        if pipe.size > self._high_water and not self._is_paused:
            self._is_paused = True
            pipe.on_progress = self._note_progress
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._connection.to_server.size

    def close(self) -> None:
        if not self._is_closing:
            self._connection.to_server.finish()
            self._lose(None)

    def abort(self) -> None:
        """Close at once. It is drawn whether what is in flight arrives, or is lost in part."""
        if self._is_closing:
            return
        if self._connection.link.chance.has_luck(0.5):
            self._connection.to_server.cut(create_reset_error())
        self._connection.to_server.finish()
        self._lose(None)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._connection.to_client.hold()

    def resume_reading(self) -> None:
        self._connection.to_client.resume()

    def is_reading(self) -> bool:
        return not (self._is_closing or self._connection.to_client.is_held)

    def get_protocol(self) -> asyncio.Protocol:
        return self._protocol

    def can_write_eof(self) -> bool:
        return False

    # ---- the network's side

    def receive(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def end(self, error: Exception | None) -> None:
        """Do as the real transport does at the end of the stream, and at a reset."""
        if error:
            self._lose(error)
        elif not self._protocol.eof_received():
            self.close()

    def _lose(self, error: Exception | None) -> None:
        self._is_closing = True
        self._connection.to_client.discard()
        self._connection.link.loop.call_soon(self._report_loss, error)

    def _report_loss(self, error: Exception | None) -> None:
        self._connection.release()
        self._protocol.connection_lost(error)

    def _note_progress(self) -> None:
        """Let the protocol write again once most has arrived, in its own context."""
        pipe = self._connection.to_server
        if pipe.size <= self._high_water // 4:
            self._is_paused = False
            pipe.on_progress = None
            self._connection.link.loop.call_soon(
                self._protocol.resume_writing, context=self._context
            )


def create_reset_error() -> ConnectionResetError:
    """Return the error of a socket whose connection was reset."""
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
