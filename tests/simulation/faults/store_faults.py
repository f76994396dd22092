"""Faults of the store: it is down, full, read-only, loading, replaced, or fails over."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from otp_service.store.commit_request import LogLimits
from tests.simulation.faults.injector import FaultInjector
from tests.simulation.history import FaultKind
from tests.simulation.redis_model.redis_site import FormerMaster
from tests.simulation.redis_model.server import SimulatedServer


MAX_OUTAGE_MS: Final = 8_000
MAX_STALL_MS: Final = 4_000
RETURN_SHARE: Final = 0.4
KILL_SECONDS: Final = 0.005
"""After which a demoted master breaks its connections: Sentinel sends CLIENT KILL with REPLICAOF."""

MAX_LOST_WRITES: Final = 4
"""Of a restart: what was acknowledged within the last second, with `appendfsync everysec`."""

SLOW_LAG_SECONDS: Final = (0.05, 0.3)
"""Each way, at most: a WAIT of 100 ms is met by chance, or mostly not."""

CLOCK_STEPS_MS: Final = (-3_600_000, -31_000, -1_500, 700, 5_000, 61_000, 400_000)


def end_process(faults: FaultInjector) -> None:
    """End the process; after a while it is started again, maybe without its last writes."""
    redis = faults.redis
    tail = faults.chance.pick((0, 0, faults.chance.draw_below(MAX_LOST_WRITES + 1)))

    def restart() -> None:
        lost = min(tail, len(redis.server.write_boundaries))
        redis.restart(lost)
        faults.record_instant(FaultKind.STORE_RESTART, redis.server.name, lost_writes=lost)

    faults.begin(FaultKind.STORE_DOWN, "store", redis.crash, restart, longest_ms=MAX_OUTAGE_MS)


def freeze_process(faults: FaultInjector) -> None:
    """Stop the process, as SIGSTOP or a slow disk does it."""
    server = faults.redis.server
    faults.begin(
        FaultKind.STORE_DOWN, "store", server.freeze, server.thaw, longest_ms=MAX_OUTAGE_MS
    )


def fill_memory(faults: FaultInjector) -> None:
    _set_state(faults, FaultKind.STORE_FULL, "is_full")


def fill_disk(faults: FaultInjector) -> None:
    _set_state(faults, FaultKind.STORE_READ_ONLY, "is_disk_full")


def fill_event_log(faults: FaultInjector) -> None:
    """Let no entry of the event log be archived, and the log have no capacity."""
    stores = [worker.store for worker in faults.world.installation.workers.values()]
    limits = [store._log_limits for store in stores]

    def set_limits(limits: Iterable[LogLimits]) -> None:
        for store, each in zip(stores, limits, strict=True):
            store._log_limits = each

    full = [LogLimits(each.retention_ms, 0, has_archive=True) for each in limits]
    start, end = partial(set_limits, full), partial(set_limits, limits)
    faults.begin(FaultKind.ARCHIVE_FULL, "log", start, end, longest_ms=MAX_OUTAGE_MS)


def load_data(faults: FaultInjector) -> None:
    _set_state(faults, FaultKind.STORE_LOADING, "is_loading")


def replace_by_empty(faults: FaultInjector) -> None:
    """Let an empty server answer at the address; maybe its data are found again after a while."""
    faults.end_on("store")
    faults.redis.replace_by_empty()
    faults.record_instant(FaultKind.STORE_REPLACED, faults.redis.server.name)
    if faults.chance.has_luck(RETURN_SHARE):
        seconds = faults.chance.draw_ms(1, MAX_OUTAGE_MS) / 1000
        faults.loop.call_later(seconds, faults.strike, bring_back_former, faults.chance)


def bring_back_former(faults: FaultInjector) -> None:
    """Start an earlier server again with the data that it had, as when a backup is restored."""
    redis = faults.redis
    formers = [server for server in dict.fromkeys(redis.servers) if server is not redis.server]
    if not formers:
        return
    former = faults.chance.pick(formers)
    data, boundaries = former.keyspace, former.write_boundaries
    for name in ("store", "replicas", *dict.fromkeys(server.name for server in redis.servers)):
        faults.end_on(name)
    followers = [replica.name for replica in redis.server.replication.replicas]
    former.keyspace, former.write_boundaries = data, boundaries  # also if it has followed meanwhile
    redis.bring_back(former)
    for name in followers:
        redis.add_replica(name)
    faults.record_instant(FaultKind.STORE_REPLACED, former.name)


def fail_over(faults: FaultInjector) -> None:
    """Promote a replica; the former master comes back as one after a while.

    It may not know of it until then, and takes writes that are lost.
    """
    redis, recorder = faults.redis, faults.world.recorder
    former, old = faults.chance.pick([*FormerMaster]), redis.server
    if not old.replication.replicas:
        return
    faults.end_on("store")
    lost = redis.fail_over(former)
    faults.end_on("replicas")
    index = recorder.start_fault(FaultKind.STORE_FAILOVER, redis.server.name, lost_writes=lost)
    recorder.end_fault(index)
    if former is FormerMaster.DEMOTED:
        asyncio.get_running_loop().call_later(KILL_SECONDS, old.reset_connections)
    rejoin = partial(_rejoin, faults, old, len(old.write_boundaries), index)
    faults.begin(FaultKind.REPLICA_DOWN, old.name, lambda: None, rejoin, longest_ms=MAX_STALL_MS)


def stall_replicas(faults: FaultInjector) -> None:
    """Let some replicas, or all of them, get nothing for a while."""
    redis = faults.redis
    replicas = redis.server.replication.replicas
    if replicas:
        count = 1 + faults.chance.draw_below(len(replicas))
        stall = partial(redis.stall_replicas, count)
        faults.begin(
            FaultKind.REPLICA_DOWN,
            "replicas",
            stall,
            redis.resume_replicas,
            longest_ms=MAX_STALL_MS,
        )


def slow_replicas(faults: FaultInjector) -> None:
    """Let each replica get what is written later, so that a WAIT may not be met."""
    redis, usual = faults.redis, faults.redis.longest_lag_seconds
    if redis.server.replication.replicas:
        slow = partial(setattr, redis, "longest_lag_seconds", faults.chance.pick(SLOW_LAG_SECONDS))
        end = partial(setattr, redis, "longest_lag_seconds", usual)
        faults.begin(FaultKind.REPLICA_SLOW, "lag", slow, end, longest_ms=MAX_OUTAGE_MS)


def jump_clock(faults: FaultInjector) -> None:
    """Set the clock of the server, until somebody sets it right."""
    redis, step_ms = faults.redis, faults.chance.pick(CLOCK_STEPS_MS)
    faults.begin(
        FaultKind.STORE_CLOCK,
        "store",
        partial(redis.jump_clock, step_ms),
        partial(redis.jump_clock, -step_ms),
        longest_ms=faults.chance.pick((5_000, 60_000, 3_600_000)),
        jump_ms=step_ms,
    )


def _set_state(faults: FaultInjector, kind: FaultKind, name: str) -> None:
    """Set a state of the present server, and reset it on the same one."""
    server = faults.redis.server
    start, end = (partial(setattr, server, name, value) for value in (True, False))
    faults.begin(kind, "store", start, end, longest_ms=MAX_OUTAGE_MS)


def _rejoin(faults: FaultInjector, old: SimulatedServer, known: int, index: int) -> None:
    """Make the former master a replica. If it took writes in vain, the failover has lasted until now."""
    lost = len(old.write_boundaries) - known
    faults.redis.demote_former()
    old.reset_connections()
    faults.redis.add_replica(old.name)
    if lost:
        faults.world.recorder.end_fault(index, lost_writes=lost)
