"""The measurements of rows (a) to (d) and (g), in turns: each round has one of each kind."""

import asyncio
import itertools
import statistics
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import msgspec
import redis

from bench.argon2_rate import EngineRate, measure_program
from bench.engines import Program
from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.options import Options
from bench.traffic import BenchTraffic, generate_numbers, generate_prefix_numbers
from bench.workloads import (
    Measurement,
    PairWorkload,
    RefusalWorkload,
    Workload,
    build_full_body,
    build_minimal_body,
)


TRIPS_PER_PAIR = 7
"""Sequential calls to Redis of a pair: four of an issue and three of a verify."""

REFUSED_NUMBERS = 64
"""Numbers that are issued again while their cooldown lasts."""

HASHES_PER_PAIR = 2
"""Hashes of an issue and a verify."""

NO_PREPARED_CODES = {"MAX_PREPARED_CODES": "0"}
"""For (a): the code before knows no such setting, and a stock would be used up in the first seconds."""

BEFORE = "before"
"""The name of the code of the earlier commit."""


class HalfLoad(msgspec.Struct, frozen=True):
    """Durations at half of the highest rate."""

    rate: float
    measurement: Measurement


class Bench:
    """The rows that are measured in one environment, by name; the order is that of a round.

    ceiling:ENGINE, default:ENGINE, default:before, cheapest, cheapest:before, bare, full, pumped,
    refusals, refusals:before. A row stands near those that it is compared with.
    """

    def __init__(
        self,
        options: Options,
        environment: BenchEnvironment,
        traffic: BenchTraffic,
        programs: dict[str, Program],
        before: Program | None,
    ) -> None:
        self.options = options
        self.rows: dict[str, list[Measurement]] = {}
        self.half_loads: dict[str, HalfLoad] = {}
        self.engines: dict[str, str] = {}
        """The name that the service gives to the engine of each program."""
        self.payload_bytes = 0
        """Bytes of a call of the service to Redis; those of the bare application are as large."""
        self._environment = environment
        self._traffic = traffic
        self._programs = programs
        self._before = before
        self._numbers = generate_numbers()
        self._prefixes = itertools.count()
        self._targets: dict[str, Target] = {}
        self._measures: dict[str, Callable[[], Awaitable[Measurement]]] = {}

    async def start_targets(self) -> None:
        """Start the services of the chosen rows, and load each of them once."""
        rows, threads = self.options.rows, {"WORKERS": str(self.options.threads)}
        cheapest = threads | CHEAPEST_HASH
        if "a" in rows:
            self._start_default_services(threads)
        if set(rows) & set("bcg"):
            self._start_service("cheapest", cheapest)
            if self._before and set(rows) & set("bc"):
                self._start_service(f"cheapest:{BEFORE}", cheapest, self._before)
        if "b" in rows:
            await self._start_bare_app()
        self._measures |= self._choose_cheapest_rows(rows)
        for target in self._targets.values():
            await self._measure_pairs(target)

    async def measure_round(self) -> None:
        for name, measure in self._measures.items():
            self.rows.setdefault(name, []).append(await measure())

    async def measure_half_loads(self) -> None:
        """Measure durations at half of the highest rate."""
        names = [name for name in self.rows if name in self._targets and BEFORE not in name]
        for name in (name for name in names if name != "bare"):
            rate = statistics.median(each.per_second for each in self.rows[name]) / 2
            if not rate:
                continue  # a measurement was shorter than one pair
            work = PairWorkload(build_minimal_body, self._numbers, self._traffic.phones)
            count = self.options.connections
            async with self._traffic.open_connections(self._targets[name], count) as connections:
                measurement = await work.run_at_rate(connections, 4 * self.options.seconds, rate)
            self.half_loads[name] = HalfLoad(rate, measurement)

    def _start_default_services(self, threads: dict[str, str]) -> None:
        for engine, program in self._programs.items():
            self._measures[f"ceiling:{engine}"] = partial(self._measure_ceiling, engine, program)
            self._start_pairs(f"default:{engine}", threads | NO_PREPARED_CODES, program)
        if self._before:
            self._start_pairs(f"default:{BEFORE}", threads, self._before)

    def _start_pairs(self, name: str, settings: dict[str, str], program: Program) -> None:
        target = self._start_service(name, settings, program)
        self._measures[name] = partial(self._measure_pairs, target)

    def _start_service(
        self,
        name: str,
        settings: dict[str, str],
        program: Program = Program(),  # noqa: B008  # immutable
    ) -> Target:
        file_name = name.replace(":", "-").replace(" ", "-")
        self._targets[name] = target = self._environment.start_service(file_name, settings, program)
        return target

    async def _start_bare_app(self) -> None:
        """Start the bare application with the payload of the service's calls to Redis."""
        with redis.Redis.from_url(self._environment.redis_url) as client:
            before = client.info("stats")["total_net_input_bytes"]
            measurement = await self._measure_pairs(self._targets["cheapest"])
            after = client.info("stats")["total_net_input_bytes"]
        self.payload_bytes = (after - before) // (len(measurement.verify_seconds) * TRIPS_PER_PAIR)
        self._targets["bare"] = self._environment.start_bare_app(self.payload_bytes)

    def _choose_cheapest_rows(self, rows: str) -> dict[str, Callable[[], Awaitable[Measurement]]]:
        of = self._targets
        chosen: dict[str, Callable[[], Awaitable[Measurement]]] = {}
        if "b" in rows:
            chosen["bare"] = partial(self._measure_pairs, of["bare"])
        if "b" in rows or "g" in rows:
            chosen["cheapest"] = partial(self._measure_pairs, of["cheapest"])
        if "b" in rows and self._before:
            chosen[f"cheapest:{BEFORE}"] = partial(self._measure_pairs, of[f"cheapest:{BEFORE}"])
        if "g" in rows:
            chosen["pumped"] = self._measure_pumped_prefix
        if "b" in rows:
            chosen["full"] = partial(self._measure_pairs, of["cheapest"], build_full_body)
        if "c" in rows:
            chosen["refusals"] = partial(self._measure_refusals, of["cheapest"])
        if "c" in rows and self._before:
            target = of[f"cheapest:{BEFORE}"]
            chosen[f"refusals:{BEFORE}"] = partial(self._measure_refusals, target)
        return chosen

    async def _measure_ceiling(self, name: str, program: Program) -> Measurement:
        threads = self.options.workers * self.options.threads
        rate: EngineRate = await asyncio.to_thread(
            measure_program, program, threads, self.options.seconds
        )
        self.engines[name] = rate.engine
        return Measurement(
            per_second=rate.hashes_per_second / HASHES_PER_PAIR,
            cpu_seconds=rate.cpu_seconds_per_hash * HASHES_PER_PAIR,
        )

    async def _measure_pairs(
        self, target: Target, build_body: Callable[[str], str] = build_minimal_body
    ) -> Measurement:
        return await self._measure_workload(
            target, PairWorkload(build_body, self._numbers, self._traffic.phones)
        )

    async def _measure_pumped_prefix(self) -> Measurement:
        """Measure pairs of one prefix: everything about their numbers is in one partition."""
        numbers: Iterator[str] = generate_prefix_numbers(next(self._prefixes))
        work = PairWorkload(build_minimal_body, numbers, self._traffic.phones)
        return await self._measure_workload(self._targets["cheapest"], work)

    async def _measure_refusals(self, target: Target) -> Measurement:
        numbers = itertools.cycle(list(itertools.islice(self._numbers, REFUSED_NUMBERS)))
        return await self._measure_workload(target, RefusalWorkload(build_minimal_body, numbers))

    async def _measure_workload(self, target: Target, work: Workload) -> Measurement:
        return await measure_workload(self.options, self._environment, self._traffic, target, work)


async def measure_workload(
    options: Options,
    environment: BenchEnvironment,
    traffic: BenchTraffic,
    target: Target,
    work: Workload,
) -> Measurement:
    """Run the work on all connections, and measure its CPU too."""
    async with traffic.open_connections(target, options.connections) as connections:
        before = environment.read_cpu_seconds(target)
        redis_before = environment.read_redis_cpu_seconds()
        measurement = await work.run_saturated(connections, options.seconds)
        count = len(measurement.issue_seconds)  # all pieces, counted or not
        measurement.cpu_seconds = (environment.read_cpu_seconds(target) - before) / count
        used = environment.read_redis_cpu_seconds() - redis_before
        measurement.redis_cpu_seconds = used / count
    return measurement
