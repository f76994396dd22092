"""A client that sends bytes as they are, and reads the responses one by one."""

import contextlib
import socket
import time
from typing import Any, BinaryIO, NamedTuple, Self

from tests.processes import WAIT_TIMEOUT_SECONDS, HttpResponse


SEGMENT_PAUSE_SECONDS = 0.05
"""Real time between two segments: the kernel would join them, and no server reports a read."""

PROBE = b"GET /probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
"""A request that is 404 on every listener. It shows where the server expects the next request."""


class Exchange(NamedTuple):
    """What a server answered on one connection."""

    responses: list[HttpResponse]
    probe: HttpResponse | None
    """The response to PROBE, sent after the others; None if the connection was closed."""

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]


class RawClient:
    """One connection to a server on loopback."""

    def __init__(self, port: int, *, timeout_seconds: float = WAIT_TIMEOUT_SECONDS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
        self._socket.close()

    def send(self, *segments: bytes, pause_seconds: float = SEGMENT_PAUSE_SECONDS) -> None:
        """Send each segment by itself. A refusal may close the connection before the last one."""
        for i, segment in enumerate(segments):
            time.sleep(pause_seconds if i else 0)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.sendall(segment)

    def shut_down_sending(self) -> None:
        """Say that no more bytes follow."""
        self._socket.shutdown(socket.SHUT_WR)

    def read_response(self, *, has_body: bool = True) -> HttpResponse | None:
        """Return the next response, or None if the connection is closed. Raises TimeoutError.

        `has_body` is false for the response to a HEAD.
        """
        with contextlib.suppress(ConnectionResetError):
            line = self._stream.readline()
            if line:
                return self._read_rest(line, has_body=has_body)
        return None

    def _read_rest(self, line: bytes, *, has_body: bool) -> HttpResponse:
        version, status, *_ = line.decode("ascii").split(" ")
        assert version.startswith("HTTP/1."), line
        headers: dict[str, str] = {}
        while (field := self._stream.readline()) not in {b"\r\n", b""}:
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0)) if has_body else 0
        return HttpResponse(int(status), headers, self._stream.read(length))


def exchange(port: int, *segments: bytes, count: int, **options: Any) -> Exchange:
    """Send segments, read as many responses as are expected, then send PROBE."""
    with RawClient(port) as client:
        client.send(*segments)
        answers = [client.read_response(**options) for _ in range(count)]
        client.send(PROBE)
        probe = client.read_response()
        further = client.read_response() if probe else None
        assert further is None, f"a response too many: {further}"
    return Exchange([answer for answer in answers if answer], probe)
