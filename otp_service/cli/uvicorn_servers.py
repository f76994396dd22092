"""How the service runs uvicorn: its protocol, its configuration, several servers in one loop."""

import asyncio
import signal
import socket
from collections.abc import Sequence

import msgspec
import uvicorn
from litestar import Litestar
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from otp_service.api.problems import build_problem
from otp_service.cli.command import CommandError
from otp_service.core.errors import InvalidRequest
from otp_service.schemas import Problem


UNREADABLE_REQUEST_PROBLEM = build_problem(
    InvalidRequest(
        ("", "cannot be read"),
        detail="The request is not valid HTTP/1.1. Use a standard method, headers and framing.",
    )
)

UPGRADE_REFUSED = build_problem(
    InvalidRequest(
        ("", "asks for another protocol"),
        detail="The protocol cannot be changed. Send the request without the Upgrade header.",
    )
)

KEEP_ALIVE_SECONDS = 65
"""Seconds that an idle connection is kept open: login back ends reuse theirs."""

WORKER_ANSWER_SECONDS = 60
"""Seconds in which a worker has to answer its supervisor, also while it starts.

uvicorn kills a worker that takes longer. At start it then starts another one; on SIGHUP it abandons
the reload and keeps the old workers, which continue to accept revoked keys. Its default of 5 s is too
short on a busy CPU: at a load of 8 on 2 cores 29 of 35 reloads were abandoned. The price: a worker
that hangs is replaced after a minute, and the supervisor handles no signal while it waits.
"""


class ProtocolRefused(Exception):
    """A request asks for another protocol than HTTP/1.1; raised to stop the parser."""


class ProblemHttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 parsed by httptools; a refusal is a problem document and closes the connection.

    A request that asks for another protocol is refused before its body is read: httptools drops
    such a body, or parses it as the next request if it comes in a later segment
    (MagicStack/httptools#124, Kludex/uvicorn#2722). Behind a proxy that reuses connections, a
    client could then choose the response to another client's request. RFC 9110 §7.8 wants `Upgrade`
    ignored, which httptools cannot do.
    """

    _refusal: Problem | None = None
    """The last response on this connection, or None: nothing is parsed after a refusal."""

    def data_received(self, data: bytes) -> None:
        """Parse a segment, or discard it after a refusal."""
        if self._refusal is None:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        """Start or queue the request, unless it asks for another protocol."""
        if any(name == b"upgrade" for name, _ in self.headers):
            self._refusal = UPGRADE_REFUSED
            raise ProtocolRefused
        if self.parser.should_upgrade():  # CONNECT, which needs no header
            raise ProtocolRefused
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # as uvicorn calls it
        """Refuse the request parsed last, after the responses to the requests before it."""
        self._refusal = self._refusal or UNREADABLE_REQUEST_PROBLEM
        # A request with an incomplete body is the refused one, and gets no other response.
        is_behind = self.cycle and not self.cycle.more_body and not self.cycle.response_complete
        if not is_behind:
            self._refuse(self._refusal)

    def on_response_complete(self) -> None:
        """Start the next request in the pipeline, or send the refusal after the last one."""
        was_last = not self.pipeline
        super().on_response_complete()
        if self._refusal and was_last and not self.transport.is_closing():
            self._refuse(self._refusal)

    def _refuse(self, problem: Problem) -> None:
        """Respond with 400, and close the connection."""
        body = msgspec.json.encode(problem)
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"
            b"cache-control: no-store\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()


def create_uvicorn_config(
    app: Litestar | str, drain_seconds: int, *, workers: int = 1
) -> uvicorn.Config:
    """Return a configuration without uvicorn's log, `Server` header and WebSockets.

    A string names a function that returns the application, whose lifespan uvicorn then runs.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        log_config=None,
        access_log=False,
        lifespan="on" if isinstance(app, str) else "off",
        http=ProblemHttpProtocol,
        ws="none",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=WORKER_ANSWER_SECONDS,
        timeout_graceful_shutdown=drain_seconds,
        h11_max_incomplete_event_size=16 * 1024,
    )


def open_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises CommandError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or "a port must be from 0 to 65535"
        advice = "Choose another address with --host and --port (or --admin-port)."
        raise CommandError(f"cannot listen on {host}:{port}: {reason}. {advice}") from error
    sock.listen(2048)
    sock.settimeout(0)
    return sock


def format_address(sock: socket.socket) -> str:
    """Return host and port in the form of a URL."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve_until_stopped(
    configs: Sequence[tuple[uvicorn.Config, socket.socket]], stop: asyncio.Event
) -> None:
    """Serve until `stop` is set or SIGINT or SIGTERM arrives; finish the requests in flight."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    servers, tasks = [uvicorn.Server(config) for config, _ in configs], []
    for server, (_, sock) in zip(servers, configs, strict=True):
        # `_serve` is `serve` without uvicorn's signal handlers, of which a process can have one set.
        tasks.append(asyncio.create_task(server._serve(sockets=[sock])))  # noqa: SLF001
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for server in servers:
        server.should_exit = True
    stopped.cancel()
    await asyncio.gather(*tasks)
