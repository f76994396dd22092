"""One run: what is measured, in which order, and what came of it."""

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
"""Round trips to Redis of a pair, one after another: four of an issue and three of a verify."""

REFUSED_NUMBERS = 64
"""Numbers that are asked for again and again, while their cooldown lasts."""

HASHES_PER_PAIR = 2
"""Of a pair."""


class Options(msgspec.Struct, frozen=True):
    """What the command line can change, and how many cores there are."""

    rounds: int
    seconds: float
    connections: int
    workers: int
    threads: int
    cores: int


class Round(msgspec.Struct, frozen=True):
    """What was measured in turn: each next to what it is compared with."""

    ceiling: Measurement
    default: Measurement
    cheapest: Measurement
    bare: Measurement
    full: Measurement
    refusals: Measurement


class HalfLoad(msgspec.Struct, frozen=True):
    """How long calls took at this rate."""

    rate: float
    measurement: Measurement


class Bench:
    """One run on one stage."""

    def __init__(self, options: Options, stage: BenchEnvironment, outside: BenchTraffic) -> None:
        self.options = options
        self.rounds: list[Round] = []
        self.half_loads: dict[str, HalfLoad] = {}
        self.payload_bytes = 0
        """Bytes that a trip of the service brings to Redis, and so one of the bare application."""
        self._environment = stage
        self._traffic = outside
        self._numbers = generate_numbers()
        threads = {"WORKERS": str(options.threads)}
        self._default = stage.start_service("default", threads)
        self._cheapest = stage.start_service("cheapest", threads | CHEAPEST_HASH)
        self._bare: Target

    async def warm_up_targets(self) -> None:
        """Call everybody once, and see how much a trip carries."""
        with redis.Redis.from_url(self._environment.redis_url) as client:
            before = client.info("stats")["total_net_input_bytes"]
            tally = await self._measure_pairs(self._cheapest, build_minimal_body)
            after = client.info("stats")["total_net_input_bytes"]
        self.payload_bytes = (after - before) // (len(tally.verify_seconds) * TRIPS_PER_PAIR)
        self._bare = self._environment.start_bare_app(self.payload_bytes)
        await self._measure_pairs(self._bare, build_minimal_body)
        await self._measure_pairs(self._default, build_minimal_body)

    async def measure_round(self) -> None:
        """Measure everything once."""
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
        """Measure how long calls take at half of what there can be."""
        for name, target in (("default", self._default), ("cheapest", self._cheapest)):
            rate = statistics.median(tally.per_second for tally in self.list_measurements(name)) / 2
            work = PairWorkload(build_minimal_body, self._numbers, self._traffic.phones)
            async with self._traffic.open_connections(
                target, self.options.connections
            ) as connections:
                tally = await work.run_at_rate(connections, 4 * self.options.seconds, rate)
            self.half_loads[name] = HalfLoad(rate, tally)

    def list_measurements(self, name: str) -> list[Measurement]:
        """Return what the rounds have measured of this."""
        return [getattr(one, name) for one in self.rounds]

    async def _measure_ceiling(self) -> Measurement:
        options = self.options
        threads = options.workers * options.threads
        before = time.process_time()
        hashes = await asyncio.to_thread(
            measure_hash_rate, DEFAULT_PROFILE, threads, options.seconds
        )
        taken = time.process_time() - before
        return Measurement(
            per_second=hashes / HASHES_PER_PAIR,
            cpu_seconds=taken / max(1.0, hashes * options.seconds) * HASHES_PER_PAIR,
        )

    async def _measure_pairs(self, target: Target, build_body: Callable[[str], str]) -> Measurement:
        return await self._measure_workload(
            target, PairWorkload(build_body, self._numbers, self._traffic.phones)
        )

    async def _measure_refusals(self) -> Measurement:
        same = itertools.cycle(list(itertools.islice(self._numbers, REFUSED_NUMBERS)))
        return await self._measure_workload(
            self._cheapest, RefusalWorkload(build_minimal_body, same)
        )

    async def _measure_workload(self, target: Target, work: Workload) -> Measurement:
        async with self._traffic.open_connections(target, self.options.connections) as connections:
            before = self._environment.read_cpu_seconds(target)
            tally = await work.run_saturated(connections, self.options.seconds)
            tally.cpu_seconds = (self._environment.read_cpu_seconds(target) - before) / len(
                tally.issue_seconds
            )
        return tally


def build_minimal_body(number: str) -> str:
    """Return an issue that says no more than it must."""
    return f'{{"phone_number":"{number}"}}'


def build_full_body(number: str) -> str:
    """Return one that also says whose it is: two more buckets here, and two for the verify."""
    digits = int(number[-7:])
    address = f"10.{digits >> 16 & 255}.{digits >> 8 & 255}.{digits & 255}"
    return f'{{"phone_number":"{number}","account":"u{number[1:]}","client_ip":"{address}"}}'
