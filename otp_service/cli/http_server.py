"""How the service runs Granian: one listener in the running event loop, its limits and its end.

Granian's own supervisor is not used: it does not wait until a worker serves before it stops the one
before it. `supervisor.py` does.
"""

import asyncio
import os
import socket
from typing import Any, Final

import msgspec
from granian._futures import _new_cbscheduler
from granian._granian import ASGIWorker, SocketHolder, WorkerSignal
from granian.http import HTTP1Settings
from litestar.types import ASGIApp

from otp_service.cli.connection_monitor import ConnectionMonitor
from otp_service.cli.http_exchange import HttpExchange
from otp_service.cli.listeners import BACKLOG_CONNECTIONS, limit_connections
from otp_service.settings.service_tables import ServiceSettings
from otp_service.telemetry import Metrics


MAX_HEADER_BYTES: Final = 16 * 1024
"""Request line and headers together; more is 431. Granian also refuses more than 100 headers."""

MAX_ADMIN_CONNECTIONS: Final = 256


class ConnectionLimits(msgspec.Struct, frozen=True):
    """How many connections a server has, and how long one without a request is kept."""

    max_connections: int
    """More wait in the backlog until one is closed, and are 503 if that takes seconds."""
    idle_seconds: float
    """From the opening of a connection, or from its last response, to a complete header.

    hyper has one timer for an incomplete header and for an idle connection. It begins when the
    connection is opened or a response is sent, not with the first byte, and Granian has no other
    setting for it. So a shorter deadline for a header would also close connections that a proxy
    keeps for its next request. Granian does not show connections to Python before they have a
    complete header, so nothing else here can close them.
    """

    @classmethod
    def from_settings(cls, service: ServiceSettings) -> "ConnectionLimits":
        """Return the limits of the public listener, in each worker."""
        return cls(limit_connections(service.max_connections), service.idle_seconds)

    @classmethod
    def for_admin(cls, service: ServiceSettings) -> "ConnectionLimits":
        """Return the limits of the admin listener."""
        return cls(limit_connections(MAX_ADMIN_CONNECTIONS), service.idle_seconds)


class HttpServer:
    """Serves an ASGI application over HTTP/1.1 on a socket, from `start` until `stop`.

    `Upgrade` is ignored, as RFC 9110 §7.8 allows: the body is read by its length. A task that serves
    a request is not canceled when its client disconnects.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        limits: ConnectionLimits,
        metrics: Metrics | None = None,
    ) -> None:
        self._app = app
        self._listener = listener
        self._limits = limits
        self._metrics = metrics
        self._monitoring: asyncio.Task[None] | None = None
        self._signal = WorkerSignal()
        self._stopped: asyncio.Future[None] | None = None
        self._is_retiring = False
        self._is_stopping = False

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
        limit = self._limits.max_connections
        # Not `dup()`, which makes the socket block: for Granian, and for the worker that shares it.
        copy = socket.socket(fileno=os.dup(self._listener.fileno()))
        monitor = ConnectionMonitor(copy, limit, self._metrics)
        self._monitoring = asyncio.create_task(monitor.run())

    def retire(self) -> None:
        """Close each connection after its next response."""
        self._is_retiring = True

    async def stop(self, timeout_seconds: float) -> bool:
        """Accept no more connections, and let running requests finish; return whether all did.

        A further call waits for the same end.
        """
        if self._stopped is None or self._monitoring is None:
            return True
        self._monitoring.cancel()
        if not self._is_stopping:
            # Once: Granian receives one signal, so a third `set` would wait for ever, with the GIL.
            self._is_stopping = True
            self._signal.set()
        done, _ = await asyncio.wait([self._stopped], timeout=timeout_seconds)
        return bool(done)

    async def _serve_request(self, call: Any) -> None:
        """Run the application for one request, as Granian's own wrapper does."""
        scope = call.scope
        scope.update(root_path="", state={})
        exchange = HttpExchange(call.proto, scope["headers"], is_last=self._is_retiring)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except BaseException as error:  # noqa: BLE001  # Granian answers 500, and logs it
            call.err(error)
        else:
            call.done()

    def _create_granian_worker(self) -> Any:
        # Granian closes the socket that it is given.
        fd, is_unix = os.dup(self._listener.fileno()), False
        holder = SocketHolder(fd, is_unix, BACKLOG_CONNECTIONS)  # type: ignore[call-arg]
        settings = HTTP1Settings(
            header_read_timeout=round(self._limits.idle_seconds * 1000),
            max_buffer_size=MAX_HEADER_BYTES,
        )
        return ASGIWorker(  # type: ignore[call-arg]
            worker_id=1,
            sock=(None, holder),
            ipc=None,
            threads=1,
            blocking_threads=1,
            py_threads=1,
            py_threads_idle_timeout=30,
            backpressure=self._limits.max_connections,
            http_mode="1",
            http1_opts=settings,
            http2_opts=None,
            websockets_enabled=False,
            static_files=None,
        )
