"""Each fault of an archive happens, is recorded, and ends with an archive that is complete."""

import asyncio
import functools

import pytest

from tests.simulation.actors.person import NUMBERS
from tests.simulation.actors.scene import CallBudget, Scene
from tests.simulation.auditor import audit_history
from tests.simulation.faults.archive_faults import ARCHIVE_FAULTS, draw_archive_plan
from tests.simulation.history import FaultKind
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.forbidden_calls import watch_forbidden_calls
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.run import run_seed
from tests.simulation.simulation import Simulation
from tests.simulation.test_run import compute_digest
from tests.simulation.world.settlement import settle


KINDS = {
    "crash_sealer": FaultKind.SEALER_DOWN,
    "crash_sealer_in_disk_call": FaultKind.SEALER_DOWN,
    "stop_machine": FaultKind.SEALER_DOWN,
    "lose_unsynced": FaultKind.SEALER_DOWN,
    "fill_disk": FaultKind.ARCHIVE_DISK,
    "break_disk": FaultKind.ARCHIVE_DISK,
    "slow_disk": FaultKind.ARCHIVE_DISK,
    "lock_folder": FaultKind.ARCHIVE_DISK,
    "fail_sink": FaultKind.SINK_DOWN,
    "rotate_signing_key": FaultKind.KEY_ROTATION,
    "fail_over": FaultKind.STORE_FAILOVER,
    "end_process": FaultKind.STORE_DOWN,
    "stall_replicas": FaultKind.REPLICA_DOWN,
    "pause_host": FaultKind.HOST_PAUSED,
}
FAULTS = {fault.__name__: fault for _, fault in ARCHIVE_FAULTS}
SEALED_SEEDS = range(3)


def has_replicas(seed):
    async def run_main(network):
        simulation = Simulation(Chance(seed), network)
        simulation.close()
        return simulation.required_replicas > 0

    return run_simulated(run_main)


@functools.cache
def find_replicated_seed():
    """Return the first seed with replicas. Not when the tests are collected: it runs simulations."""
    return next(seed for seed in range(100) if has_replicas(seed))


@pytest.fixture(autouse=True)
def sealed_runs(monkeypatch):
    """Let every run have sealers."""
    monkeypatch.setattr("tests.simulation.simulation.ARCHIVE_SHARE", 1)


def run_with_fault(fault):
    """Strike between two issues, and return the history."""
    simulations, seed = [], find_replicated_seed()

    async def run_main(network):
        simulation = Simulation(Chance(seed), network)
        simulations.append(simulation)
        simulation.world.end_faults()
        scene = Scene("actor", simulation.world, CallBudget(100), gives_up=False)
        await scene.call("issue", "shop", phone_number=NUMBERS[1])
        await asyncio.sleep(90)  # it is sealed
        simulation.faults.strike(fault)
        await scene.call("issue", "shop", phone_number=NUMBERS[2])
        await asyncio.sleep(30)
        await simulation.faults.end_all()
        simulation.archive.end_faults()
        await settle(simulation.world)
        await simulation.archive.stop()

    run_simulated(run_main, seed=seed)
    (simulation,) = simulations
    history = simulation.build_history([], [])
    simulation.close()
    return history


def test_every_fault_has_a_kind_here():
    assert set(FAULTS) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_a_fault_is_recorded_and_leaves_a_complete_archive(name):
    history = run_with_fault(FAULTS[name])

    assert KINDS[name] in {record.kind for record in history.faults}
    assert [] == [found for found in audit_history(history) if found.promise == "archive"]
    assert history.archive.is_caught_up
    assert 10 <= len(history.archive.events)


def test_a_plan_follows_from_its_seed_and_has_each_fault():
    plans = [draw_archive_plan(Chance(seed), 5) for seed in range(300)]

    assert [[fault.step for fault in plan] for plan in plans] == [
        [fault.step for fault in draw_archive_plan(Chance(seed), 5)] for seed in range(300)
    ]
    assert set(FAULTS.values()) == {fault.strike for plan in plans for fault in plan}


def test_a_sealed_run_is_the_same_again():
    digests = [compute_digest(run_seed(seed)) for seed in SEALED_SEEDS]

    assert digests == [compute_digest(run_seed(seed)) for seed in SEALED_SEEDS]


def test_a_sealed_run_reads_no_real_clock_and_starts_no_thread():
    run_seed(0)  # keys are made once in a process

    with watch_forbidden_calls() as found:
        for seed in SEALED_SEEDS:
            run_seed(seed)

    assert [] == found
