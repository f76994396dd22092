"""One run of the bench: its measurements and their order."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable

import msgspec
import redis

from bench.argon2_rate import measure_hash_rate
from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.traffic import (
    BenchTraffic,
    Measurement,
    PairWorkload,
    RefusalWorkload,
    Workload,
    generate_numbers,
)
from otp_service.core.argon2_profile import DEFAULT_PROFILE


TRIPS_PER_PAIR = 7
"""Sequential calls to Redis of a pair: four of an issue and three of a verify."""

REFUSED_NUMBERS = 64
"""Numbers that are issued again while their cooldown lasts."""

HASHES_PER_PAIR = 2
"""Hashes of an issue and a verify."""


class Options(msgspec.Struct, frozen=True):
    """The options of the command line, and the number of cores."""

    rounds: int
    seconds: float
    connections: int
    workers: int
    threads: int
    cores: int


class Round(msgspec.Struct, frozen=True):
    """One measurement of each kind; a kind follows its baseline, to compare under the same load."""

    ceiling: Measurement
    default: Measurement
    cheapest: Measurement
    bare: Measurement
    full: Measurement
    refusals: Measurement


class HalfLoad(msgspec.Struct, frozen=True):
    """Durations at half of the highest rate."""

    rate: float
    measurement: Measurement


class Bench:
    """One run in one environment."""

    def __init__(
        self, options: Options, environment: BenchEnvironment, traffic: BenchTraffic
    ) -> None:
        self.options = options
        self.rounds: list[Round] = []
        self.half_loads: dict[str, HalfLoad] = {}
        self.payload_bytes = 0
        """Bytes of a call of the service to Redis; those of the bare application are as large."""
        self._environment = environment
        self._traffic = traffic
        self._numbers = generate_numbers()
        threads = {"WORKERS": str(options.threads)}
        self._default = environment.start_service("default", threads)
        self._cheapest = environment.start_service("cheapest", threads | CHEAPEST_HASH)
        self._bare: Target

    async def warm_up_targets(self) -> None:
        """Load each target once, and measure the payload of a call to Redis."""
        with redis.Redis.from_url(self._environment.redis_url) as client:
            before = client.info("stats")["total_net_input_bytes"]
            measurement = await self._measure_pairs(self._cheapest, build_minimal_body)
            after = client.info("stats")["total_net_input_bytes"]
        self.payload_bytes = (after - before) // (len(measurement.verify_seconds) * TRIPS_PER_PAIR)
        self._bare = self._environment.start_bare_app(self.payload_bytes)
        await self._measure_pairs(self._bare, build_minimal_body)
        await self._measure_pairs(self._default, build_minimal_body)

    async def measure_round(self) -> None:
        self.rounds.append(
            Round(
                ceiling=await self._measure_ceiling(),
                default=await self._measure_pairs(self._default, build_minimal_body),
                cheapest=await self._measure_pairs(self._cheapest, build_minimal_body),
                bare=await self._measure_pairs(self._bare, build_minimal_body),
                full=await self._measure_pairs(self._cheapest, build_full_body),
                refusals=await self._measure_refusals(),
            )
        )

    async def measure_half_loads(self) -> None:
        """Measure durations at half of the highest rate."""
        for name, target in (("default", self._default), ("cheapest", self._cheapest)):
            rate = (
                statistics.median(
                    measurement.per_second for measurement in self.list_measurements(name)
                )
                / 2
            )
            work = PairWorkload(build_minimal_body, self._numbers, self._traffic.phones)
            async with self._traffic.open_connections(
                target, self.options.connections
            ) as connections:
                measurement = await work.run_at_rate(connections, 4 * self.options.seconds, rate)
            self.half_loads[name] = HalfLoad(rate, measurement)

    def list_measurements(self, name: str) -> list[Measurement]:
        """Return the measurements of this kind, one a round."""
        return [getattr(each, name) for each in self.rounds]

    async def _measure_ceiling(self) -> Measurement:
        options = self.options
        threads = options.workers * options.threads
        before = time.process_time()
        hashes = await asyncio.to_thread(
            measure_hash_rate, DEFAULT_PROFILE, threads, options.seconds
        )
        cpu_seconds = time.process_time() - before
        return Measurement(
            per_second=hashes / HASHES_PER_PAIR,
            cpu_seconds=cpu_seconds / max(1.0, hashes * options.seconds) * HASHES_PER_PAIR,
        )

    async def _measure_pairs(self, target: Target, build_body: Callable[[str], str]) -> Measurement:
        return await self._measure_workload(
            target, PairWorkload(build_body, self._numbers, self._traffic.phones)
        )

    async def _measure_refusals(self) -> Measurement:
        numbers = itertools.cycle(list(itertools.islice(self._numbers, REFUSED_NUMBERS)))
        return await self._measure_workload(
            self._cheapest, RefusalWorkload(build_minimal_body, numbers)
        )

    async def _measure_workload(self, target: Target, work: Workload) -> Measurement:
        async with self._traffic.open_connections(target, self.options.connections) as connections:
            before = self._environment.read_cpu_seconds(target)
            measurement = await work.run_saturated(connections, self.options.seconds)
            measurement.cpu_seconds = (self._environment.read_cpu_seconds(target) - before) / len(
                measurement.issue_seconds
            )
        return measurement


def build_minimal_body(number: str) -> str:
    """Return the body of an issue with only the required member."""
    return f'{{"phone_number":"{number}"}}'


def build_full_body(number: str) -> str:
    """Return a body with account and client_ip: two more buckets for the issue and the verify."""
    digits = int(number[-7:])
    address = f"10.{digits >> 16 & 255}.{digits >> 8 & 255}.{digits & 255}"
    return f'{{"phone_number":"{number}","account":"u{number[1:]}","client_ip":"{address}"}}'
