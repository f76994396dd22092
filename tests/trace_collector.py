"""A trace collector on loopback."""

import http.server
import threading
from collections.abc import Mapping
from typing import Self


class TraceCollector(http.server.ThreadingHTTPServer):
    """Receives spans over HTTP, or does not respond while `is_hanging`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CollectorHandler)
        self.is_hanging = False
        self._stopped = threading.Event()
        self.calls: list[tuple[str, Mapping[str, str], bytes]] = []
        """Path, headers by lower-case names, and body of each call."""

    @property
    def url(self) -> str:
        """The URL of its trace endpoint."""
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    @property
    def bodies(self) -> bytes:
        """All request bodies, joined: protocol buffers contain texts unchanged."""
        return b"".join(body for _, __, body in self.calls)

    def accept_call(self, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Record a call and return True; while hanging, wait for the end and return False."""
        if self.is_hanging:
            return not self._stopped.wait()
        self.calls.append((path, {name.lower(): headers[name] for name in headers}, body))
        return True

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.shutdown()
        self.server_close()


class CollectorHandler(http.server.BaseHTTPRequestHandler):
    """One call of an exporter."""

    server: TraceCollector

    def do_POST(self) -> None:
        """Respond after the call is recorded."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.accept_call(self.path, dict(self.headers), body):
            self.send_response(200)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""
