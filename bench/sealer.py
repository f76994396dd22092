"""`python -m bench.sealer`: how many events a sealer archives a second.

The events wait in all partitions of Redis, as after an hour without a sealer. One sealer checks their
MACs, writes them to a folder with fsync, marks them in Redis, and seals every five thousand.
"""

import argparse
import asyncio
import platform
import sys
import tempfile
import time
from pathlib import Path

from bench.archive_verification import FULL_EVENT
from otp_service.core.challenge import PARTITION_COUNT
from otp_service.core.commit import Commit
from otp_service.core.events import Sent
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.audit.sealed_log import SealedLog


COMMITS_PER_TRIP = 200
"""Commits in one round trip while Redis is filled."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sealer", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="events that wait (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, each in a new folder (3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = asyncio.run(run_bench(Path(folder), args.events, args.rounds))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(folder: Path, events: int, rounds: int) -> list[str]:
    """Return the lines of the result."""
    with EmbeddedServer(folder / "redis") as server:
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            log = SealedLog(link, folder, maximum=events)
            sys.stderr.write(f"bench: write {events:,} events to Redis\n")
            await fill_log(log, events)
            rates = [await measure_sealer(log, folder / str(number)) for number in range(rounds)]
    by_clock, by_cpu = (
        ", ".join(f"{rate:,.0f}" for rate in each) for each in zip(*rates, strict=True)
    )
    return [
        f"{platform.machine()}, Python {platform.python_version()}, {server.version}",
        f"events a second: {by_clock}; a second of the sealer's core: {by_cpu}",
    ]


async def fill_log(log: SealedLog, events: int) -> None:
    """Append this many events, over all partitions."""
    fields = {name: value for name, value in FULL_EVENT.items() if name != "outcome"}
    for start in range(0, events, COMMITS_PER_TRIP):
        await log.store.commit_all(
            [
                Commit(
                    partition=number % PARTITION_COUNT,
                    operation_id=f"bench-{number}",
                    events=(Sent(id=f"{number:032x}", provider="p", milliseconds=9, **fields),),
                )
                for number in range(start, start + COMMITS_PER_TRIP)
            ]
        )


async def measure_sealer(log: SealedLog, folder: Path) -> tuple[float, float]:
    """Archive into a new folder; return events a second, and events a second of CPU time."""
    log.folder = folder
    sealer = log.create_sealer(clock=time.monotonic, seal_seconds=10)
    began, cpu = time.perf_counter(), time.process_time()
    while await sealer.run_once():
        pass
    await sealer.stop()
    archived = sealer.status.archived
    return archived / (time.perf_counter() - began), archived / (time.process_time() - cpu)


if __name__ == "__main__":
    sys.exit(main())
