"""A server with the pages of a test alone, in a thread."""

import asyncio
import threading

from litestar import Litestar

from otp_service.api.problems import build_problem_response
from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.listeners import open_listener


class PageServer:
    """Serves these handlers on a free port of loopback, inside a `with` statement."""

    def __init__(self, handlers):
        app = Litestar(
            handlers,
            exception_handlers={Exception: build_problem_response},
            logging_config=None,
            openapi_config=None,
        )
        self._socket = open_listener("127.0.0.1", 0, advice="")
        self.origin = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=[self._serve(app)]
        )

    async def _serve(self, app):
        server = HttpServer(app, self._socket, ConnectionLimits(64, 65))
        server.start()
        await self._stop.wait()
        await server.stop(1)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()
        self._socket.close()
