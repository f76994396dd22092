"""uvicorn, as we run it: several applications in one loop, one way to stop them."""

import asyncio
import signal
import socket
from collections.abc import Sequence

import uvicorn
from litestar import Litestar

from otp_service.cli.errors import CommandError


KEEP_ALIVE = 65
"""Seconds that an idle connection of a login back end is kept."""


def config_for(app: Litestar | str, drain: int, *, workers: int = 1) -> uvicorn.Config:
    """Return how uvicorn serves an application; it neither logs nor names itself.

    With a string, which names a function that makes one, the application starts and ends itself.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        log_config=None,
        access_log=False,
        lifespan="on" if isinstance(app, str) else "off",
        ws="none",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=drain,
        h11_max_incomplete_event_size=16 * 1024,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; CommandError says what to change if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise CommandError(
            f"cannot listen on {host}:{port}: {error.strerror}. "
            "Choose another address with --host and --port (or --admin-port)."
        ) from error
    sock.listen(2048)
    sock.settimeout(0)
    return sock


def address_of(sock: socket.socket) -> str:
    """Return host and port as they stand in a URL."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve_until_stopped(
    configs: Sequence[tuple[uvicorn.Config, socket.socket]], stop: asyncio.Event
) -> None:
    """Serve until `stop` is set or a signal comes; requests in flight finish first."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    servers = [(uvicorn.Server(config), sock) for config, sock in configs]
    # `_serve` is `serve` without uvicorn's own signal handlers, of which there can be one set.
    running = [
        asyncio.create_task(one._serve(sockets=[sock]))  # noqa: SLF001
        for one, sock in servers
    ]
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait([waiting, *running], return_when=asyncio.FIRST_COMPLETED)
    for one, _ in servers:
        one.should_exit = True
    waiting.cancel()
    await asyncio.gather(*running)
