"""`python -m bench.archive_cost`: what an archive costs a request.

It measures pairs of issue and verify with the cheapest hash, in turns: at a service that archives and
seals all its events, and at one without an archive. Each has its own Redis, whose CPU is counted. After
a measurement it waits until the sealer has finished, and counts that CPU too.
"""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import redis

from bench.cost import parse_cost_options, print_bench
from bench.environment import CHEAPEST_HASH, BenchEnvironment
from bench.options import Options
from bench.table import (
    format_header,
    format_measurement,
    format_measurement_header,
    format_milliseconds,
    format_ratio,
    format_row,
    list_rates,
)
from bench.traffic import REPLY_TIMEOUT_SECONDS, BenchTraffic, generate_numbers
from bench.workloads import Measurement, PairWorkload, build_minimal_body
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.core.challenge import PARTITION_COUNT


WARM_UP_SECONDS = 0.5
"""Seconds of load on both services before the first measurement."""


class MeasuredService:
    """A service in an environment of its own, and its measurements."""

    def __init__(self, environment: BenchEnvironment, **settings: str) -> None:
        self.measurements: list[Measurement] = []
        self.parent_cpu_seconds: list[float] = []
        """CPU seconds of the parent process for each pair: the sealer runs in it."""
        self._environment = environment
        self._target = environment.start_service("service", CHEAPEST_HASH, **settings)

    async def measure(
        self, traffic: BenchTraffic, work: PairWorkload, connections: int, seconds: float
    ) -> None:
        """Measure this many seconds of work, and wait until all its events are archived."""
        async with traffic.open_connections(self._target, connections) as lines:
            cpu, parent = self._read_cpu()
            measurement = await work.run_saturated(lines, seconds)
            await self._wait_until_archived()
            cpu_after, parent_after = self._read_cpu()
        measurement.cpu_seconds = (cpu_after - cpu) / len(measurement.issue_seconds)
        self.measurements.append(measurement)
        self.parent_cpu_seconds.append((parent_after - parent) / len(measurement.issue_seconds))

    def _read_cpu(self) -> tuple[float, float]:
        environment, target = self._environment, self._target
        return environment.read_cpu_seconds(target), environment.read_parent_cpu_seconds(target)

    async def _wait_until_archived(self) -> None:
        """Wait until Redis has no entry left to archive; there is none without an archive."""
        with redis.Redis.from_url(self._environment.redis_url) as client:
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                while _count_waiting(client):  # noqa: ASYNC110  # Redis sends no notification
                    await asyncio.sleep(0.05)


def _count_waiting(client: "redis.Redis") -> int:
    pipe = client.pipeline(transaction=False)
    for partition in range(PARTITION_COUNT):
        pipe.hget(f"{{{partition:02d}}}:log", "waiting")
    return sum(int(count or 0) for count in pipe.execute())


def main() -> int:
    options = parse_cost_options(
        "archive_cost", __doc__, rounds=7, seconds=3.0, connections=32, workers=2
    )
    return print_bench(run_bench, options)


async def run_bench(options: Options, folder: Path) -> list[str]:
    """Return the lines of the table."""
    key = folder / "audit.pem"
    create_key_files(key)
    audit = {"AUDIT__ARCHIVE": str(folder / "archive"), "AUDIT__SIGNING_KEY": str(key)}
    async with BenchTraffic() as traffic:
        environments = [
            BenchEnvironment(folder / name, traffic.gateway_url, options.workers)
            for name in ("one", "two")
        ]
        with environments[0], environments[1]:
            without, audited = (
                MeasuredService(environments[0]),
                MeasuredService(environments[1], **audit),
            )
            source = generate_numbers()
            for seconds in (WARM_UP_SECONDS, *[options.seconds] * options.rounds):
                for side in (without, audited):
                    work = PairWorkload(build_minimal_body, source, traffic.phones)
                    await side.measure(traffic, work, options.connections, seconds)
            return list(format_table(options, environments[0].redis_version, without, audited))


def format_table(
    options: Options, server: str, without: MeasuredService, audited: MeasuredService
) -> Iterator[str]:
    """Yield the lines of the table; the first measurement of each was only the warm-up."""
    before, after = without.measurements[1:], audited.measurements[1:]
    yield from format_header(options, server)
    yield ""
    yield format_measurement_header()
    yield format_measurement("pairs, cheapest hash, no archive", before)
    yield format_measurement("    archived and sealed", after)
    yield format_ratio("    ratio of the rates", list_rates(after), list_rates(before))
    yield _format_difference(
        "    cost of a pair",
        [t.cpu_seconds for t in after],
        [t.cpu_seconds for t in before],
    )
    yield _format_difference(
        "    of which the sealer",
        audited.parent_cpu_seconds[1:],
        without.parent_cpu_seconds[1:],
    )


def _format_difference(text: str, some: Sequence[float], others: Sequence[float]) -> str:
    more = median(a - b for a, b in zip(some, others, strict=True))
    return format_row(text, "", "", format_milliseconds(more))


if __name__ == "__main__":
    sys.exit(main())
