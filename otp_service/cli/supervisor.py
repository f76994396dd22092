"""The supervisor of `serve`: starts, replaces and stops workers, and reads the settings on SIGHUP.

It never waits for a worker: everything is an event that changes its table of workers, and after each
`plan_workers` says what to do. So it follows signals at all times. What to do with a slow worker is to
wait; only one that served and is silent for a minute is replaced.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

from otp_service import telemetry
from otp_service.app import hash_settings
from otp_service.cli.command import CommandError
from otp_service.cli.common import Configuration
from otp_service.cli.helper_threads import HelperThreads, has_sealer
from otp_service.cli.loop_thread import call_in_thread
from otp_service.cli.restart_delays import RestartDelays
from otp_service.cli.slot_listeners import SlotListeners
from otp_service.cli.worker_plan import WorkerPlan, WorkerTarget, plan_workers
from otp_service.cli.worker_process import WorkerProcess
from otp_service.clock import now_ms


logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0

MAX_RELOAD_TICKS = 300
"""Ticks until a reload is given up whose workers are not ready. A slow CPU needs some 30."""

STOP_MARGIN_SECONDS = 3
"""Added to the time that a worker has for its requests and for its background calls."""


class Supervisor:
    """Supervises the workers of one `serve`, and knows which configuration each runs."""

    def __init__(
        self,
        configuration: Configuration,
        listeners: SlotListeners,
        helpers: HelperThreads,
        *,
        read_configuration: Callable[[Path], Configuration],
    ) -> None:
        self.in_force, self.generation = configuration, 1
        self.first_settings, self.started_at = configuration.settings, now_ms()
        self.candidate: Configuration | None = None
        self.workers: list[WorkerProcess] = []
        self.refusal = ""
        """Why the last reload was refused; empty after one that was done."""
        self.delays = RestartDelays()
        self._slots = configuration.settings.service.workers
        self._listeners, self._helpers = listeners, helpers
        self._read_configuration = read_configuration
        self._newest_generation = 1
        self._candidate_ticks = 0
        self._changed, self._stop = asyncio.Event(), asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._switching: asyncio.Task[None] | None = None
        self._is_replacing = False
        """Whether workers of an earlier configuration still finish their requests."""
        self._fatal_reason = ""
        self._has_served = False
        """Whether a worker ever did: until then a failure ends the service."""

    async def run(self) -> None:
        """Supervise until SIGTERM or SIGINT. Raises CommandError if the first workers fail."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._request_stop)
        loop.add_signal_handler(signal.SIGHUP, self._request_reload)
        self._helpers.start(self.in_force.settings)
        ticks = asyncio.create_task(self._run_ticks())
        while not self._stop.is_set():
            self._changed.clear()
            self._collect_ended()
            await self._follow_plan(self._make_plan())
            await self._changed.wait()
        ticks.cancel()
        await self._stop_all()
        if self._fatal_reason:
            raise CommandError(self._fatal_reason)

    def list_roles(self) -> list[str]:
        """Return the role of everything that is to run."""
        helpers = ["admin", "sealer"] if has_sealer(self.in_force.settings) else ["admin"]
        return [*(f"worker-{slot + 1}" for slot in range(self._slots)), *helpers]

    @property
    def is_reloading(self) -> bool:
        """Whether a process may still serve another configuration than the one in force."""
        tasks = (self._reading, self._switching)
        is_busy = any(task is not None and not task.done() for task in tasks)
        return (
            bool(self.candidate)
            or is_busy
            or any(worker.generation != self.generation for worker in self.workers)
        )

    def _request_stop(self) -> None:
        if self._stop.is_set():  # asked again: at once
            for worker in self.workers:
                worker.kill()
        self._stop.set()
        self._changed.set()

    # -------------------------------------------------------------------------------------- workers

    def _make_plan(self) -> WorkerPlan:
        target = WorkerTarget(
            slots=self._slots,
            in_force=self.generation,
            candidate=self._newest_generation if self.candidate else None,
            max_stopping_ticks=self._compute_max_stopping_seconds(),
        )
        startable = [slot for slot in range(self._slots) if self.delays.is_over(slot)]
        return plan_workers([worker.view for worker in self.workers], target, startable)

    async def _follow_plan(self, plan: WorkerPlan) -> None:
        by_pid = {worker.pid: worker for worker in self.workers}
        for slot, generation in plan.starts:
            await self._start_worker(slot, generation)
        for pid in plan.serves:
            by_pid[pid].order_to_serve()
        for pid in plan.stops:
            by_pid[pid].retire()
        for pid in plan.kills:
            by_pid[pid].kill()
        if plan.is_candidate_ready:
            self._put_candidate_in_force()

    async def _start_worker(self, slot: int, generation: int) -> None:
        is_candidate = self.candidate and generation == self._newest_generation
        configuration = self.candidate if is_candidate and self.candidate else self.in_force
        try:
            worker = await WorkerProcess.start(
                self._listeners[slot],
                configuration,
                self._changed.set,
                slot=slot,
                generation=generation,
            )
        except OSError as error:
            self._handle_failed_start(slot, generation, error)
            return
        self.workers.append(worker)

    def _handle_failed_start(self, slot: int, generation: int, error: OSError) -> None:
        reason = f"a process cannot be started: {error.strerror}"
        if generation == self.generation:
            logger.error(reason)
            self.delays.count_death(slot, has_served=False)
        else:
            self._refuse_reload(reason)

    def _collect_ended(self) -> None:
        self._has_served |= any(worker.has_served for worker in self.workers)
        for worker in [worker for worker in self.workers if worker.exit_code is not None]:
            self.workers.remove(worker)
            if worker.was_asked_to_stop or worker.generation not in self._wanted_generations:
                logger.info("worker %d has ended", worker.pid)
            elif worker.generation != self.generation:
                self._refuse_reload(f"a new worker {worker.describe_end()}")
            elif self._has_served:
                self._handle_death(worker)
            else:
                self._fatal_reason = f"a worker {worker.describe_end()}"
                self._request_stop()
        if self._is_replacing and all(w.generation >= self.generation for w in self.workers):
            self._is_replacing = False
            logger.info("the reload is done: every worker runs the new configuration")

    @property
    def _wanted_generations(self) -> set[int]:
        return {self.generation, self._newest_generation if self.candidate else self.generation}

    def _handle_death(self, worker: WorkerProcess) -> None:
        self.delays.count_death(worker.slot, has_served=worker.has_served)
        in_slot = [w for w in self.workers if w.slot == worker.slot]
        if worker.has_served and not in_slot and any(w.has_served for w in self.workers):
            self._listeners.abandon_queue(worker.slot)
        # Last: who reads the line finds that new connections go to other workers.
        logger.error("worker %d %s, and is replaced", worker.pid, worker.describe_end())

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.delays.count_tick()
            for worker in self.workers:
                worker.count_tick()
            self._candidate_ticks += 1
            if self.candidate and self._candidate_ticks >= MAX_RELOAD_TICKS:
                self._refuse_reload(f"not all workers were ready after {MAX_RELOAD_TICKS} s")
            if self._switching is None or self._switching.done():
                self._helpers.restart_ended()
            self._changed.set()

    # --------------------------------------------------------------------------------------- reload

    def _request_reload(self) -> None:
        logger.info("reading the settings again")
        if self._reading:
            self._reading.cancel()
        self._reading = asyncio.create_task(self._read_candidate())

    async def _read_candidate(self) -> None:
        try:
            candidate = await call_in_thread(self._read_configuration, self.in_force.path)
        except CommandError as error:
            self._refuse_reload(str(error))
            return
        self.candidate, self._candidate_ticks = candidate, 0
        self._newest_generation += 1
        self._changed.set()

    def _put_candidate_in_force(self) -> None:
        assert self.candidate
        self.in_force, self.candidate = self.candidate, None
        self.generation = self._newest_generation
        self.refusal = ""
        settings = self.in_force.settings
        telemetry.set_log_level(settings.service.log_level)
        logger.info("configuration %s is in force", hash_settings(settings))
        self._is_replacing = True
        previous = self._switching
        self._switching = asyncio.create_task(self._switch_helpers(previous))
        self._changed.set()

    async def _switch_helpers(self, previous: asyncio.Task[None] | None) -> None:
        if previous:
            await asyncio.wait([previous])
        await call_in_thread(self._helpers.switch, self.in_force.settings)

    def _refuse_reload(self, reason: str) -> None:
        """Keep every process on the configuration in force, and report why."""
        self.candidate = None
        self._newest_generation += 1  # what was started for it is ended
        self.refusal = reason
        in_force = hash_settings(self.in_force.settings)
        for line in filter(None, map(str.strip, reason.splitlines())):
            fields = {"reason": line, "configuration": in_force}
            logger.error(
                "the reload is refused: every process keeps its configuration",
                extra={"fields": fields},
            )
        self._helpers.admin.record_service_change("reload_refused")
        self._changed.set()

    # ----------------------------------------------------------------------------------------- stop

    async def _stop_all(self) -> None:
        logger.info("stopping")
        self._listeners.close()
        for worker in self.workers:
            worker.stop()
        await self._wait_for_workers(self._compute_max_stopping_seconds())
        drain_seconds = self.in_force.settings.service.drain_seconds
        if self._switching:
            await asyncio.wait([self._switching], timeout=drain_seconds)
        await call_in_thread(self._helpers.stop, drain_seconds / 2)

    async def _wait_for_workers(self, timeout_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        while any(worker.exit_code is None for worker in self.workers):
            self._changed.clear()
            try:
                async with asyncio.timeout(end - loop.time()):
                    await self._changed.wait()
            except TimeoutError:
                logger.error("workers do not stop in time, and are killed")  # noqa: TRY400
                for worker in self.workers:
                    worker.kill()
                end = loop.time() + 1

    def _compute_max_stopping_seconds(self) -> int:
        return 2 * self.in_force.settings.service.drain_seconds + STOP_MARGIN_SECONDS
