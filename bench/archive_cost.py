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

from bench.environment import CHEAPEST, Stage
from bench.rounds import Options, plain
from bench.table import head, line, row
from bench.traffic import PATIENCE, Outside, Pairs, Tally, numbers
from otp_service.audit.archive_format.key_files import write_key
from otp_service.core.challenge import PARTITIONS


WARM_UP = 0.5
"""Seconds in which both are called before anything counts."""


class Side:
    """A service on a stage of its own, and what was measured of it."""

    def __init__(self, stage: Stage, **settings: str) -> None:
        self.tallies: list[Tally] = []
        self.parent: list[float] = []
        """Seconds of CPU of its workers' parent for each pair; the sealer is in there."""
        self._stage = stage
        self._service = stage.service("service", CHEAPEST, **settings)

    async def measure(
        self, outside: Outside, work: Pairs, connections: int, seconds: float
    ) -> None:
        """Do so many seconds of work, and wait until all of it is archived."""
        async with outside.connected(self._service, connections) as lines:
            cpu, parent = self._cpu()
            tally = await work.flood(lines, seconds)
            await self._until_archived()
            cpu, parent = (now - then for now, then in zip(self._cpu(), (cpu, parent), strict=True))
        tally.cpu = cpu / len(tally.issue)
        self.tallies.append(tally)
        self.parent.append(parent / len(tally.issue))

    def _cpu(self) -> tuple[float, float]:
        return self._stage.cpu(self._service), self._stage.cpu_of_parent(self._service)

    async def _until_archived(self) -> None:
        """Come back once Redis may forget all entries; at once if there is no archive."""
        with redis.Redis.from_url(self._stage.redis) as client:
            async with asyncio.timeout(PATIENCE):
                while _waiting(client):  # noqa: ASYNC110  # Redis tells nobody
                    await asyncio.sleep(0.05)


def _waiting(client: "redis.Redis") -> int:
    pipe = client.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipe.hget(f"{{{partition:02d}}}:log", "waiting")
    return sum(int(count or 0) for count in pipe.execute())


def main() -> int:
    """Measure, and print the table."""
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run(options, Path(folder)))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def read_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.archive_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of both in turn (7)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (3)")
    parser.add_argument("--connections", type=int, default=32, help="of the login back end (32)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    known = parser.parse_args()
    return Options(**vars(known), threads=1, cores=len(os.sched_getaffinity(0)))


async def run(options: Options, folder: Path) -> list[str]:
    """Return the table's lines."""
    key = folder / "audit.pem"
    write_key(key)
    audit = {"AUDIT__ARCHIVE": str(folder / "archive"), "AUDIT__SIGNING_KEY": str(key)}
    async with Outside() as outside:
        stages = [Stage(folder / name, outside.gateway, options.workers) for name in ("one", "two")]
        with stages[0], stages[1]:
            without, audited = Side(stages[0]), Side(stages[1], **audit)
            source = numbers()
            for seconds in (WARM_UP, *[options.seconds] * options.rounds):
                for side in (without, audited):
                    work = Pairs(plain, source, outside.phones)
                    await side.measure(outside, work, options.connections, seconds)
            return list(table(options, stages[0].server, without, audited))


def table(options: Options, server: str, without: Side, audited: Side) -> Iterator[str]:
    """Write it; the first measurement of each has only warmed it up."""
    before, after = without.tallies[1:], audited.tallies[1:]
    yield from head(options, server)
    yield line("pairs, cheapest hash, no archive", before)
    yield line("    archived and sealed", after, before)
    yield _more("    what that costs a pair", [t.cpu for t in after], [t.cpu for t in before])
    yield _more("    of which the sealer takes", audited.parent[1:], without.parent[1:])


def _more(text: str, some: Sequence[float], others: Sequence[float]) -> str:
    more = median(a - b for a, b in zip(some, others, strict=True))
    return row(text, "", "", "", "", f"{1000 * more:.2f}")


if __name__ == "__main__":
    sys.exit(main())
