"""The receiving half of a request, which knows whether its body was read to the end."""

from collections.abc import Iterable
from typing import Any, Final

from litestar.types import HTTPReceiveMessage, Receive


_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})


class BodyReceiver:
    """Wraps `receive` of one request.

    A server discards the rest of a body that no handler reads, or closes the connection if it has not
    arrived yet. A proxy that expects no end may already use that connection for another client.
    """

    def __init__(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive) -> None:
        self._receive = receive
        lengths = [value for name, value in headers if name in _BODY_HEADERS]
        self.is_complete = not lengths or lengths == [b"0"]
        """Whether nothing of the body is left to read."""

    async def __call__(self) -> Any:
        """Return the next message of the server."""
        message: HTTPReceiveMessage = await self._receive()  # type: ignore[assignment]  # of HTTP
        if message["type"] == "http.request":
            self.is_complete = not message.get("more_body", False)
        return message
