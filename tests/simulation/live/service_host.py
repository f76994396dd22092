"""One host of a round: `otp-service serve` with two workers, which is killed, stopped and reloaded."""

import asyncio
import contextlib
import math
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tests.processes import RunningService, _is_alive, _start_command
from tests.simulation.live.observer import build_sitecustomize
from tests.simulation.live.real_time import read_ms, wait_for
from tests.store.redis_servers import find_free_port


WORKERS: Final = 2
START_TIMEOUT_SECONDS: Final = 300.0
"""Of a host, whose processes import it all while others of the same machine compute."""

RELOAD_TIMEOUT_SECONDS: Final = 400.0
"""Longer than the supervisor waits for its new workers before it refuses a reload."""

MAX_STARTS: Final = 10
DONE, REFUSED = "the reload is done", "the reload is refused"
"""What the log says of a reload."""

DISTURBANCE_MS: Final = 15_000
"""How long after a fault of a host its connections may break: those of a worker that drains."""


class ServiceHost:
    """Starts the service again and again at the same port; each start has a log of its own."""

    def __init__(self, name: str, folder: Path, config_path: Path, sitecustomize: str = "") -> None:
        """`sitecustomize` is Python code that each of its processes runs first."""
        self.name = name
        self.port, self.admin_port = find_free_port(), find_free_port()
        self.observations = folder / "observations"
        self._folder = folder
        self._config_path = config_path
        self._sitecustomize = build_sitecustomize(self.observations) + sitecustomize
        self._starts = 0
        self._disturbed_until = 0.0
        self._process = contextlib.ExitStack()
        self._service: RunningService | None = None

    @property
    def service(self) -> RunningService:
        """The running service. Raises RuntimeError before its start."""
        if self._service is None:
            raise RuntimeError(f"host {self.name} was not started")
        return self._service

    @property
    def logs(self) -> list[Path]:
        return sorted(self._folder.glob("serve-*.log"))

    async def start(self) -> None:
        """Start the service, and return once both workers serve and it is ready.

        It ends at once if the store does not answer then. So it is started again, as by systemd.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for _ in range(MAX_STARTS):
            self._start_process()
            await _wait_for(lambda: self._has_ended() or self._is_ready())
            if not self._has_ended():
                return
            await asyncio.to_thread(self._process.close)
        raise RuntimeError(f"host {self.name} does not start:\n{self.logs[-1].read_text()}")

    def _start_process(self) -> None:
        self._starts += 1
        started = _start_command(
            ["serve", "--config", str(self._config_path)],
            self._folder / f"serve-{self._starts:03d}.log",
            {"SERVICE__PORT": str(self.port), "SERVICE__ADMIN_PORT": str(self.admin_port)},
            self._sitecustomize,
        )
        process, log = self._process.enter_context(started)
        self._service = RunningService(
            process, log, port=self.port, admin_port=self.admin_port, keys={}
        )

    async def wait_until_ready(self) -> None:
        """Return once it has its workers, and is ready. Raises TimeoutError."""
        await _wait_for(self._is_ready)

    def _is_ready(self) -> bool:
        return len(self.service.list_worker_pids()) == WORKERS and self.service.is_ready()

    def _has_ended(self) -> bool:
        return self.service.process.poll() is not None

    async def stop(self) -> None:
        """Stop it as an operator does: requests in flight finish."""
        with self._disturb():
            await asyncio.to_thread(self._process.close)

    def kill_worker(self, index: int) -> None:
        """End one of its workers by SIGKILL; the supervisor starts another one."""
        with self._disturb():
            pids = self.service.list_worker_pids()
            if pids:
                _send_signal(pids[index % len(pids)], signal.SIGKILL)

    async def kill(self, *, with_workers: bool) -> None:
        """End the supervisor by SIGKILL, and return when no process of it is left."""
        pids, process = self.service.list_worker_pids(), self.service.process
        with self._disturb():
            if with_workers:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                _send_signal(process.pid, signal.SIGKILL)
            await _wait_for(lambda: process.poll() is not None and not any(map(_is_alive, pids)))
            await asyncio.to_thread(self._process.close)

    async def pause(self, seconds: float) -> None:
        """Stop all its processes for so long, as a virtual machine is stopped."""
        pids = [self.service.process.pid, *self.service.list_worker_pids()]
        with self._disturb():
            for pid in pids:
                _send_signal(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(seconds)
            finally:
                for pid in pids:
                    _send_signal(pid, signal.SIGCONT)

    async def reload(self) -> None:
        """Have it read its settings again, and return once all its workers are new.

        A reload is refused if a new worker ends before it serves, as in an outage of the store. Then it
        is repeated, as an operator does who reads the log.
        """
        refused, done = self._count_lines(REFUSED), self._count_lines(DONE)
        with self._disturb():
            _send_signal(self.service.process.pid, signal.SIGHUP)
            await _wait_for(
                lambda: self._count_lines(DONE) > done or self._count_lines(REFUSED) > refused,
                RELOAD_TIMEOUT_SECONDS,
            )
        if self._count_lines(DONE) == done:
            await self.reload()

    def _count_lines(self, text: str) -> int:
        return self.service.log.read_text().count(text)

    @contextlib.contextmanager
    def _disturb(self) -> Iterator[None]:
        """Note that connections to this host may break in the block, and for a while after it."""
        self._disturbed_until = math.inf
        try:
            yield
        finally:
            self._disturbed_until = read_ms() + DISTURBANCE_MS

    def was_disturbed_since(self, at: int) -> bool:
        """Return whether a fault of this host explains that a connection broke since this instant."""
        return at <= self._disturbed_until


async def _wait_for(condition: Callable[[], bool], seconds: float = START_TIMEOUT_SECONDS) -> None:
    await wait_for(partial(asyncio.to_thread, condition), seconds)


def _send_signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
        os.kill(pid, number)
