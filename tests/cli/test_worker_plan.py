"""What the supervisor does next, as a pure function: every decision about workers without a process."""

import pytest

from otp_service.cli.restart_delays import MAX_DELAY_TICKS, RestartDelays
from otp_service.cli.worker_plan import (
    SILENT_TICKS_UNTIL_HUNG,
    WorkerPlan,
    WorkerState,
    WorkerTarget,
    WorkerView,
    plan_workers,
)


STARTING, PREPARED, SERVING, STOPPING = WorkerState


def plan(*workers, slots=2, in_force=1, candidate=None, startable=(0, 1)):
    """Return the plan for these workers."""
    target = WorkerTarget(slots, in_force, candidate, max_stopping_ticks=25)
    return plan_workers(workers, target, startable)


def test_every_empty_slot_gets_a_worker_at_once():
    """At the start all of them begin together."""
    assert WorkerPlan(starts=((0, 1), (1, 1))) == plan()


def test_a_slot_that_waits_after_a_failure_gets_none():
    """A crash loop must not take the CPU."""
    assert WorkerPlan(starts=((1, 1),)) == plan(startable=[1])


def test_a_worker_that_starts_is_waited_for_however_long_it_takes():
    """E1, K5: at a tenth of a core workers were killed for being slow."""
    slow = [WorkerView(slot + 10, slot, 1, STARTING, silent_ticks=10_000) for slot in (0, 1)]

    assert WorkerPlan() == plan(*slow)


def test_a_prepared_worker_of_the_configuration_in_force_serves():
    """Each for itself, at the start or after a crash."""
    assert (10,) == plan(WorkerView(10, 0, 1, PREPARED), WorkerView(11, 1, 1, STARTING)).serves


def test_candidates_start_one_after_another_beside_the_workers_that_serve():
    """They share the CPU with those that answer logins."""
    serving = [WorkerView(slot + 10, slot, 1, SERVING) for slot in (0, 1)]

    assert WorkerPlan(starts=((0, 2),)) == plan(*serving, candidate=2)
    first = WorkerView(20, 0, 2, STARTING)
    assert WorkerPlan() == plan(*serving, first, candidate=2)
    prepared = first._replace(state=PREPARED)
    assert WorkerPlan(starts=((1, 2),)) == plan(*serving, prepared, candidate=2)


def test_candidates_are_ready_when_each_slot_has_one_and_no_earlier():
    """A reload succeeds as a whole: until then none of them serves and none is replaced."""
    serving = [WorkerView(slot + 10, slot, 1, SERVING) for slot in (0, 1)]
    candidates = [WorkerView(slot + 20, slot, 2, PREPARED) for slot in (0, 1)]

    assert WorkerPlan(is_candidate_ready=True) == plan(*serving, *candidates, candidate=2)
    for state in (STARTING, STOPPING):
        late = candidates[1]._replace(state=state)
        assert not plan(*serving, candidates[0], late, candidate=2).is_candidate_ready


def test_a_worker_is_replaced_when_its_successor_serves():
    """Not before: its slot would have no worker."""
    old = [WorkerView(slot + 10, slot, 1, SERVING) for slot in (0, 1)]
    new = [WorkerView(20, 0, 2, SERVING), WorkerView(21, 1, 2, PREPARED)]

    assert WorkerPlan(serves=(21,), stops=(10,)) == plan(*old, *new, in_force=2)


def test_what_was_started_for_a_reload_that_was_refused_is_ended():
    """It has never served."""
    serving = [WorkerView(slot + 10, slot, 1, SERVING) for slot in (0, 1)]
    abandoned = WorkerView(20, 0, 2, PREPARED)

    assert (20,) == plan(*serving, abandoned).kills
    assert (20,) == plan(*serving, abandoned, candidate=3).kills


@pytest.mark.parametrize(("ticks", "is_hung"), [(59, False), (SILENT_TICKS_UNTIL_HUNG, True)])
def test_a_worker_that_served_and_is_silent_for_a_minute_is_replaced(ticks, is_hung):
    """A paused container delays the ticks too, so it is no silence."""
    workers = [WorkerView(10, 0, 1, SERVING, ticks), WorkerView(11, 1, 1, SERVING)]

    assert ((10,) if is_hung else ()) == plan(*workers).kills


def test_a_worker_that_does_not_stop_in_time_is_killed():
    """compose gives the whole service 35 s."""
    late, serving = WorkerView(10, 0, 1, STOPPING, 0, 25), WorkerView(11, 1, 1, SERVING)

    assert WorkerPlan(starts=((0, 1),), kills=(10,)) == plan(late, serving)


def test_the_delay_grows_while_workers_do_not_serve_and_ends_once_one_did():
    """0 after a worker that served; else 1, 2, 4 and so on."""
    delays = RestartDelays()
    delays.count_death(0, has_served=True)
    assert delays.is_over(0)
    waits = []
    for _ in range(7):
        delays.count_death(0, has_served=False)
        ticks = 0
        while not delays.is_over(0):
            delays.count_tick()
            ticks += 1
        waits.append(ticks)

    assert [1, 2, 4, 8, 16, MAX_DELAY_TICKS, MAX_DELAY_TICKS] == waits
    assert delays.is_over(1)
