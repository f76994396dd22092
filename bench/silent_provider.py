"""`python -m bench.silent_provider`: how long issues take whose first provider accepts and never answers.

A hundred of them come before the first has ended, while its breaker is closed: the deadline and a
little is what each may take. Then, with the breaker open, beside a service that has the provider
behind it alone.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from bench.environment import CHEAPEST, Stage, Target
from bench.rounds import plain
from bench.traffic import Connection, Outside, Tally, Work, numbers


DEADLINE, READ_TIMEOUT, SPARE = 2.0, 5.0, 0.2
"""Seconds. The read timeout is the longer one: it is the deadline that ends the wait."""

BEGUN_IN, RATE = 0.9 * DEADLINE, 60.0
"""All begin before anybody knows that the first provider is silent; so many a second."""
WAITING = 150
"""Connections, of which one is always free."""
QUIETLY = 4
"""Connections afterwards: few, so that it is the provider's time that is seen, and no queue's."""
HASHING = CHEAPEST | {"QUEUE": "200"}
"""The hash is cheap, and many at once may wait for it: neither is what is measured here."""
EXCHANGED = 2.5
"""Seconds until all workers know what each has learnt; they tell one another every second."""


class Issues(Work):
    """Issues alone: half of the codes never arrive."""

    def issued(self, connection: Connection, _: str, status: int, body: bytes) -> None:
        """Go on; a message that was perhaps sent is a 201 too."""
        if status == 201:  # noqa: PLR2004  # Created
            self.done(connection)
        else:
            self.fail(status, body)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.silent_provider", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="with the breaker open (5)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run(Path(folder), known.seconds, known.workers))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run(folder: Path, seconds: float, workers: int) -> list[str]:
    """Return what was measured, line by line."""
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with silent, Outside() as outside:
        with Stage(folder, outside.gateway, workers) as stage:
            alone = stage.service("alone", HASHING)
            behind = stage.service(
                "behind",
                HASHING,
                PROVIDERS__SILENT__TYPE="http",
                PROVIDERS__SILENT__URL=f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/",
                PROVIDERS__SILENT__FIELDS='{ to = "{to}", text = "{text}" }',
                PROVIDERS__SILENT__READ_TIMEOUT=f"{READ_TIMEOUT:g}",
                ROUTING__PROVIDERS='["silent", "gateway"]',
                ROUTING__DEADLINE_SECONDS=f"{DEADLINE:g}",
            )
            source = numbers()

            async def flood(target: Target) -> Tally:
                async with outside.connected(target, QUIETLY) as connections:
                    return await Issues(plain, source).flood(connections, seconds)

            async with outside.connected(behind, WAITING) as connections:
                closed = await Issues(plain, source).pace(connections, BEGUN_IN, RATE)
            await asyncio.sleep(EXCHANGED)
            return list(table(closed, await flood(behind), await flood(alone)))


def table(closed: Tally, opened: Tally, beside: Tally) -> Iterator[str]:
    """Write it."""
    most = 1000 * (DEADLINE + SPARE)
    yield f"the first provider never answers; deadline {DEADLINE:g} s, its read timeout {READ_TIMEOUT:g} s"
    yield f"{'':<44}{'issues':>8}{'p50 ms':>9}{'p99 ms':>9}"
    yield _row(f"breaker closed, {RATE:g} a second (p99 aim {most:.0f})", closed)
    yield _row(f"breaker open, {QUIETLY} at once", opened)
    yield _row("only the provider behind it", beside)


def _row(text: str, tally: Tally) -> str:
    cuts = statistics.quantiles(tally.issue, n=100)
    return f"{text:<44}{len(tally.issue):>8}{1000 * cuts[49]:>9.1f}{1000 * cuts[98]:>9.1f}"


if __name__ == "__main__":
    sys.exit(main())
