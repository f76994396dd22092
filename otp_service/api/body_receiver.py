"""The receiving half of a request, which knows whether its body was read to the end."""

from collections.abc import Iterable
from typing import Any

from litestar.types import HTTPReceiveMessage, Receive


class BodyReceiver:
    """Wraps `receive` of one request.

    A server discards the rest of a body that no handler reads, or closes the connection if it has not
    arrived yet. A proxy that expects no end may already use that connection for another client.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        self._receive = receive
        self.is_complete = not any(_announces_body(name, value) for name, value in headers)
        """Whether nothing of the body is left to read."""

    async def __call__(self) -> Any:
        """Return the next message of the server."""
        message: HTTPReceiveMessage = await self._receive()  # type: ignore[assignment]  # of HTTP
        if message["type"] == "http.request":
            self.is_complete = not message.get("more_body", False)
        return message


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
