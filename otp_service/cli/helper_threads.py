"""What runs in the supervisor's own process: the admin listener and the sealer, each in a thread."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator

from otp_service.app import Application, create_admin_app, hash_settings
from otp_service.cli.http_server import ConnectionLimits, HttpServer
from otp_service.cli.loop_thread import LoopThread
from otp_service.cli.sealer_runner import SealerThread
from otp_service.clock import now_ms
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import ProcessStatus, ServiceStatus
from otp_service.settings import Settings


logger = logging.getLogger(__name__)


class AdminThread(LoopThread):
    """Serves the admin listener; `read_status` returns what it serves at /status."""

    def __init__(self, listener: socket.socket, read_status: Callable[[], ServiceStatus]) -> None:
        super().__init__(self._serve)
        self._listener = listener
        self._read_status = read_status
        self._application: Application | None = None

    async def _serve(self, settings: Settings, stop: asyncio.Event) -> None:
        async with Application(settings, is_supervisor=True) as application:
            self._application = application
            application.metrics.observe_status(self._read_status)
            server = HttpServer(
                create_admin_app(application, self._read_status),
                self._listener,
                ConnectionLimits.for_admin(settings.service),
                application.metrics,
            )
            server.start()
            await stop.wait()
            await server.stop(settings.service.drain_seconds)
            self._application = None

    def record_service_change(self, reason: str) -> None:
        """Record the event in the background, if the listener runs and Redis answers."""
        application = self._application
        if application is not None and self.loop is not None:
            record = application.system_events.record_service_change(reason)
            asyncio.run_coroutine_threadsafe(record, self.loop)


class HelperThreads:
    """Starts, switches and stops the helpers; all methods but `list_processes` may block."""

    def __init__(self, admin: AdminThread) -> None:
        self.admin = admin
        self._sealer = SealerThread()
        self._settings: dict[str, tuple[Settings, int]] = {}
        """Of each helper that is to run: its settings, and since when it runs."""

    def start(self, settings: Settings) -> None:
        self._start("admin", self.admin, settings)
        if has_sealer(settings):
            self._start("sealer", self._sealer, settings)

    def switch(self, settings: Settings) -> None:
        """Stop the helpers, and start them with other settings."""
        seconds = settings.service.drain_seconds
        self.admin.stop(seconds)
        self._start("admin", self.admin, settings)
        self._sealer.stop(seconds)
        self._settings.pop("sealer", None)
        if has_sealer(settings):
            self._start("sealer", self._sealer, settings)

    def stop(self, timeout_seconds: float) -> None:
        """Stop the helpers; the sealer seals the events of the workers' end."""
        self._settings.clear()
        self.admin.stop(timeout_seconds)
        self._sealer.stop(timeout_seconds)

    def restart_ended(self) -> None:
        """Start a helper again that has ended by itself."""
        for role, thread in self._list_threads():
            if role in self._settings and not thread.is_running:
                logger.error("%s has ended, and is started again", role)
                self._start(role, thread, self._settings[role][0])

    def list_processes(self) -> Iterator[ProcessStatus]:
        for role, thread in self._list_threads():
            if role in self._settings:
                settings, started_at = self._settings[role]
                yield ProcessStatus(
                    role=role,
                    pid=os.getpid(),
                    configuration=hash_settings(settings),
                    started_at=format_rfc3339(started_at),
                    state="serving" if thread.is_running else "ended",
                    ready=thread.is_running,
                )

    def _start(self, role: str, thread: LoopThread, settings: Settings) -> None:
        self._settings[role] = settings, now_ms()
        thread.start(settings)

    def _list_threads(self) -> tuple[tuple[str, LoopThread], ...]:
        return ("admin", self.admin), ("sealer", self._sealer)


def has_sealer(settings: Settings) -> bool:
    return settings.audit.archive_folder is not None and settings.audit.seal == "serve"
