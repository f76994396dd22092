"""What runs in a thread has its effect in one step, at a drawn instant."""

import asyncio
from contextlib import suppress

import pytest

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.kernel.threads import SimulatedThreads


def run(main, seed=1):
    async def run_main(network):
        return await main(SimulatedThreads(network.loop, Chance(seed)))

    return run_simulated(run_main, seed=seed)


def test_a_thread_returns_a_result_or_raises():
    async def main(_):
        assert "3" == await asyncio.to_thread(str, 3)
        with pytest.raises(ValueError, match="invalid literal"):
            await asyncio.to_thread(int, "x")

    run(main)


def test_a_thread_takes_time_and_more_on_a_slow_disk():
    async def main(threads):
        loop = asyncio.get_running_loop()
        instants = []
        for threads.extra_seconds in (0.0, 5.0):
            await asyncio.to_thread(int)
            instants.append(loop.time())
        return instants

    first, second = run(main)
    assert 0 < first < 0.1
    assert second > 5


def test_a_thread_that_has_not_begun_is_canceled_and_one_that_has_goes_on():
    async def main(_):
        effects = []
        for wait_seconds in (0, 0.0011):
            task = asyncio.create_task(asyncio.to_thread(effects.append, wait_seconds))
            await asyncio.sleep(wait_seconds)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(1)
        return effects

    assert [0.0011] == run(main)


def test_a_thread_of_a_paused_host_waits():
    async def main(_):
        loop, effects = asyncio.get_running_loop(), []
        CURRENT_HOST.set("a")
        task = asyncio.create_task(asyncio.to_thread(effects.append, 1))
        CURRENT_HOST.set("test")
        await asyncio.sleep(0)
        loop.pause_host("a")
        await asyncio.sleep(1)
        before = [*effects]
        loop.resume_host("a")
        await task
        return before, effects

    assert ([], [1]) == run(main)
