"""An HTTP proxy on loopback that loses replies of the service, for tests of client libraries.

    with FaultyHttpProxy(service.port) as proxy:
        proxy.fail_next(HttpFailure.LOST_REPLY)
        …a call to proxy.url, whose reply is lost…
        assert ["k-1", "k-1"] == [each.headers["idempotency-key"] for each in proxy.requests]

A client in another process sets the same by `POST /faults` with `{"failure": "LOST_REPLY", "times": 1}`
or `{"reply": "HTTP/1.1 302 …"}`, and lists the requests by `GET /requests`.
"""

import http.client
import http.server
import json
import threading
from collections import deque
from enum import Enum, auto
from typing import Any, NamedTuple, Self


TIMEOUT_SECONDS = 30.0
"""Seconds until anything that waits gives up."""

HOP_HEADERS = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
"""What belongs to a connection, and not to the message that is forwarded."""


class HttpFailure(Enum):
    """How a request fails. The service runs it in all cases but the first."""

    LOST_REQUEST = auto()
    """The connection is closed before the service gets the request."""
    LOST_REPLY = auto()
    """The connection is closed instead of the reply."""
    HALF_REPLY = auto()
    """The connection is closed after a part of the reply's body."""
    SILENCE = auto()
    """Nothing is sent, until the client closes the connection."""


class ProxiedRequest(NamedTuple):
    """A request as the client sent it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class FaultyHttpProxy(http.server.ThreadingHTTPServer):
    """Forwards each request to the service on `target_port`, unless a fault is set."""

    daemon_threads = True

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.target_port = target_port
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[ProxiedRequest] = []
        self.faults: deque[HttpFailure | bytes] = deque()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join(TIMEOUT_SECONDS)
        self.server_close()

    def fail_next(self, fault: HttpFailure | bytes, times: int = 1) -> None:
        """Do this to the next requests. Bytes are sent instead of forwarding the request."""
        self.faults.extend([fault] * times)

    def set_faults(self, wanted: dict[str, Any]) -> None:
        """Replace the faults by what another process wants."""
        self.faults.clear()
        reply: str | None = wanted.get("reply")
        fault = HttpFailure[wanted["failure"]] if reply is None else reply.encode()
        self.fail_next(fault, wanted.get("times", 1))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: the client has closed the connection."""


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # see tests/processes.py
    timeout = TIMEOUT_SECONDS
    server: FaultyHttpProxy

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/faults":
            self.server.set_faults(json.loads(body))
            self._send(204, {}, b"")
        elif self.path == "/requests":
            listed = [(each.method, each.path, each.headers) for each in self.server.requests]
            self._send(200, {}, json.dumps(listed).encode())
        else:
            self._proxy(body)

    do_GET = do_POST = do_DELETE = handle_request  # noqa: N815  # named by the base class

    def _proxy(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(ProxiedRequest(self.command, self.path, headers, body))
        fault = self.server.faults.popleft() if self.server.faults else None
        if isinstance(fault, bytes):
            self.wfile.write(_add_close_header(fault))
        elif fault is None:
            self._send(*self._forward(headers, body))
        elif fault is not HttpFailure.LOST_REQUEST:
            self._break(fault, *self._forward(headers, body))
        self.close_connection |= fault is not None

    def _forward(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the service's reply."""
        kept = {name: value for name, value in headers.items() if name not in HOP_HEADERS}
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.server.target_port, timeout=TIMEOUT_SECONDS
        )
        try:
            connection.request(self.command, self.path, body or None, kept)
            reply = connection.getresponse()
            replied = {n: v for n, v in reply.getheaders() if n.lower() not in HOP_HEADERS}
            return reply.status, replied, reply.read()
        finally:
            connection.close()

    def _break(
        self, failure: HttpFailure, status: int, headers: dict[str, str], body: bytes
    ) -> None:
        if failure is HttpFailure.HALF_REPLY:
            self._send(status, headers, body, sent_bytes=len(body) // 2)
        elif failure is HttpFailure.SILENCE:
            self.rfile.read(1)  # returns when the client closes the connection

    def _send(
        self, status: int, headers: dict[str, str], body: bytes, *, sent_bytes: int | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent_bytes])

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # named by the base class
        """Log nothing."""


def _add_close_header(reply: bytes) -> bytes:
    """Return a reply that says that the connection is closed: a client could send its next request there."""
    return reply.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
