"""One simulated run: a loop, a network, a Redis and a world, all from one seed."""

import asyncio
from typing import Final, cast

from tests.simulation.actors.cast import draw_actors, run_actors
from tests.simulation.actors.probes import draw_probes, probe_logins
from tests.simulation.actors.scene import CallBudget
from tests.simulation.archive.record import (
    build_archive_record,
    collect_archived_bytes,
    merge_events,
)
from tests.simulation.archive.site import ArchiveSite
from tests.simulation.faults.archive_faults import draw_archive_plan
from tests.simulation.faults.injector import FaultInjector
from tests.simulation.faults.plan import FaultSchedule, draw_plan
from tests.simulation.history import History, StoredBudget, StoredBytes, StoredDebt
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.loop import SimulatedLoop
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.threads import SimulatedThreads
from tests.simulation.prefix import MAX_CALLS, Prefix
from tests.simulation.redis_model.redis_site import RedisSite
from tests.simulation.stored_debts import collect_stored_debts
from tests.simulation.stored_values import (
    collect_stored_bytes,
    collect_stored_events,
    count_waiting_events,
    list_folding_partitions,
)
from tests.simulation.world.audit_settings import build_audit_settings
from tests.simulation.world.configuration import DEFAULT_PROFILE, LIMIT_PROFILES
from tests.simulation.world.jobs import JOB_NAMES
from tests.simulation.world.settlement import (
    flush_folds,
    read_stored_budgets,
    settle,
    wait_until_idle,
)
from tests.simulation.world.site import EventLogRules
from tests.simulation.world.world import World


START_MS: Final = 1_790_000_000_000
"""The instant at which every simulated run begins, in milliseconds since 1970."""

MEAN_CALLS: Final = 5
LONG_SHARE: Final = 0.03
"""The share of the runs with any number of calls up to MAX_CALLS."""

JOB_SHARE: Final = 0.2
TROUBLE_SHARE: Final = 0.3
"""The share of the runs with a background job, and of the vendors with which something is wrong."""

REPLICATED_SHARE: Final = 0.75
"""The share of the runs with replicas in which every durable change has to reach all of them."""

REPLICA_COUNTS: Final = (0, 0, 0, 1, 2)
LAG_SECONDS: Final = (0.0005, 0.002, 0.02)
"""The longest lag of a replica, each way: a WAIT of 100 ms is met, unless a fault makes it longer."""

LIMIT_DRAWS: Final = (DEFAULT_PROFILE, DEFAULT_PROFILE, *LIMIT_PROFILES)

ARCHIVE_SHARE: Final = 0.06
"""The share of the runs with sealers: one turn of a sealer takes as much time as a call."""

LOG_CAPACITIES: Final = (EventLogRules().max_entries,) * 3 + (40, 10)
"""Of a stream of a partition, in a run with sealers: a small log is full while nothing is archived."""


class Simulation:
    """The parts of one run, until its history is built."""

    def __init__(self, chance: Chance, network: SimulatedNetwork) -> None:
        self.chance = chance
        self.network = network
        self.loop = cast(SimulatedLoop, asyncio.get_running_loop())
        draws = chance.derive("settings")
        replicas = draws.pick(REPLICA_COUNTS)
        self.required_replicas = replicas if draws.has_luck(REPLICATED_SHARE) else 0
        self.limits = draws.pick(LIMIT_DRAWS)
        self.redis = RedisSite(
            self.loop,
            network,
            chance.derive("redis"),
            start_ms=START_MS,
            replicas=replicas,
            longest_lag_seconds=draws.pick(LAG_SECONDS),
        )
        archive_draws = chance.derive("archive")
        has_archive = archive_draws.has_luck(ARCHIVE_SHARE)
        log = EventLogRules()
        if has_archive:
            log = EventLogRules(has_archive=True, max_entries=archive_draws.pick(LOG_CAPACITIES))
        self.world = World(
            chance.derive("world"),
            self.read_true_ms,
            self.redis.address,
            replicas=self.required_replicas,
            limits=self.limits,
            jobs=frozenset(name for name in JOB_NAMES if draws.has_luck(JOB_SHARE)),
            log=log,
        )
        self.faults = FaultInjector(chance.derive("faults"), network, self.redis, self.world)
        self.archive = self._create_archive(archive_draws) if has_archive else None
        self.faults.archive = self.archive
        self.debts: list[StoredDebt] = []
        self.probe_names = draw_probes(chance.derive("probes"))
        self.budgets: list[StoredBudget] = []
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
        if self.archive:
            plan += draw_archive_plan(self.chance.derive("archive faults"), calls)
            plan.sort(key=lambda fault: fault[:2])
        schedule = FaultSchedule(self.faults, self.loop, plan, prefix)
        budget = CallBudget(min(calls, prefix.calls), schedule.start_call)
        await run_actors(self.world, draw_actors(draws, calls), budget)
        await self.faults.end_all()
        if self.archive:
            self.archive.end_faults()
        await settle(self.world)
        self.debts = collect_stored_debts(
            self.redis.server.keyspace, self.world.recorder.calls, self.read_true_ms()
        )
        self.budgets = await read_stored_budgets(self.world)
        if self.archive:
            await self.archive.catch_up()
        await probe_logins(self.world, self.probe_names)
        await flush_folds(self.world, list_folding_partitions(self.redis.server.keyspace))
        if self.archive:
            await wait_until_idle(self.world)  # its receipts write events, too
            await self.archive.stop()

    def build_history(self, unhandled_errors: list[str], logged: list[StoredBytes]) -> History:
        """Return what was observed, with what is stored now and what was logged."""
        keyspace, archive = self.redis.server.keyspace, None
        events, stored = collect_stored_events(keyspace), collect_stored_bytes(keyspace)
        if self.archive:
            archive = build_archive_record(self.archive, events, count_waiting_events(keyspace))
            events, stored = (
                merge_events(archive),
                [*stored, *collect_archived_bytes(self.archive)],
            )
        return self.world.recorder.build_history(
            self.chance.seed,
            build_audit_settings(
                is_replicated=self.required_replicas > 0,
                probe_actors=self.probe_names,
                limits=self.limits,
            ),
            events=events,
            budgets=self.budgets,
            stored=[*stored, *logged],
            unhandled_errors=[*unhandled_errors, *self.redis.findings],
            archive=archive,
            debts=self.debts,
        )

    def close(self) -> None:
        """Delete the files of the run."""
        if self.archive:
            self.archive.folder.close()

    def _create_archive(self, draws: Chance) -> ArchiveSite:
        threads = SimulatedThreads(self.loop, draws.derive("threads"))
        return ArchiveSite(draws, self.world, threads)


def draw_call_count(chance: Chance) -> int:
    """Return from 1 to MAX_CALLS calls; most runs have few, so that their failures are short."""
    if chance.has_luck(LONG_SHARE):
        return 1 + chance.draw_below(MAX_CALLS)
    count = 1
    while count < MAX_CALLS and not chance.has_luck(1 / MEAN_CALLS):
        count += 1
    return count
