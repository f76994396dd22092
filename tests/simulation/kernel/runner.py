"""Runs one simulated world from its beginning to its end."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.loop import SimulatedLoop
from tests.simulation.kernel.network import SimulatedNetwork


T = TypeVar("T")


def run_simulated(
    main: Callable[[SimulatedNetwork], Awaitable[T]],
    *,
    seed: int | str = 0,
    conditions: Conditions | None = None,
    loop: SimulatedLoop | None = None,
) -> T:
    """Return the result of a coroutine on a loop and a network of its own.

    Tasks that are left are canceled, as by `asyncio.run`. Raises what the coroutine raises, and
    SimulationError.
    """
    loop = loop or SimulatedLoop()
    network = SimulatedNetwork(loop, Chance(seed).derive("network"), conditions)

    async def run_main() -> T:
        try:
            return await main(network)
        finally:
            loop.resume_all_hosts()  # their tasks have to end as well
            gc.collect(0)  # all that the run has made: exceptions lost in cycles are reported

    with suspend_gc(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run_main())


@contextmanager
def suspend_gc() -> Iterator[None]:
    """Keep the garbage collector from running, because its instant depends on earlier runs.

    asyncio reports a lost exception when its task is collected: that would be at another step. So all
    that a run has made is collected at its end.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
