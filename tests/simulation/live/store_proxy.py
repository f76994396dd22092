"""A TCP proxy on loopback in front of one server of the store, for faults of the network.

`tests/store/breaking_proxy.py` breaks a connection at a chosen reply, so it parses replies. This one also
forwards what replicas and Sentinels exchange, which is not RESP alone, and has faults that last.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.store.connection_tasks import ConnectionTasks
from tests.store.redis_servers import find_free_port


CHUNK_BYTES = 1 << 16
SCRIPT_MARKS = (b"EVALSHA", b"EVAL\r\n")
"""What only the service sends: faults spare replicas and Sentinels, whose failures are faults of their own."""


class ProxiedConnection:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.is_of_service = False
        self._writers = (client, server)

    def cut(self) -> None:
        """Break both connections, with what is held."""
        for writer in self._writers:
            writer.transport.abort()


class StoreProxy:
    """Forwards to a port; a fault concerns all connections on which the service has sent a script."""

    def __init__(self, target_port: int) -> None:
        self.port = find_free_port()
        self.delay_seconds = 0.0
        """Added to each chunk, in both directions."""
        self._target_port = target_port
        self._tasks = ConnectionTasks()
        self._connections: set[ProxiedConnection] = set()
        self._requests_flow, self._replies_flow = asyncio.Event(), asyncio.Event()
        self.thaw()

    def freeze_requests(self) -> None:
        """Hold what arrives for the server, until `thaw` or `cut`."""
        self._requests_flow.clear()

    def freeze_replies(self) -> None:
        """Hold what the server answers, which has its effect."""
        self._replies_flow.clear()

    def thaw(self) -> None:
        """Forward what is held. The server also runs what its client has given up."""
        self._requests_flow.set()
        self._replies_flow.set()

    def cut(self) -> None:
        """Break every connection of the service, with what is held."""
        for connection in [one for one in self._connections if one.is_of_service]:
            connection.cut()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add_current()
        # Cancellation ends the handler; asyncio would log it as an error.
        with suppress(OSError, asyncio.CancelledError):
            try:
                away = await asyncio.open_connection("127.0.0.1", self._target_port)
            except OSError:  # the server is down: the client has to see a broken connection
                writer.transport.abort()
                return
            await self._forward_both(reader, writer, *away)

    async def _forward_both(
        self,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        connection = ProxiedConnection(client, server)
        self._connections.add(connection)
        tasks = [
            asyncio.create_task(self._forward_requests(connection, client_reader, server)),
            asyncio.create_task(self._forward_replies(connection, server_reader, client)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connections.discard(connection)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (client, server):
                writer.close()

    async def _forward_requests(
        self,
        connection: ProxiedConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            connection.is_of_service |= any(mark in chunk for mark in SCRIPT_MARKS)
            await self._hold(connection, self._requests_flow)
            writer.write(chunk)
            await writer.drain()

    async def _forward_replies(
        self,
        connection: ProxiedConnection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._hold(connection, self._replies_flow)
            writer.write(chunk)
            await writer.drain()

    async def _hold(self, connection: ProxiedConnection, flow: asyncio.Event) -> None:
        if connection.is_of_service:
            await flow.wait()
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
