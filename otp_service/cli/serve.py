"""`otp-service serve`: the service for production, with several workers and one admin listener.

uvicorn's supervisor keeps the workers alive, replaces them one by one on SIGHUP (that is how keys
and settings are rotated), and ends them on SIGTERM: what is in flight finishes, nothing new is let
in. The admin listener runs in the parent and speaks for all workers.
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
from otp_service.cli.loop_thread import LoopThread
from otp_service.cli.sealer_runner import SealerThread, require_usable_archive
from otp_service.cli.uvicorn_servers import create_uvicorn_config, open_listener
from otp_service.core.errors import StoreUnavailable
from otp_service.settings import Settings
from otp_service.store import health


logger = logging.getLogger(__name__)

WORKER_FACTORY = "otp_service.cli.serve:create_worker"

CONFIG_PATH_VARIABLE = "_OTP_CONFIG_FILE"
"""How workers, which are processes of their own, learn which file was meant."""


def register_commands(subparsers: Subparsers) -> None:
    """Describe the command."""
    add_command(subparsers, "serve", run_serve)


def run_serve(args: argparse.Namespace) -> int:
    """Start the service for production.

    Starts the workers and the admin listener, and stays until a signal comes. SIGHUP
    replaces the workers one by one with the settings as they are then; SIGTERM lets
    what is in flight finish.

    examples:
      otp-service serve --config otp.toml
    """
    if API_KEY_VARIABLE in os.environ:
        raise CommandError(
            f"{API_KEY_VARIABLE} is for 'dev'. Unset it, and use [[tenants.NAME.keys]]."
        )
    settings = read_safe_settings(args.config)
    os.environ[CONFIG_PATH_VARIABLE] = str(args.config.resolve())
    service = settings.service
    telemetry.configure_logging(service.log_level, sys.stdout)
    _require_safe_redis(settings)
    require_usable_archive(settings)
    with telemetry.share_metrics_folder():
        public = open_listener(service.host, service.port)
        admin = open_listener(service.admin_host, service.admin_port)
        sealer = SealerThread()
        if has_sealer(settings):
            sealer.start(settings)
        beside = LoopThread(lambda settings, stop: _run_admin_listener(settings, admin, stop))
        beside.start(settings)
        config = create_uvicorn_config(
            WORKER_FACTORY, service.drain_seconds, workers=service.workers
        )
        ServeSupervisor(config, args.config, sealer, beside, sockets=[public]).run()
        beside.stop(service.drain_seconds)
        sealer.stop(service.drain_seconds)
    return 0


def has_sealer(settings: Settings) -> bool:
    """Whether `serve` seals with these settings."""
    return settings.audit.archive is not None and settings.audit.seal == "serve"


class ServeSupervisor(Multiprocess):
    """Stops listening as it ends its workers.

    Each of them closes its own end of the socket; while uvicorn kept this one open, whoever
    called would be connected, and wait for nobody until the last worker has finished.

    With the workers, the sealer and the admin listener get the keys that are in force then: the
    one checks MACs, the other lets in who has a key.
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
            logger.exception("admin listener and sealer go on with the settings that they have")
            return
        self._admin_thread.stop(settings.service.drain_seconds)
        self._admin_thread.start(settings)
        try:
            require_usable_archive(settings)
        except CommandError:
            logger.exception("the sealer goes on with the settings that it has")
            return
        self._sealer_thread.stop(settings.service.drain_seconds)
        if has_sealer(settings):
            self._sealer_thread.start(settings)

    def terminate_all(self) -> None:
        """Let nobody in any more, and ask the workers to finish."""
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


def create_worker() -> Litestar:
    """Return the application of one worker; uvicorn calls this in each."""
    try:
        settings = read_safe_settings(Path(os.environ[CONFIG_PATH_VARIABLE]))
    except CommandError as error:
        print(f"otp-service: {error}", file=sys.stderr)
        sys.exit(STARTUP_FAILURE)  # the supervisor tries no further, or keeps the old worker
    telemetry.configure_logging(settings.service.log_level, sys.stdout)
    application = create_worker_app(Application(settings))
    # What is there now stays, and of what a request makes next to nothing waits for the collector,
    # which by default looks after every 700 objects.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    return application


async def find_redis_errors(settings: Settings) -> list[str]:
    """Return what makes the live Redis unsafe to run with, or raise StoreUnavailable."""
    async with create_client(settings) as link:
        found = await health.find_issues(link, max_stream_entries=settings.events.maximum)
    return [f"{setting}: {remedy}" for setting, remedy in found]


def _require_safe_redis(settings: Settings) -> None:
    """Refuse a Redis that would lose limits; one that is away may still come."""
    try:
        found = asyncio.run(find_redis_errors(settings))
    except StoreUnavailable:
        logger.warning("Redis does not answer yet; every call is 503 until it does")
    else:
        if found:
            raise CommandError(f"Redis is not safe to run with:\n{format_list(found)}")


async def _run_admin_listener(settings: Settings, sock: socket.socket, stop: asyncio.Event) -> None:
    async with Application(settings, is_supervisor=True) as app:
        server = uvicorn.Server(
            create_uvicorn_config(create_admin_app(app), settings.service.drain_seconds)
        )
        # A copy: uvicorn closes what it is given, and who comes meanwhile waits for the next one.
        serving = asyncio.create_task(server.serve(sockets=[sock.dup()]))
        await stop.wait()
        server.should_exit = True
        await serving
