"""Answers 503 to connections that Granian does not accept, because there are as many as allowed.

Granian has no answer for them: it leaves them in the backlog of the listener, where a client waits
until another connection is closed, up to `service.idle_seconds`.
"""

import asyncio
import contextlib
import socket
from typing import Final

import msgspec

from otp_service.api.problems import build_problem, build_problem_headers
from otp_service.core.errors import Overloaded


MAX_REFUSALS: Final = 200
"""At once. They need descriptors beyond the limit of connections: some of RESERVED_DESCRIPTORS."""

REFUSAL_SECONDS: Final = 1.0
"""Time for a client to send its request, to take the response, and to close the connection."""


async def refuse_waiting_connections(listener: socket.socket, count: int) -> None:
    """Accept up to `count` waiting connections, answer 503 to their requests, and close them."""
    async with asyncio.TaskGroup() as group:
        for _ in range(min(count, MAX_REFUSALS)):
            try:
                connection, _ = listener.accept()
            except OSError:  # Granian has accepted it, because another one was closed
                return
            group.create_task(_refuse_connection(connection))


async def _refuse_connection(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError, TimeoutError):
        connection.settimeout(0)
        async with asyncio.timeout(REFUSAL_SECONDS):
            # A client may discard a response that is there before its request.
            if not await loop.sock_recv(connection, 65_536):
                return
            await loop.sock_sendall(connection, build_refusal())
            connection.shutdown(socket.SHUT_WR)
            # Unread bytes would make the kernel send a reset, which may overtake the response.
            while await loop.sock_recv(connection, 65_536):
                pass


def build_refusal() -> bytes:
    """Return the response of a call that finds no capacity, and the end of its connection."""
    error = Overloaded()
    body = msgspec.json.encode(build_problem(error))
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        "Server": "otp-service",
        **build_problem_headers(error),
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = ["HTTP/1.1 503 Service Unavailable", *lines, "", ""]
    return "\r\n".join(head).encode() + body
