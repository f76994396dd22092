"""Row (f): the CPU of a pair while Redis has few and many live challenges, each with a Redis of its own."""

import contextlib
from itertools import islice
from pathlib import Path

import msgspec

from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.live_challenges import fill_challenges
from bench.options import Options
from bench.progress import print_progress
from bench.rounds import measure_workload
from bench.traffic import BenchTraffic, UnexpectedReplyError, generate_numbers
from bench.workloads import Measurement, PairWorkload, build_minimal_body


TEMPLATES = 500
"""Challenges that the service issues in each Redis; the others are copies."""

REDIS_OPTIONS = {"maxmemory": "8gb"}


class Level(msgspec.Struct):
    """A Redis with this many live challenges, and the pairs that were measured on it."""

    challenges: int
    bytes_per_challenge: float = 0.0
    measurements: list[Measurement] = []


class FlatnessBench:
    """All levels, measured in turns."""

    def __init__(self, options: Options, traffic: BenchTraffic) -> None:
        self.levels = [Level(count) for count in sorted(options.live)]
        self._options = options
        self._traffic = traffic
        self._numbers = generate_numbers()
        self._environments: list[BenchEnvironment] = []
        self._targets: list[Target] = []

    async def measure(self, folder: Path) -> None:
        """Fill each Redis, and measure the rounds."""
        options = self._options
        with contextlib.ExitStack() as stack:
            for level in self.levels:
                environment = BenchEnvironment(
                    folder / str(level.challenges),
                    self._traffic.gateway_url,
                    options.workers,
                    redis_options=REDIS_OPTIONS,
                )
                stack.enter_context(environment)
                print_progress(f"fill a Redis with {level.challenges:,} live challenges")
                await self._fill(level, environment)
            for number in range(1 + options.rounds):
                print_progress(f"live challenges: round {number} of {options.rounds}")
                await self._measure_round(is_warm_up=not number)

    async def _fill(self, level: Level, environment: BenchEnvironment) -> None:
        settings = {"WORKERS": str(self._options.threads)} | CHEAPEST_HASH
        target = environment.start_service("service", settings)
        self._environments.append(environment)
        self._targets.append(target)
        templates = min(TEMPLATES, level.challenges)
        await self._issue_codes(target, templates)
        url = environment.redis_url
        level.bytes_per_challenge = fill_challenges(url, templates, level.challenges)

    async def _issue_codes(self, target: Target, count: int) -> None:
        async with self._traffic.open_connections(target, 1) as (connection,):
            for number in islice(self._numbers, count):
                status, _ = await connection.send_post("/v1/challenges", build_minimal_body(number))
                if status != 201:  # noqa: PLR2004  # Created
                    raise UnexpectedReplyError(str(status))

    async def _measure_round(self, *, is_warm_up: bool) -> None:
        for level, environment, target in zip(
            self.levels, self._environments, self._targets, strict=True
        ):
            work = PairWorkload(build_minimal_body, self._numbers, self._traffic.phones)
            measurement = await measure_workload(
                self._options, environment, self._traffic, target, work
            )
            if not is_warm_up:
                level.measurements.append(measurement)
