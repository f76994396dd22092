"""One simulated run: a loop, a network, a Redis and a world, all from one seed."""

import asyncio
from typing import Final, cast

from tests.simulation.actors.cast import draw_actors, run_actors
from tests.simulation.actors.probes import draw_probes, probe_logins
from tests.simulation.faults.injector import FaultInjector
from tests.simulation.faults.plan import draw_plan, start_plan
from tests.simulation.history import History, StoredBytes
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.loop import SimulatedLoop
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.prefix import MAX_CALLS, Prefix
from tests.simulation.redis_model.redis_site import RedisSite
from tests.simulation.stored_values import (
    collect_stored_bytes,
    collect_stored_events,
    list_folding_partitions,
)
from tests.simulation.world.audit_settings import build_audit_settings
from tests.simulation.world.jobs import JOB_NAMES
from tests.simulation.world.settlement import flush_folds, settle
from tests.simulation.world.world import World


START_MS: Final = 1_790_000_000_000
"""The instant at which every simulated run begins, in milliseconds since 1970."""

MEAN_CALLS: Final = 5
JOB_SHARE: Final = 0.2
TROUBLE_SHARE: Final = 0.3
"""The share of the runs with a background job, and of the vendors with which something is wrong."""

REPLICATED_SHARE: Final = 0.75
"""The share of the runs with replicas in which every durable change has to reach all of them."""

REPLICA_COUNTS: Final = (0, 0, 0, 1, 2)


class Simulation:
    """The parts of one run, until its history is built."""

    def __init__(self, chance: Chance, network: SimulatedNetwork) -> None:
        self.chance = chance
        self.network = network
        self.loop = cast(SimulatedLoop, asyncio.get_running_loop())
        draws = chance.derive("settings")
        replicas = draws.pick(REPLICA_COUNTS)
        self.required_replicas = replicas if draws.has_luck(REPLICATED_SHARE) else 0
        self.redis = RedisSite(
            self.loop,
            network,
            chance.derive("redis"),
            start_ms=START_MS,
            replicas=replicas,
        )
        self.world = World(
            chance.derive("world"),
            self.read_true_ms,
            self.redis.address,
            replicas=self.required_replicas,
            jobs=frozenset(name for name in JOB_NAMES if draws.has_luck(JOB_SHARE)),
        )
        self.faults = FaultInjector(chance.derive("faults"), network, self.redis, self.world)
        self.probe_names = draw_probes(chance.derive("probes"))
        for name in self.world.vendors:
            if draws.has_luck(TROUBLE_SHARE):
                self.world.trouble_vendor(name, 0.1 + 0.5 * draws.draw_fraction())

    def read_true_ms(self) -> int:
        """Return the true time in milliseconds since 1970."""
        return START_MS + int(self.loop.time() * 1000)

    async def run(self, prefix: Prefix) -> None:
        """Let the actors act, come to rest, and let everybody log in."""
        draws = self.chance.derive("cast")
        calls = draw_call_count(draws)
        plan = draw_plan(self.chance.derive("faults"), calls)
        start_plan(self.faults, self.loop, plan, prefix)
        await run_actors(self.world, draw_actors(draws, calls), min(calls, prefix.calls))
        await self.faults.end_all()
        await settle(self.world)
        await probe_logins(self.world, self.probe_names)
        await flush_folds(self.world, list_folding_partitions(self.redis.server.keyspace))

    def build_history(self, unhandled_errors: list[str], logged: list[StoredBytes]) -> History:
        """Return what was observed, with what is stored now and what was logged."""
        server = self.redis.server
        return self.world.recorder.build_history(
            self.chance.seed,
            build_audit_settings(
                is_replicated=self.required_replicas > 0, probe_actors=self.probe_names
            ),
            events=collect_stored_events(server.keyspace),
            stored=[*collect_stored_bytes(server.keyspace), *logged],
            unhandled_errors=[*unhandled_errors, *self.redis.findings],
        )


def draw_call_count(chance: Chance) -> int:
    """Return from 1 to MAX_CALLS calls; most runs have few, so that their failures are short."""
    count = 1
    while count < MAX_CALLS and not chance.has_luck(1 / MEAN_CALLS):
        count += 1
    return count
