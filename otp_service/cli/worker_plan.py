"""What the supervisor does next about its workers: a pure function of what it knows of them.

Each slot has one worker of the configuration in force. During a reload it also has a candidate, a
worker of the new configuration, which is prepared and does not serve. Only when every slot has one
is the new configuration put in force. So a reload succeeds as a whole, or changes nothing.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple


SILENT_TICKS_UNTIL_HUNG = 60
"""Ticks without a sign of life of a serving worker until it is replaced.

They are ticks of the supervisor, not seconds: a container that was paused, or a slow CPU, delays
both sides alike.
"""


class WorkerState(StrEnum):
    """How far a worker is; it only advances."""

    STARTING = "starting"
    PREPARED = "prepared"
    SERVING = "serving"
    STOPPING = "stopping"


class WorkerView(NamedTuple):
    """What the supervisor knows of one worker."""

    pid: int
    slot: int
    generation: int
    """Of its configuration: 1 at the start, and one more with each SIGHUP."""
    state: WorkerState
    silent_ticks: int = 0
    """Since its last sign of life."""
    stopping_ticks: int = 0
    """Since it was asked to stop."""


class WorkerTarget(NamedTuple):
    """The workers that the supervisor wants."""

    slots: int
    in_force: int
    """The generation of the configuration in force."""
    candidate: int | None
    """The generation of the configuration that a reload prepares."""
    max_stopping_ticks: int


class WorkerPlan(NamedTuple):
    """What to do now."""

    starts: tuple[tuple[int, int], ...] = ()
    """Slot and generation of each worker to start."""
    serves: tuple[int, ...] = ()
    """Workers to serve, by pid."""
    stops: tuple[int, ...] = ()
    """Workers to finish their requests and end."""
    kills: tuple[int, ...] = ()
    """Workers to end at once."""
    is_candidate_ready: bool = False
    """Whether every slot has a prepared worker of the candidate generation."""


def plan_workers(
    workers: Sequence[WorkerView], target: WorkerTarget, startable_slots: Collection[int]
) -> WorkerPlan:
    """Return what to do now; `startable_slots` are those that wait for no delay after a failure."""
    slots, in_force, candidate, _ = target
    active = [worker for worker in workers if worker.state is not WorkerState.STOPPING]
    current = {worker.slot: worker for worker in active if worker.generation == in_force}
    candidates = {worker.slot: worker for worker in active if worker.generation == candidate}
    starts = [(slot, in_force) for slot in range(slots) if slot not in current]
    starts = [(slot, generation) for slot, generation in starts if slot in startable_slots]
    if candidate is not None and (slot := _find_next_slot(candidates, slots)) is not None:
        starts.append((slot, candidate))
    prepared = [w for w in candidates.values() if w.state is WorkerState.PREPARED]
    return WorkerPlan(
        starts=tuple(starts),
        serves=tuple(w.pid for w in current.values() if w.state is WorkerState.PREPARED),
        stops=tuple(_find_replaced(active, current, in_force)),
        kills=tuple(_find_ended(workers, target)),
        is_candidate_ready=len(prepared) == slots,
    )


def _find_next_slot(candidates: dict[int, WorkerView], slots: int) -> int | None:
    """Return the slot of the next candidate. They start one after another: others serve meanwhile."""
    if any(worker.state is WorkerState.STARTING for worker in candidates.values()):
        return None
    return next((slot for slot in range(slots) if slot not in candidates), None)


def _find_replaced(
    active: Sequence[WorkerView], current: dict[int, WorkerView], in_force: int
) -> Iterator[int]:
    """Yield the workers of an earlier generation whose successor serves."""
    for worker in active:
        successor = current.get(worker.slot)
        is_earlier = worker.generation < in_force
        if is_earlier and successor and successor.state is WorkerState.SERVING:
            yield worker.pid


def _find_ended(workers: Sequence[WorkerView], target: WorkerTarget) -> Iterator[int]:
    """Yield the workers that hang, that do not stop in time, or whose reload was given up."""
    for worker in workers:
        is_newer = worker.generation > target.in_force
        is_abandoned = is_newer and worker.generation != target.candidate
        is_serving = worker.state is WorkerState.SERVING
        is_hung = is_serving and worker.silent_ticks >= SILENT_TICKS_UNTIL_HUNG
        if is_abandoned or is_hung or worker.stopping_ticks >= target.max_stopping_ticks:
            yield worker.pid
