"""One request and its response, between Granian and the application."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

from litestar.types import Message, Receive, Send


MAX_DISCARDED_BYTES: Final = 64 * 1024
MAX_DISCARDED_PARTS: Final = 500
MAX_DISCARD_SECONDS: Final = 1.0
"""How much of a body is read that the application has not read, in how many parts, and for how long.

hyper closes the connection after a response to a request whose body has not arrived. A client that
still sends the body then gets a reset, and many do not read the response before it.
"""

_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})
_SERVER_HEADER: Final = (b"server", b"otp-service")
"""Granian adds its own name to a response without this header."""


class HttpExchange:
    """The `receive` and `send` of one request; the response of a last one closes the connection."""

    def __init__(
        self, protocol: Any, headers: Iterable[tuple[bytes, bytes]], *, is_last: bool
    ) -> None:
        self._receive: Receive = protocol.receive
        self._send: Send = protocol.send
        names = {name for name, _ in headers}
        self._is_body_read = names.isdisjoint(_BODY_HEADERS)
        # The client waits for a response before it sends the body, and may not send it.
        self._is_discarded = b"expect" not in names
        self._is_last = is_last

    async def receive(self) -> Any:
        """Return the next message of the request."""
        message = await self._receive()
        self._is_body_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response; before the first one the rest of the body is read."""
        if message["type"] == "http.response.start":
            if not self._is_body_read and self._is_discarded:
                await self._discard_body()
            headers = [*message["headers"], _SERVER_HEADER]
            if self._is_last:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    async def _discard_body(self) -> None:
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_DISCARD_SECONDS):
                for _ in range(MAX_DISCARDED_PARTS):
                    if self._is_body_read or size > MAX_DISCARDED_BYTES:
                        return
                    size += len((await self.receive()).get("body", b""))
