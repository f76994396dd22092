"""The supervisor's side of a worker: starts the process, sends it orders, and follows its reports."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from typing import Self

import msgspec

from otp_service.app import hash_settings
from otp_service.cli.common import Configuration
from otp_service.cli.worker import RETIRE_ORDER, SERVE_ORDER, WorkerReport
from otp_service.cli.worker_plan import WorkerState, WorkerView
from otp_service.clock import now_ms
from otp_service.settings import ConfigurationSource


logger = logging.getLogger(__name__)

WORKER_MODULE = "otp_service.cli.worker_main"


class WorkerProcess:
    """One worker, from its start to its end; `changed` is called whenever it reports or ends."""

    def __init__(
        self, process: Process, configuration: Configuration, slot: int, generation: int
    ) -> None:
        self._process = process
        self.slot, self.generation, self.started_at = slot, generation, now_ms()
        self.configuration_hash = hash_settings(configuration.settings)
        self.state = WorkerState.STARTING
        self.failure = ""
        """What it reported before it ended."""
        self.has_served = self.was_asked_to_stop = self._is_killed = False
        self.silent_ticks = self.stopping_ticks = 0
        self._channel: asyncio.StreamWriter | None = None

    @classmethod
    async def start(
        cls,
        listener: socket.socket,
        configuration: Configuration,
        changed: Callable[[], None],
        *,
        slot: int,
        generation: int,
    ) -> Self:
        """Start a process that serves on the listener once it is ordered to. Raises OSError."""
        ours, theirs = socket.socketpair()
        fds = theirs.fileno(), listener.fileno()
        # With -P the working directory is not searched for modules, which `-m` does by default.
        flags = ["-P", "-m", WORKER_MODULE]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *flags, *map(str, fds), pass_fds=fds, stdin=DEVNULL, env=environ
            )
        worker = cls(process, configuration, slot, generation)
        await worker._open_channel(ours, configuration.source, changed)
        return worker

    async def _open_channel(
        self, sock: socket.socket, source: ConfigurationSource, changed: Callable[[], None]
    ) -> None:
        reader, self._channel = await asyncio.open_connection(sock=sock)
        self._channel.write(msgspec.json.encode(source) + b"\n")
        self._tasks = [asyncio.create_task(self._follow_reports(reader, changed))]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def view(self) -> WorkerView:
        return WorkerView(
            self.pid,
            self.slot,
            self.generation,
            self.state,
            self.silent_ticks,
            self.stopping_ticks,
        )

    def count_tick(self) -> None:
        self.silent_ticks += 1
        self.stopping_ticks += self.state is WorkerState.STOPPING

    def order_to_serve(self) -> None:
        assert self._channel
        self._channel.write(SERVE_ORDER)

    def describe_end(self) -> str:
        """Return how it ended, as the rest of a sentence about it."""
        code = self.exit_code or 0
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"{how} ({self.failure})" if self.failure else how

    def retire(self) -> None:
        """Ask it to send its clients to other workers, then to finish its requests and to end."""
        assert self._channel
        self._mark_as_stopping()
        self._channel.write(RETIRE_ORDER)

    def stop(self) -> None:
        """Ask it to finish its requests and to end."""
        self._mark_as_stopping()
        self._send_signal(signal.SIGTERM)

    def _mark_as_stopping(self) -> None:
        logger.info("worker %d is to stop", self.pid)
        self.was_asked_to_stop, self.state = True, WorkerState.STOPPING

    def kill(self) -> None:
        """End it at once."""
        if not self._is_killed:
            logger.warning("worker %d is %s, and is killed", self.pid, self.state)
        self._is_killed, self.state = True, WorkerState.STOPPING
        self._send_signal(signal.SIGKILL)

    def _send_signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _follow_reports(
        self, reader: asyncio.StreamReader, changed: Callable[[], None]
    ) -> None:
        with contextlib.suppress(OSError):
            async for line in reader:
                self._take_report(msgspec.json.decode(line, type=WorkerReport), changed)
        await self._process.wait()
        assert self._channel
        self._channel.close()
        changed()

    def _take_report(self, report: WorkerReport, changed: Callable[[], None]) -> None:
        self.silent_ticks = 0
        if report.state == "failed":
            self.failure = report.reason
        elif report.state != "alive" and self.state is not WorkerState.STOPPING:
            self.state = WorkerState(report.state)
            if self.state is WorkerState.SERVING:
                self.has_served = True
                logger.info("worker %d serves in slot %d", self.pid, self.slot + 1)
            changed()
