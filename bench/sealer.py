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

from bench.archive_verification import EVENT
from otp_service.core.challenge import PARTITIONS
from otp_service.core.events import Sent
from otp_service.core.ports import Commit
from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from tests.audit.sealed_log import Log


TOGETHER = 200
"""Commits in one round trip, while Redis is filled."""


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sealer", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="that wait (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="each in a folder of its own (3)")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = asyncio.run(run(Path(folder), known.events, known.rounds))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run(folder: Path, events: int, rounds: int) -> list[str]:
    """Return what was measured, line by line."""
    with EmbeddedServer(folder / "redis") as server:
        async with Link(connect(url=server.url, timeout=5000)) as link:
            log = Log(link, folder, maximum=events)
            sys.stderr.write(f"bench: tells {events:,} events\n")
            await fill(log, events)
            found = [await measured(log, folder / str(number)) for number in range(rounds)]
    each, core = (", ".join(f"{speed:,.0f}" for speed in some) for some in zip(*found, strict=True))
    return [
        f"{platform.machine()}, Python {platform.python_version()}, {server.version}",
        f"events a second: {each}; a second of the sealer's core: {core}",
    ]


async def fill(log: Log, events: int) -> None:
    """Tell so many events, over all partitions."""
    about = {k: v for k, v in EVENT.items() if k != "outcome"}
    for start in range(0, events, TOGETHER):
        await log.store.commit_all(
            [
                Commit(
                    partition=number % PARTITIONS,
                    operation=f"bench-{number}",
                    events=(Sent(id=f"{number:032x}", provider="p", milliseconds=9, **about),),
                )
                for number in range(start, start + TOGETHER)
            ]
        )


async def measured(log: Log, folder: Path) -> tuple[float, float]:
    """Return events a second into a new folder, and a second of the core that it takes."""
    log.folder = folder
    sealer = log.sealer(clock=time.monotonic, seal_seconds=10)
    began, cpu = time.perf_counter(), time.process_time()
    more = True
    while more:
        more = await sealer.turn()
    await sealer.stop()
    archived = sealer._told.archived  # noqa: SLF001  # what it tells others
    return archived / (time.perf_counter() - began), archived / (time.process_time() - cpu)


if __name__ == "__main__":
    sys.exit(main())
