"""Each fault happens, is recorded, ends, and leaves a service that answers again."""

import asyncio
from contextvars import copy_context

import pytest

from tests.simulation.actors.person import NUMBERS, Person
from tests.simulation.actors.probes import log_in_by_message
from tests.simulation.actors.scene import CallBudget, Scene
from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.faults import link_faults, process_faults, store_faults
from tests.simulation.faults.plan import FAULTS, FaultSchedule, PlannedFault, draw_plan
from tests.simulation.history import FaultKind
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.prefix import Prefix
from tests.simulation.simulation import Simulation
from tests.simulation.world.settlement import settle


PERSON = Person("shop", NUMBERS[0], "u-1", None)

STEPS_IN_CALL = 20
"""After so many an issue is in progress."""

KINDS = {
    process_faults.crash_worker: FaultKind.WORKER_CRASH,
    process_faults.cancel_call: FaultKind.CANCELLATION,
    process_faults.slow_hasher: FaultKind.HASHER_SLOW,
    process_faults.pause_host: FaultKind.HOST_PAUSED,
    process_faults.jump_host_clock: FaultKind.HOST_CLOCK,
    link_faults.cut_link: FaultKind.LINK_CUT,
    link_faults.cut_busy_link: FaultKind.LINK_CUT,
    link_faults.freeze_link: FaultKind.LINK_FROZEN,
    link_faults.freeze_replies: FaultKind.LINK_FROZEN,
    link_faults.slow_link: FaultKind.LINK_SLOW,
    link_faults.cut_off_host: FaultKind.PARTITION,
    store_faults.end_process: FaultKind.STORE_DOWN,
    store_faults.freeze_process: FaultKind.STORE_DOWN,
    store_faults.fill_memory: FaultKind.STORE_FULL,
    store_faults.fill_disk: FaultKind.STORE_READ_ONLY,
    store_faults.fill_event_log: FaultKind.ARCHIVE_FULL,
    store_faults.load_data: FaultKind.STORE_LOADING,
    store_faults.replace_by_empty: FaultKind.STORE_REPLACED,
    store_faults.fail_over: FaultKind.STORE_FAILOVER,
    store_faults.stall_replicas: FaultKind.REPLICA_DOWN,
    store_faults.slow_replicas: FaultKind.REPLICA_SLOW,
    store_faults.bring_back_former: FaultKind.STORE_REPLACED,
    store_faults.jump_clock: FaultKind.STORE_CLOCK,
}


def run_with_faults(act):
    """Run `act` in a world whose store has replicas, and return its history."""
    seed = next(seed for seed in range(100) if has_replicas(seed))

    async def run_main(network):
        simulation = Simulation(Chance(seed), network)
        simulation.world.end_faults()
        await act(simulation, Scene("actor", simulation.world, CallBudget(100), gives_up=False))
        await simulation.faults.end_all()
        await settle(simulation.world)
        return simulation.build_history([], [])

    return run_simulated(run_main, seed=seed)


def has_replicas(seed):
    async def run_main(network):
        simulation = Simulation(Chance(seed), network)
        return simulation.required_replicas > 0

    return run_simulated(run_main)


def test_every_fault_has_a_kind_here():
    assert {fault for _, fault in FAULTS} == set(KINDS)


@pytest.mark.parametrize("fault", KINDS)
def test_a_fault_is_recorded_and_a_login_succeeds_after_its_end(fault):
    results = []

    async def act(simulation, scene):
        await scene.call("issue", "shop", phone_number=NUMBERS[1])
        if fault is store_faults.bring_back_former:
            simulation.faults.strike(store_faults.fail_over)  # or there is no former one
        simulation.loop.call_at_step(
            simulation.loop.steps + STEPS_IN_CALL, simulation.faults.strike, fault
        )
        await scene.call("issue", "shop", phone_number=NUMBERS[2])
        await simulation.faults.end_all()
        results.append(await log_in_by_message(scene, PERSON))

    history = run_with_faults(act)

    assert [True] == results
    assert KINDS[fault] in {record.kind for record in history.faults}
    assert all(record.until is not None for record in history.faults)
    assert () == history.unhandled_errors


@pytest.mark.parametrize(
    "fault", [store_faults.fill_memory, store_faults.fill_disk, store_faults.load_data]
)
def test_nothing_is_sent_while_the_store_refuses_writes(fault):
    async def act(simulation, scene):
        simulation.faults.strike(fault)
        await scene.call("issue", "shop", phone_number=NUMBERS[2])

    history = run_with_faults(act)

    (trouble,) = [fault for fault in history.faults if fault.until > fault.at]
    assert [] == [one for one in history.submissions if trouble.at <= one.at < trouble.until]


