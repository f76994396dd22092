"""How many logins a second a host with more cores bears, computed from a measurement."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import msgspec

from bench.table import format_row
from bench.workloads import Measurement


HOST_CORES = (4, 8, 16, 32, 64)

MAX_REDIS_SHARE = 0.8
"""Of one core: Redis runs scripts in one thread, and its waiting times grow near its limit."""


class HostSize(msgspec.Struct, frozen=True):
    """A host on which the service and Redis share the cores."""

    cores: int
    logins_per_second: float
    redis_share: float
    """Of one core."""
    is_limited_by_redis: bool = False


def compute_host_size(
    cores: int, measured_cores: int, per_second: float, redis_cpu_seconds: float
) -> HostSize:
    """Return what more cores bear, if the rate grows with them until Redis has no more.

    `per_second` was measured on `measured_cores`, and each login needed `redis_cpu_seconds`.
    """
    by_cores = per_second * cores / measured_cores
    by_redis = MAX_REDIS_SHARE / redis_cpu_seconds
    rate = min(by_cores, by_redis)
    return HostSize(cores, rate, rate * redis_cpu_seconds, by_redis < by_cores)


def format_sizes(
    engines: Mapping[str, Sequence[Measurement]],
    measured_cores: int,
    busy: Sequence[Measurement] = (),
) -> Iterator[str]:
    """Yield a line for each engine and number of cores; the first of each engine was measured.

    `busy` are measurements at a high rate, at which Redis needs less CPU for each login: those of
    the cheapest hash. They are used for what is computed, if there are any.
    """
    yield format_row("cores, engine, default hash", "logins/s", "Redis, of a core")
    for engine, measurements in engines.items():
        rate = median(each.per_second for each in measurements)
        own_redis_cpu = median(each.redis_cpu_seconds for each in measurements)
        busy_redis_cpu = median(each.redis_cpu_seconds for each in busy or measurements)
        if not rate or not own_redis_cpu or not busy_redis_cpu:
            continue
        for cores in (measured_cores, *(each for each in HOST_CORES if each > measured_cores)):
            is_measured = cores == measured_cores
            redis_cpu = own_redis_cpu if is_measured else busy_redis_cpu
            size = compute_host_size(cores, measured_cores, rate, redis_cpu)
            kind = "measured" if is_measured else "computed"
            limit = ", limit" if size.is_limited_by_redis else ""
            yield format_row(
                f"{cores:>6}  {engine}, {kind}",
                f"{size.logins_per_second:.0f}",
                f"{size.redis_share:.0%}{limit}",
            )
