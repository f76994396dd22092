"""The simulated loop keeps the promises of asyncio, in simulated time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.errors import DeadlockError, LivelockError, UnhandledError
from tests.simulation.kernel.loop import SimulatedLoop
from tests.simulation.kernel.runner import run_simulated


def run(main: Callable[[], Awaitable[Any]], **options: Any) -> Any:
    """Run a coroutine without arguments on a simulated loop."""
    return run_simulated(lambda _: main(), **options)


def test_callbacks_run_first_in_first_out():
    """Also those that callbacks add, which run in the next turn."""
    seen: list[str] = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: (seen.append("a"), loop.call_soon(seen.append, "d")))
        loop.call_soon(seen.append, "b")
        loop.call_soon(seen.append, "c")
        await asyncio.sleep(0)
        seen.append("main")
        await asyncio.sleep(0)

    run(main)

    assert ["a", "b", "c", "main", "d"] == seen


def test_timers_run_by_their_instant_and_then_in_the_order_of_their_creation():
    """asyncio leaves the second open; a simulation must not."""
    seen: list[tuple[float, int]] = []

    async def main():
        loop = asyncio.get_running_loop()
        for number, delay in enumerate([0.3, 0.1, 0.2, 0.1, 0.3, 0.1]):
            loop.call_later(delay, lambda n=number: seen.append((loop.time(), n)))
        await asyncio.sleep(1)

    run(main)

    assert [(0.1, 1), (0.1, 3), (0.1, 5), (0.2, 2), (0.3, 0), (0.3, 4)] == seen


def test_a_due_timer_does_not_wait_for_callbacks_that_add_callbacks():
    """It runs in the next turn, as an event of the real loop does."""
    seen: list[str] = []

    async def main():
        asyncio.get_running_loop().call_later(0, seen.append, "timer")
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append("turn")

    run(main)

    assert ["turn", "timer", "turn", "turn"] == seen


def test_a_day_of_simulated_time_takes_no_time():
    """The clock jumps to the next timer."""

    async def main():
        await asyncio.sleep(24 * 3600)
        return asyncio.get_running_loop().time()

    began_at = time.process_time()

    assert 24 * 3600 == run(main)
    assert time.process_time() - began_at < 1


def test_a_canceled_timer_neither_runs_nor_moves_the_clock():
    """Most timers are timeouts that never end."""

    async def main():
        loop = asyncio.get_running_loop()
        timer = loop.call_later(5, pytest.fail, "it was canceled")
        timer.cancel()
        await asyncio.sleep(0.5)
        await asyncio.sleep(6)
        return loop.time()

    assert 6.5 == run(main)


def test_a_timeout_ends_a_wait_and_nothing_else():
    """asyncio.timeout and wait_for."""

    async def main():
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.sleep(1)
        first = loop.time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1), 0.25)
        second = loop.time()
        value = await asyncio.wait_for(asyncio.sleep(0.125, "value"), 5)
        return first, second, loop.time(), value

    assert (0.5, 0.75, 0.875, "value") == run(main)


def test_cancellation_arrives_at_the_await_and_runs_what_cleans_up():
    """A task that swallows it goes on."""
    seen: list[str] = []

    async def work():
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("canceled")
            await asyncio.sleep(1)
            seen.append("cleaned up")
            raise

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.wait({task})
        return task.cancelled(), asyncio.get_running_loop().time()

    assert (True, 3.0) == run(main)
    assert ["canceled", "cleaned up"] == seen


def test_gather_and_task_groups_run_their_tasks_at_once():
    """An error of one cancels the others of a group."""

    async def fail():
        await asyncio.sleep(1)
        raise ValueError("of one")

    async def main():
        loop = asyncio.get_running_loop()
        values = await asyncio.gather(asyncio.sleep(2, "a"), asyncio.sleep(1, "b"))
        gathered_at = loop.time()
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012  # the group raises at its end
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                other = group.create_task(asyncio.sleep(5))
        return values, gathered_at, loop.time(), other.cancelled(), len(caught.value.exceptions)

    assert (["a", "b"], 2.0, 3.0, True, 1) == run(main)


def test_events_queues_and_locks_wake_those_that_wait_in_order():
    """First in, first out."""
    seen: list[Any] = []

    async def wait(number: int, event: asyncio.Event, lock: asyncio.Lock):
        await event.wait()
        async with lock:
            await asyncio.sleep(0.1)
            seen.append(number)

    async def main():
        event, lock, queue = asyncio.Event(), asyncio.Lock(), asyncio.Queue(2)
        waits = [asyncio.create_task(wait(number, event, lock)) for number in range(5)]
        await asyncio.sleep(1)
        event.set()
        await asyncio.gather(*waits)

        async def produce():
            for number in range(5, 9):
                await queue.put(number)

        producer = asyncio.create_task(produce())
        seen.extend([await queue.get() for _ in range(4)])
        await producer

    run(main)

    assert list(range(9)) == seen


def test_futures_of_a_set_are_in_the_order_in_which_they_were_put_into_one():
    """By their address they would be in another order in each process."""

    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(100)]
        in_set = {future: number for number, future in enumerate(reversed(futures))}
        return [in_set[future] for future in set(in_set)]

    assert [*range(100)] == run(main)


def test_tasks_of_a_set_are_canceled_in_the_order_of_their_creation():
    """The order of a set is that of hashes, which are addresses in memory for the tasks of asyncio."""
    seen: list[int] = []

    async def wait(number: int):
        try:
            await asyncio.sleep(10)
        finally:
            seen.append(number)

    async def main():
        tasks = [asyncio.create_task(wait(number)) for number in range(200)]
        await asyncio.sleep(1)
        shuffled = {*tasks[100:], *tasks[:100]}
        for task in shuffled:
            task.cancel()
        await asyncio.wait(tasks)

    run(main)

    assert list(range(200)) == seen


def test_async_generators_are_closed_at_the_end():
    """As `asyncio.run` does."""
    seen: list[str] = []

    async def generate():
        try:
            yield 1
            yield 2
        finally:
            seen.append("closed")

    async def main():
        generator = generate()
        await anext(generator)
        seen.append("open")
        seen.append(generator)  # keeps it alive

    run(main)

    assert "open" == seen[0]
    assert "closed" == seen[-1]


def test_what_is_left_at_the_end_is_canceled():
    """As `asyncio.run` does."""
    seen: list[str] = []

    async def wait():
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append("canceled")

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(1)
        return task

    assert run(main).cancelled()
    assert ["canceled"] == seen


def test_a_fault_can_be_placed_before_any_step():
    """The step with the number 4 finds what was done before it."""
    seen: list[Any] = []

    async def main():
        loop = asyncio.get_running_loop()
        start = loop.steps
        loop.call_at_step(start + 2, seen.append, "fault")
        for number in range(4):
            loop.call_soon(seen.append, number)
        await asyncio.sleep(0)
        loop.call_at_step(0, seen.append, "at once")
        loop.call_soon(seen.append, "next")
        await asyncio.sleep(0)

    run(main)

    assert [0, 1, "fault", 2, 3, "at once", "next"] == seen


def test_a_stalled_process_runs_its_timers_late():
    """In their order, and all at the instant at which it goes on."""
    seen: list[tuple[str, float]] = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.2, lambda: seen.append(("b", loop.time())))
        loop.call_later(0.1, lambda: seen.append(("a", loop.time())))
        loop.call_later(9, lambda: seen.append(("c", loop.time())))
        loop.stall(5)
        await asyncio.sleep(10)

    run(main)

    assert [("a", 5.0), ("b", 5.0), ("c", 9.0)] == seen


def test_a_paused_host_does_nothing_while_others_go_on():
    """Then it does what has become due meanwhile, in its order."""
    seen: list[tuple[str, float]] = []

    async def tick(host: str):
        CURRENT_HOST.set(host)
        loop = asyncio.get_running_loop()
        loop.call_later(3.5, lambda: seen.append((f"{host} timer", loop.time())))
        for _ in range(4):
            await asyncio.sleep(1)
            seen.append((host, loop.time()))

    async def main():
        loop: Any = asyncio.get_running_loop()
        ticks = [asyncio.create_task(tick(host)) for host in "ab"]
        await asyncio.sleep(1.5)
        loop.pause_host("a")
        loop.call_later(8.5, loop.resume_host, "a")
        await asyncio.gather(*ticks)

    run(main)

    assert [(host, 1.0) for host in "ab"] == seen[:2]
    assert [("b", 2.0), ("b", 3.0), ("b timer", 3.5), ("b", 4.0)] == seen[2:6]
    assert [("a timer", 10.0), ("a", 10.0), ("a", 11.0), ("a", 12.0)] == seen[6:]


def test_a_run_that_fails_ends_the_tasks_of_a_paused_host():
    """They could not be canceled otherwise."""
    tasks: list[asyncio.Task[None]] = []

    async def wait():
        CURRENT_HOST.set("a")
        await asyncio.sleep(1000)

    async def main():
        loop: Any = asyncio.get_running_loop()
        tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(1)
        loop.pause_host("a")
        raise ValueError("of the run")

    with pytest.raises(ValueError, match="of the run"):
        run(main)
    assert tasks[0].cancelled()


def test_a_livelock_is_found():
    """Once by its steps, and once by its simulated time."""

    async def spin():
        while True:  # noqa: ASYNC110  # that is the livelock
            await asyncio.sleep(0)

    async def wait():
        while True:  # noqa: ASYNC110  # that is the livelock
            await asyncio.sleep(60)

    with pytest.raises(LivelockError, match="in 1000 steps"):
        run(spin, loop=SimulatedLoop(max_steps=1000))
    with pytest.raises(LivelockError, match="in 3600 simulated seconds"):
        run(wait, loop=SimulatedLoop(max_seconds=3600))


def test_a_deadlock_is_found_and_its_tasks_are_named():
    """Nothing is ready, and no timer is set."""

    async def wait_for_ever():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match="wait_for_ever at line"):
        run(wait_for_ever)


def test_an_exception_of_a_callback_fails_the_run():
    """asyncio would log it and go on."""

    async def main():
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await asyncio.sleep(5)

    loop = SimulatedLoop()

    with pytest.raises(UnhandledError, match="ZeroDivisionError") as caught:
        run(main, loop=loop)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert 1 == len(loop.unhandled)
    assert 1.0 == loop.time()


def test_an_exception_of_a_lost_task_fails_the_run():
    """Nothing has awaited the task when it is collected."""

    async def fail():
        raise ValueError("lost")

    async def main():
        task = asyncio.create_task(fail())
        await asyncio.sleep(1)
        del task
        await asyncio.sleep(1)

    with pytest.raises(UnhandledError, match="never retrieved: ValueError"):
        run(main)


def test_an_exception_that_is_lost_in_a_cycle_fails_the_run_at_its_end():
    """The collector does not run before, because its instant would not follow from the seed."""
    seen: list[str] = []

    async def fail():
        raise ValueError("lost")

    async def main():
        cycle: list[Any] = [asyncio.create_task(fail())]
        cycle.append(cycle)
        del cycle
        await asyncio.sleep(1)
        seen.extend(str(number) for number in range(10_000))
        await asyncio.sleep(1)
        seen.append("end")

    with pytest.raises(UnhandledError, match="never retrieved: ValueError"):
        run(main)
    assert "end" == seen[-1]


def test_a_thread_is_refused():
    """Its instant would be that of a real clock."""

    async def main():
        await asyncio.to_thread(time.time)

    with pytest.raises(RuntimeError, match="has no threads"):
        run(main)
