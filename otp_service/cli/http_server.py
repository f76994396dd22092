"""How the service runs Granian: one listener in the running event loop, its limits and its end.

Granian's own supervisor is not used: it does not wait until a worker serves before it stops the one
before it. `supervisor.py` does.
"""

import asyncio
import os
import resource
import socket
import sys
from typing import Any, Final

from granian._futures import _new_cbscheduler
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.http import HTTP1Settings
from litestar.types import ASGIApp, Send

from otp_service.cli.command import CommandError


MAX_HEADER_BYTES: Final = 16 * 1024
"""Request line and headers together; more is 431. Granian also refuses more than 100 headers."""

IDLE_SECONDS: Final = 65
"""Seconds from the opening of a connection, or from its last response, to a complete header.

hyper has one timer for a header that is incomplete and for a connection that is idle. Load balancers
reuse a connection that was idle for up to 60 s (nginx, AWS), and must not find it closed.
"""

UNSENT_DATA_MILLISECONDS: Final = 60_000
"""Time after which the kernel closes a connection whose client does not take its response."""

BACKLOG_CONNECTIONS: Final = 2048

MAX_DESCRIPTORS: Final = 65_536

MAX_CONNECTIONS: Final = 4096
"""Open connections of one listener. More wait in the backlog until one is closed."""


class HttpServer:
    """Serves an ASGI application over HTTP/1.1 on a socket, from `start` until `stop`.

    `Upgrade` is ignored, as RFC 9110 §7.8 allows: the body is read by its length. A task that serves
    a request is not canceled when its client disconnects.
    """

    def __init__(
        self, app: ASGIApp, listener: socket.socket, *, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self._app = app
        self._listener = listener
        self._max_connections = max_connections
        self._signal = WorkerSignal()
        self._stopped: asyncio.Future[None] | None = None
        self._is_retiring = False

    def start(self) -> None:
        """Accept connections from now on; the socket remains the caller's."""
        loop = asyncio.get_running_loop()
        self._stopped = stopped = loop.create_future()

        def report_stop() -> None:
            if not stopped.done():
                stopped.set_result(None)

        self._signal.add_cb(lambda: loop.call_soon_threadsafe(report_stop))
        worker = self._create_granian_worker()
        # Granian is typed, but these are not in its stubs.
        scheduler = _new_cbscheduler(loop, self._serve_request, impl_asyncio=True)  # type: ignore[no-untyped-call]
        worker.serve_async(scheduler, loop, self._signal)

    def retire(self) -> None:
        """Close each connection after its next response."""
        self._is_retiring = True

    async def stop(self, timeout_seconds: float) -> bool:
        """Accept no more connections, and let running requests finish; return whether all did."""
        if self._stopped is None:
            return True
        self._signal.set()
        done, _ = await asyncio.wait([self._stopped], timeout=timeout_seconds)
        return bool(done)

    async def _serve_request(self, call: Any) -> None:
        """Run the application for one request, as Granian's own wrapper does."""
        scope = call.scope
        scope.update(root_path="", state={})
        send = _close_after(call.proto.send) if self._is_retiring else call.proto.send
        try:
            await self._app(scope, call.proto.receive, send)
        except BaseException as error:  # noqa: BLE001  # Granian answers 500, and logs it
            call.err(error)
        else:
            call.done()

    def _create_granian_worker(self) -> Any:
        # Granian closes the socket that it is given.
        fd, is_unix = os.dup(self._listener.fileno()), False
        holder = SocketHolder(fd, is_unix, BACKLOG_CONNECTIONS)  # type: ignore[call-arg]
        settings = HTTP1Settings(
            header_read_timeout=IDLE_SECONDS * 1000, max_buffer_size=MAX_HEADER_BYTES
        )
        return ASGIWorker(  # type: ignore[call-arg]
            worker_id=1,
            sock=(None, holder),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=1,
            py_threads_idle_timeout=30,
            backpressure=self._max_connections,
            http_mode="1",
            http1_opts=settings,
            http2_opts=None,
            websockets_enabled=False,
            static_files=None,
        )


def _close_after(send: Send) -> Send:
    """Return a `send` whose response closes the connection."""

    async def send_last(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    return send_last


def open_listener(host: str, port: int, *, advice: str) -> socket.socket:
    """Return a listening socket. Raises CommandError with the advice if it cannot be used."""
    sock = bind_listener(host, port, advice=advice)
    sock.listen(BACKLOG_CONNECTIONS)
    return sock


def bind_listener(host: str, port: int, *, advice: str, is_shared: bool = False) -> socket.socket:
    """Return a socket that does not listen yet. Raises CommandError with the advice.

    With `is_shared` other sockets of this user may be bound to the same address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    _set_options(sock, is_shared=is_shared)
    try:
        sock.bind((host, port))
    except (OSError, OverflowError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or "a port must be from 0 to 65535"
        raise CommandError(f"cannot listen on {host}:{port}: {reason}. {advice}") from error
    sock.settimeout(0)
    return sock


def _set_options(sock: socket.socket, *, is_shared: bool) -> None:
    """Set the options of a listener, which Linux copies to its connections."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if is_shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sys.platform == "linux":
        option = socket.TCP_USER_TIMEOUT
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_DATA_MILLISECONDS)


def format_address(sock: socket.socket) -> str:
    """Return host and port in the form of a URL."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors, of which each connection needs one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
