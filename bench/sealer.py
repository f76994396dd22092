"""`python -m bench.sealer`: how many events a second go through the sealer.

They lie in Redis, as after an hour without a sealer, in all partitions; one sealer checks their
MACs, writes them to a folder with fsync, marks them in Redis, and seals each five thousand.
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
from otp_service.core.events import Sent
from otp_service.core.ports import Commit
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.audit.sealed_log import SealedLog


COMMITS_PER_TRIP = 200
"""Commits in one round trip, while Redis is filled."""


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sealer", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="that wait (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="each in a folder of its own (3)")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = asyncio.run(run_bench(Path(folder), known.events, known.rounds))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(folder: Path, events: int, rounds: int) -> list[str]:
    """Return what was measured, line by line."""
    with EmbeddedServer(folder / "redis") as server:
        async with ScriptClient(create_redis_client(url=server.url, timeout_ms=5000)) as link:
            log = SealedLog(link, folder, maximum=events)
            sys.stderr.write(f"bench: tells {events:,} events\n")
            await fill_log(log, events)
            found = [await measure_sealer(log, folder / str(number)) for number in range(rounds)]
    each, core = (", ".join(f"{speed:,.0f}" for speed in some) for some in zip(*found, strict=True))
    return [
        f"{platform.machine()}, Python {platform.python_version()}, {server.version}",
        f"events a second: {each}; a second of the sealer's core: {core}",
    ]


async def fill_log(log: SealedLog, events: int) -> None:
    """Tell so many events, over all partitions."""
    about = {k: v for k, v in FULL_EVENT.items() if k != "outcome"}
    for start in range(0, events, COMMITS_PER_TRIP):
        await log.store.commit_all(
            [
                Commit(
                    partition=number % PARTITION_COUNT,
                    operation_id=f"bench-{number}",
                    events=(Sent(id=f"{number:032x}", provider="p", milliseconds=9, **about),),
                )
                for number in range(start, start + COMMITS_PER_TRIP)
            ]
        )


async def measure_sealer(log: SealedLog, folder: Path) -> tuple[float, float]:
    """Return events a second into a new folder, and a second of the core that it takes."""
    log.folder = folder
    sealer = log.create_sealer(clock=time.monotonic, seal_seconds=10)
    began, cpu = time.perf_counter(), time.process_time()
    more = True
    while more:
        more = await sealer.run_once()
    await sealer.stop()
    archived = sealer.status.archived
    return archived / (time.perf_counter() - began), archived / (time.process_time() - cpu)


if __name__ == "__main__":
    sys.exit(main())
