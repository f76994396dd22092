"""The end of a run: faults end, calls end or their deadline passes, and refunds are applied."""

import asyncio
from collections.abc import Iterable
from typing import Final

from tests.simulation.history import StoredBudget
from tests.simulation.world.stored_budgets import read_budgets
from tests.simulation.world.world import World


REFUND_SECONDS: Final = 6.0
"""After the faults: longer than a worker needs to find a store that answers again."""

LOOK_INTERVAL_SECONDS: Final = 0.5
MAX_LOOKS: Final = 600
"""300 seconds: longer than any deadline of a call, and than a refund is tried again."""


async def settle(world: World) -> bool:
    """Let a world come to rest; the faults of network and store have ended before.

    Return whether it has: no call is running then, and no refund or receipt waits.
    """
    world.end_faults()
    world.recorder.record_calm()
    await wait_until_idle(world)
    await stop_jobs(world)
    return world.installation.is_idle


async def wait_until_idle(world: World) -> None:
    """Wait until no call is running and no refund or receipt waits, or until each deadline is over."""
    for _ in range(MAX_LOOKS):
        if world.installation.is_idle:
            return
        await asyncio.sleep(LOOK_INTERVAL_SECONDS)


async def read_stored_budgets(world: World) -> list[StoredBudget]:
    """Return what is charged once each refund must have been applied."""
    await asyncio.sleep(REFUND_SECONDS)
    worker = next(iter(world.installation.workers.values()), None)
    return await read_budgets(worker, world.recorder.calls) if worker else []


async def stop_jobs(world: World) -> None:
    """Stop the background jobs: what follows are long waits, in which they only cost time."""
    for worker in world.installation.workers.values():
        await worker.jobs.stop()


async def flush_folds(world: World, partitions: Iterable[int]) -> None:
    """Let one worker append the refusals that were only counted, as housekeeping does it."""
    worker = next(iter(world.installation.workers.values()), None)
    if worker is None:
        return
    for partition in partitions:
        operation_id = worker.random.generate_operation_id()
        await worker.store.flush_folds(partition, operation_id)
