"""`python -m bench.archive_cost`: what an archive costs a request.

Pairs of issue and verify with the cheapest hash, in turns: at a service that archives and seals all
that it tells, and at one that does not. Each has a Redis of its own, which counts as its own CPU;
what the sealer has yet to do after a measurement is waited for, and counts as well.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import redis
import uvloop

from bench.environment import CHEAPEST_HASH, BenchEnvironment
from bench.rounds import Options, build_minimal_body
from bench.table import format_header, format_measurement, format_row
from bench.traffic import (
    REPLY_TIMEOUT_SECONDS,
    BenchTraffic,
    Measurement,
    PairWorkload,
    generate_numbers,
)
from otp_service.audit.archive_format.key_files import create_key_files
from otp_service.core.challenge import PARTITION_COUNT


WARM_UP_SECONDS = 0.5
"""Seconds in which both are called before anything counts."""


class MeasuredService:
    """A service on a stage of its own, and what was measured of it."""

    def __init__(self, stage: BenchEnvironment, **settings: str) -> None:
        self.measurements: list[Measurement] = []
        self.parent_cpu_seconds: list[float] = []
        """Seconds of CPU of its workers' parent for each pair; the sealer is in there."""
        self._environment = stage
        self._target = stage.start_service("service", CHEAPEST_HASH, **settings)

    async def measure(
        self, outside: BenchTraffic, work: PairWorkload, connections: int, seconds: float
    ) -> None:
        """Do so many seconds of work, and wait until all of it is archived."""
        async with outside.open_connections(self._target, connections) as lines:
            cpu, parent = self._read_cpu()
            tally = await work.run_saturated(lines, seconds)
            await self._wait_until_archived()
            cpu, parent = (
                now - then for now, then in zip(self._read_cpu(), (cpu, parent), strict=True)
            )
        tally.cpu_seconds = cpu / len(tally.issue_seconds)
        self.measurements.append(tally)
        self.parent_cpu_seconds.append(parent / len(tally.issue_seconds))

    def _read_cpu(self) -> tuple[float, float]:
        return self._environment.read_cpu_seconds(
            self._target
        ), self._environment.read_parent_cpu_seconds(self._target)

    async def _wait_until_archived(self) -> None:
        """Come back once Redis may forget all entries; at once if there is no archive."""
        with redis.Redis.from_url(self._environment.redis_url) as client:
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                while _count_waiting(client):  # noqa: ASYNC110  # Redis tells nobody
                    await asyncio.sleep(0.05)


def _count_waiting(client: "redis.Redis") -> int:
    pipe = client.pipeline(transaction=False)
    for partition in range(PARTITION_COUNT):
        pipe.hget(f"{{{partition:02d}}}:log", "waiting")
    return sum(int(count or 0) for count in pipe.execute())


def main() -> int:
    """Measure, and print the table."""
    options = parse_options()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run_bench(options, Path(folder)))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.archive_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of both in turn (7)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--connections", type=int, default=32, help="of the login back end (32)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    known = parser.parse_args()
    return Options(**vars(known), threads=1, cores=len(os.sched_getaffinity(0)))


async def run_bench(options: Options, folder: Path) -> list[str]:
    """Return the table's lines."""
    key = folder / "audit.pem"
    create_key_files(key)
    audit = {"AUDIT__ARCHIVE": str(folder / "archive"), "AUDIT__SIGNING_KEY": str(key)}
    async with BenchTraffic() as outside:
        stages = [
            BenchEnvironment(folder / name, outside.gateway_url, options.workers)
            for name in ("one", "two")
        ]
        with stages[0], stages[1]:
            without, audited = MeasuredService(stages[0]), MeasuredService(stages[1], **audit)
            source = generate_numbers()
            for seconds in (WARM_UP_SECONDS, *[options.seconds] * options.rounds):
                for side in (without, audited):
                    work = PairWorkload(build_minimal_body, source, outside.phones)
                    await side.measure(outside, work, options.connections, seconds)
            return list(format_table(options, stages[0].redis_version, without, audited))


def format_table(
    options: Options, server: str, without: MeasuredService, audited: MeasuredService
) -> Iterator[str]:
    """Write it; the first measurement of each has only warmed it up."""
    before, after = without.measurements[1:], audited.measurements[1:]
    yield from format_header(options, server)
    yield format_measurement("pairs, cheapest hash, no archive", before)
    yield format_measurement("    archived and sealed", after, before)
    yield _format_difference(
        "    what that costs a pair",
        [t.cpu_seconds for t in after],
        [t.cpu_seconds for t in before],
    )
    yield _format_difference(
        "    of which the sealer takes",
        audited.parent_cpu_seconds[1:],
        without.parent_cpu_seconds[1:],
    )


def _format_difference(text: str, some: Sequence[float], others: Sequence[float]) -> str:
    more = median(a - b for a, b in zip(some, others, strict=True))
    return format_row(text, "", "", "", "", f"{1000 * more:.2f}")


if __name__ == "__main__":
    sys.exit(main())
