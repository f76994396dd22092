"""The vendors of the simulation behind real HTTP: one address for each, on loopback."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from otp_service.core.delivery import Accepted, Fault, Message, Reply
from otp_service.core.phone_number import classify_number
from tests.simulation.world.vendor import Vendor
from tests.store.connection_tasks import ConnectionTasks
from tests.store.redis_servers import find_free_port


class LiveGateway:
    """Takes one message for each POST, and answers as the vendor of its path replies."""

    def __init__(self) -> None:
        self.vendors: Mapping[str, Vendor] = {}
        """By the name that the path of a request has; set before the first request."""
        self._port = find_free_port()
        self._tasks = ConnectionTasks()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
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
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                while True:
                    name, document = await _read_request(reader)
                    reply = await self._submit(name, document)
                    if not _has_answer(reply):
                        return
                    writer.write(_build_response(reply))
                    await writer.drain()
            finally:
                writer.close()

    async def _submit(self, name: str, document: Mapping[str, Any]) -> Reply:
        number, _ = classify_number(document["to"])
        message = Message(
            to=number,
            text=document["text"],
            reference=document["reference"],
            validity_seconds=0,
            code=document["code"],
        )
        return await self.vendors[name].submit(message, lambda: True)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, Any]]:
    """Return the last part of the path, and the body. Raises IncompleteReadError at the end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return first.split()[1].rpartition("/")[2], json.loads(body)


def _has_answer(reply: Reply) -> bool:
    """Return whether a reply arrives: one whose fault is unknown is a connection that breaks."""
    return isinstance(reply, Accepted) or reply.fault is not Fault.UNKNOWN


def _build_response(reply: Reply) -> bytes:
    if isinstance(reply, Accepted):
        status, document = HTTPStatus.OK, {"id": reply.message_id}
    else:
        status, document = HTTPStatus.BAD_REQUEST, {"code": reply.reason}
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
