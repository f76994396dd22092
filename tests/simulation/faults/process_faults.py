"""Faults of workers and their hosts: processes die, hash slowly, and clocks jump."""

from functools import partial
from typing import Final

from tests.simulation.faults.injector import FaultInjector
from tests.simulation.history import FaultKind
from tests.simulation.world.installation import WORKER_HOSTS


MAX_ABSENCE_MS: Final = 5_000
MAX_PAUSE_MS: Final = 20_000
CLOCK_STEPS_MS: Final = (-86_400_000, -60_000, -2_000, 2_000, 60_000, 86_400_000)


def crash_worker(faults: FaultInjector) -> None:
    """Kill a worker that runs, and start it again later."""
    installation = faults.world.installation
    running = [name for name, worker in installation.workers.items() if not worker.is_dead]
    name = faults.chance.pick(running or [*WORKER_HOSTS])
    faults.begin(
        FaultKind.WORKER_RESTART,
        name,
        partial(installation.crash, name),
        partial(installation.restart, name),
        longest_ms=MAX_ABSENCE_MS,
    )


def cancel_call(faults: FaultInjector) -> None:
    """Cancel a call inside of the service at the await where it is, as the end of a drain does."""
    workers = faults.world.installation.workers.values()
    running = [
        (worker.name, task)
        for worker in workers
        for task in sorted(worker.background_calls._tasks, key=hash)  # by their numbers
    ]
    if running:
        name, task = faults.chance.pick(running)
        task.cancel()
        faults.record_instant(FaultKind.CANCELLATION, name)


def slow_hasher(faults: FaultInjector) -> None:
    """Let every hash of a worker take long, as on a machine without CPU."""
    workers = faults.world.installation.workers
    if not workers:
        return
    name = faults.chance.pick([*workers])
    hasher = workers[name].hasher
    start = partial(setattr, hasher, "slowness", faults.chance.pick((5.0, 40.0)))
    end = partial(setattr, hasher, "slowness", 1.0)
    faults.begin(FaultKind.HASHER_SLOW, name, start, end, longest_ms=20_000)


def pause_host(faults: FaultInjector) -> None:
    """Stop a host, as a virtual machine is stopped: what it has decided happens seconds later."""
    host = faults.chance.pick([*faults.world.installation.hosts])
    start, end = partial(faults.loop.pause_host, host), partial(faults.loop.resume_host, host)
    faults.begin(FaultKind.HOST_PAUSED, host, start, end, longest_ms=MAX_PAUSE_MS)


def jump_host_clock(faults: FaultInjector) -> None:
    """Set the wall clock of a host."""
    installation = faults.world.installation
    host = faults.chance.pick([*installation.hosts])
    installation.jump_clock(host, faults.chance.pick(CLOCK_STEPS_MS))
