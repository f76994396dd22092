"""`serve`: the service for production, with several workers and one admin listener.

uvicorn's supervisor restarts workers that end, replaces them one by one on SIGHUP (so keys and
settings are rotated), and stops them on SIGTERM: requests in flight finish, and no connection is
accepted. The admin listener runs in the parent process and serves the metrics of all workers.
"""

import argparse
import asyncio
import gc
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn
from litestar import Litestar
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from otp_service import telemetry
from otp_service.app import Application, create_admin_app, create_client, create_worker_app
from otp_service.cli.command import CommandError, Subparsers, add_command, format_list
from otp_service.cli.common import read_safe_settings
from otp_service.cli.dev import API_KEY_VARIABLE
from otp_service.cli.sealer_runner import LoopThread, SealerThread, require_usable_archive
from otp_service.cli.secret_files import find_exposed_files
from otp_service.cli.uvicorn_servers import create_uvicorn_config, open_listener
from otp_service.clock import now_ms
from otp_service.core.errors import StoreUnavailable
from otp_service.settings import Settings, find_expired_tenants
from otp_service.store import health


logger = logging.getLogger(__name__)

WORKER_FACTORY = "otp_service.cli.serve:create_worker"

CONFIG_PATH_VARIABLE = "_OTP_CONFIG_FILE"
"""Passes the path of the configuration to the workers, which are separate processes."""


def register_commands(subparsers: Subparsers) -> None:
    add_command(subparsers, "serve", run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Run the service for production.

    Starts the workers, the admin listener and, with [audit] seal = 'serve', the sealer.
    Logs to standard output, one JSON object a line. SIGHUP reads the settings again and
    replaces the workers one by one; SIGTERM and SIGINT finish the requests in flight,
    for at most service.drain_seconds, and stop.

    Exit code 1 if the settings, Redis or the archive are not safe to run with, or an
    address is in use.

    examples:
      otp-service serve
      otp-service serve --config /etc/otp/otp.toml
    """
    if API_KEY_VARIABLE in os.environ:
        text = f"{API_KEY_VARIABLE} is only for 'dev'. Unset it, and use [[tenants.NAME.keys]]."
        raise CommandError(text)
    settings = read_safe_settings(args.config)
    os.environ[CONFIG_PATH_VARIABLE] = str(args.config.resolve())
    service = settings.service
    telemetry.configure_logging(service.log_level, sys.stdout)
    log_tolerated_issues(args.config, settings)
    _require_safe_redis(settings)
    require_usable_archive(settings)
    with telemetry.share_metrics_folder():
        public = open_listener(service.host, service.port)
        admin = open_listener(service.admin_host, service.admin_port)
        sealer = SealerThread()
        if has_sealer(settings):
            sealer.start(settings)
        listener = LoopThread(lambda settings, stop: _run_admin_listener(settings, admin, stop))
        listener.start(settings)
        drain_seconds, workers = service.drain_seconds, service.workers
        config = create_uvicorn_config(WORKER_FACTORY, drain_seconds, workers=workers)
        ServeSupervisor(config, args.config, sealer, listener, sockets=[public]).run()
        listener.stop(drain_seconds)
        sealer.stop(drain_seconds)
    return 0


def has_sealer(settings: Settings) -> bool:
    return settings.audit.archive is not None and settings.audit.seal == "serve"


class ServeSupervisor(Multiprocess):
    """A supervisor that stops listening when it stops its workers.

    Each worker closes its own copy of the socket. uvicorn would keep this one open: a client would be
    connected, and wait without an answer until the last worker has finished.

    SIGHUP gives the new settings to the sealer and the admin listener too, because both use keys: the
    sealer checks MACs, the admin listener checks API keys.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        config_path: Path,
        sealer: SealerThread,
        admin: LoopThread,
        *,
        sockets: list[socket.socket],
    ) -> None:
        super().__init__(config, sockets=sockets)
        self._config_path = config_path
        self._sealer_thread = sealer
        self._admin_thread = admin

    def handle_hup(self) -> None:
        """Replace the workers, the admin listener and the sealer."""
        super().handle_hup()
        try:
            settings = read_safe_settings(self._config_path)
        except CommandError:
            logger.exception("admin listener and sealer keep their settings")
            return
        log_tolerated_issues(self._config_path, settings)
        self._admin_thread.stop(settings.service.drain_seconds)
        self._admin_thread.start(settings)
        try:
            require_usable_archive(settings)
        except CommandError:
            logger.exception("the sealer keeps its settings")
            return
        self._sealer_thread.stop(settings.service.drain_seconds)
        if has_sealer(settings):
            self._sealer_thread.start(settings)

    def terminate_all(self) -> None:
        """Close the listening sockets, and ask the workers to finish."""
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


def create_worker() -> Litestar:
    """Return the application of a worker; uvicorn calls this in each worker process."""
    try:
        settings = read_safe_settings(Path(os.environ[CONFIG_PATH_VARIABLE]))
    except CommandError as error:
        print(f"otp-service: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)  # the supervisor stops, or keeps the old worker
    telemetry.configure_logging(settings.service.log_level, sys.stdout)
    application = create_worker_app(Application(settings))
    # The objects of now stay, and a request leaves few cycles, but by default the garbage collector
    # runs after every 700 objects.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return application


async def find_redis_errors(settings: Settings) -> list[str]:
    """Return what makes the live Redis unsafe. Raises StoreUnavailable."""
    async with create_client(settings) as client:
        issues = await health.find_issues(client, max_stream_entries=settings.events.maximum)
    return [f"{setting}: {remedy}" for setting, remedy in issues]


def log_tolerated_issues(config: Path, settings: Settings) -> None:
    """Log what `check` refuses and the service can run with: expired keys, exposed files."""
    for issue in find_expired_tenants(settings, now_ms()):
        logger.warning("every API key has expired, and calls with one are 401: %s", issue)
    for exposed in find_exposed_files(config, settings):
        logger.warning("%s", exposed)


def _require_safe_redis(settings: Settings) -> None:
    """Raise CommandError for a Redis that could lose limits; an unavailable one may start later."""
    try:
        errors = asyncio.run(find_redis_errors(settings))
    except StoreUnavailable:
        logger.warning("Redis does not answer; every request is 503 until it does")
    else:
        if errors:
            raise CommandError(f"Redis is not safe to run with:\n{format_list(errors)}")


async def _run_admin_listener(settings: Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    async with Application(settings, is_supervisor=True) as app:
        drain_seconds = settings.service.drain_seconds
        server = uvicorn.Server(create_uvicorn_config(create_admin_app(app), drain_seconds))
        # A copy, because uvicorn closes its socket: connections wait for the next listener.
        server_task = asyncio.create_task(server.serve(sockets=[sock.dup()]))
        await stop.wait()
        server.should_exit = True
        await server_task
