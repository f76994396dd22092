"""An address that leads to another server from one moment on, as a DNS name does after a failover.

    async with AddressSwitch(old) as address:
        client = ScriptClient(create_redis_lines(url=address.url))
        address.target = new

Connections that are open stay with the server that they were opened to.
"""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers
from tests.store.connection_tasks import ConnectionTasks


class AddressSwitch:
    """Forwards each new connection to `target`; `opened` lists the servers of all connections."""

    def __init__(self, target: EmbeddedServer) -> None:
        self.target = target
        self.port = redis_servers.find_free_port()
        self.opened: list[EmbeddedServer] = []
        self._tasks = ConnectionTasks()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

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
        target = self.target
        self.opened.append(target)
        try:
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection("127.0.0.1", target.port)
                try:
                    await _forward_both_ways((reader, back), (there, writer))
                finally:
                    back.close()
        finally:
            writer.close()


async def _forward_both_ways(
    *pairs: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Forward until either side closes its connection."""
    tasks = [asyncio.create_task(_forward(*pair)) for pair in pairs]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()