def test_the_drain_of_a_worker_is_paused_with_its_host():
    """It would spin: a call has ended, and what removes it from those that run is paused."""
    seconds = []

    async def end_paused(loop, host):
        loop.pause_host(host)

    async def act(simulation, scene):
        await scene.call("issue", "shop", phone_number=NUMBERS[1])
        loop, installation = simulation.loop, simulation.world.installation
        name, worker = next(iter(installation.workers.items()))
        loop._max_steps = loop._next_mark = loop.steps + 20_000
        loop.call_later(5, loop.resume_host, worker.host.name)
        began_at = loop.time()
        in_host = copy_context()
        in_host.run(CURRENT_HOST.set, worker.host.name)
        in_host.run(worker.background_calls.start_detached, end_paused(loop, worker.host.name))
        await asyncio.sleep(0)
        await installation.replace(name, worker.configuration)
        seconds.append(loop.time() - began_at)

    run_with_faults(act)

    assert seconds[0] >= 5


def test_a_vendor_acts_although_the_host_of_its_caller_is_paused():
    arrivals = []

    async def act(simulation, scene):
        loop, world = simulation.loop, simulation.world
        issued = await scene.call("issue", "shop", phone_number=NUMBERS[1])
        (call,) = world.recorder.calls
        host = world.installation.workers[call.worker].host.name
        loop.pause_host(host)
        began_at = loop.time()
        await world.phones.wait_for_code(NUMBERS[1], issued.value["id"], 30)
        arrivals.append(loop.time() - began_at)
        loop.resume_host(host)

    run_with_faults(act)

    assert 0 < arrivals[0] < 10


def test_no_fault_happens_after_the_end_of_all():
    async def act(simulation, _):
        await simulation.faults.end_all()
        simulation.faults.strike(store_faults.replace_by_empty)

    assert FaultKind.STORE_REPLACED not in {fault.kind for fault in run_with_faults(act).faults}


def test_the_faults_of_a_run_follow_from_its_seed():
    def list_faults(seed):
        return [(one.call, one.step, one.strike) for one in draw_plan(Chance(seed), 10)]

    plans = [list_faults(seed) for seed in range(40)]

    assert plans == [list_faults(seed) for seed in range(40)]
    assert 5 < sum(not plan for plan in plans) < 25
    assert all(plan == sorted(plan, key=lambda fault: fault[:2]) for plan in plans)
    struck_calls = {fault[0] for plan in plans for fault in plan}
    assert {0} < struck_calls <= {*range(10)}


def test_a_fault_begins_with_its_call_unless_the_prefix_leaves_it_out():
    struck = []

    def plan_fault(call, step):
        return PlannedFault(call, step, lambda _: struck.append((call, step)), Chance(0))

    async def act(simulation, _):
        plan = [plan_fault(0, 3), plan_fault(1, 0), plan_fault(1, 2), plan_fault(2, 0)]
        faults, loop = simulation.faults, simulation.loop
        schedule = FaultSchedule(faults, loop, plan, Prefix(faults=(0, 2, 3)))
        schedule.start_call(1)
        for _ in range(10):
            await asyncio.sleep(0)

    run_with_faults(act)

    assert [(1, 2)] == struck


def test_a_replica_that_is_slow_is_as_fast_as_before_at_the_end():
    lags = []

    async def act(simulation, _):
        lags.append(simulation.redis.longest_lag_seconds)
        simulation.faults.strike(store_faults.slow_replicas)
        lags.append(simulation.redis.longest_lag_seconds)
        await simulation.faults.end_all()
        lags.append(simulation.redis.longest_lag_seconds)

    run_with_faults(act)

    assert lags[0] == lags[2] < lags[1]


def test_a_former_server_comes_back_with_its_data_and_with_replicas():
    found = []

    async def act(simulation, scene):
        await scene.call("issue", "shop", phone_number=NUMBERS[1])
        redis = simulation.redis
        former, count = redis.server, len(redis.server.replication.replicas)
        size = len(former.keyspace.list_keys())
        redis.replace_by_empty()
        simulation.faults.strike(store_faults.bring_back_former)
        found.append((redis.server is former, len(former.keyspace.list_keys()) == size))
        found.append(count == len(former.replication.replicas) > 0)

    run_with_faults(act)

    assert [(True, True), True] == found
