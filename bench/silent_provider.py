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

from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.rounds import build_minimal_body
from bench.traffic import BenchConnection, BenchTraffic, Measurement, Workload, generate_numbers


DEADLINE_SECONDS, READ_TIMEOUT_SECONDS, SPARE_SECONDS = 2.0, 5.0, 0.2
"""Seconds. The read timeout is the longer one: it is the deadline that ends the wait."""

START_PERIOD_SECONDS, ISSUES_PER_SECOND = 0.9 * DEADLINE_SECONDS, 60.0
"""All begin before anybody knows that the first provider is silent; so many a second."""
WAITING_CONNECTIONS = 150
"""Connections, of which one is always free."""
OPEN_BREAKER_CONNECTIONS = 4
"""Connections afterwards: few, so that it is the provider's time that is seen, and no queue's."""
HASH_SETTINGS = CHEAPEST_HASH | {"QUEUE": "200"}
"""The hash is cheap, and many at once may wait for it: neither is what is measured here."""
HEALTH_SYNC_SECONDS = 2.5
"""Seconds until all workers know what each has learnt; they tell one another every second."""


class IssueWorkload(Workload):
    """Issues alone: half of the codes never arrive."""

    def handle_issue_reply(
        self, connection: BenchConnection, _: str, status: int, body: bytes
    ) -> None:
        """Go on; a message that was perhaps sent is a 201 too."""
        if status == 201:  # noqa: PLR2004  # Created
            self.finish_piece(connection)
        else:
            self.record_failure(status, body)


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.silent_provider", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="with the breaker open (5)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    known = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run_bench(Path(folder), known.seconds, known.workers))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(folder: Path, seconds: float, workers: int) -> list[str]:
    """Return what was measured, line by line."""
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with silent, BenchTraffic() as outside:
        with BenchEnvironment(folder, outside.gateway_url, workers) as stage:
            alone = stage.start_service("alone", HASH_SETTINGS)
            behind = stage.start_service(
                "behind",
                HASH_SETTINGS,
                PROVIDERS__SILENT__TYPE="http",
                PROVIDERS__SILENT__URL=f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/",
                PROVIDERS__SILENT__FIELDS='{ to = "{to}", text = "{text}" }',
                PROVIDERS__SILENT__READ_TIMEOUT=f"{READ_TIMEOUT_SECONDS:g}",
                ROUTING__PROVIDERS='["silent", "gateway"]',
                ROUTING__DEADLINE_SECONDS=f"{DEADLINE_SECONDS:g}",
            )
            source = generate_numbers()

            async def measure_target(target: Target) -> Measurement:
                async with outside.open_connections(
                    target, OPEN_BREAKER_CONNECTIONS
                ) as connections:
                    return await IssueWorkload(build_minimal_body, source).run_saturated(
                        connections, seconds
                    )

            async with outside.open_connections(behind, WAITING_CONNECTIONS) as connections:
                closed = await IssueWorkload(build_minimal_body, source).run_at_rate(
                    connections, START_PERIOD_SECONDS, ISSUES_PER_SECOND
                )
            await asyncio.sleep(HEALTH_SYNC_SECONDS)
            return list(
                format_table(closed, await measure_target(behind), await measure_target(alone))
            )


def format_table(closed: Measurement, opened: Measurement, baseline: Measurement) -> Iterator[str]:
    """Write it."""
    most = 1000 * (DEADLINE_SECONDS + SPARE_SECONDS)
    yield f"the first provider never answers; deadline {DEADLINE_SECONDS:g} s, its read timeout {READ_TIMEOUT_SECONDS:g} s"
    yield f"{'':<44}{'issues':>8}{'p50 ms':>9}{'p99 ms':>9}"
    yield _format_row(
        f"breaker closed, {ISSUES_PER_SECOND:g} a second (p99 aim {most:.0f})", closed
    )
    yield _format_row(f"breaker open, {OPEN_BREAKER_CONNECTIONS} at once", opened)
    yield _format_row("only the provider behind it", baseline)


def _format_row(text: str, tally: Measurement) -> str:
    cuts = statistics.quantiles(tally.issue_seconds, n=100)
    return f"{text:<44}{len(tally.issue_seconds):>8}{1000 * cuts[49]:>9.1f}{1000 * cuts[98]:>9.1f}"


if __name__ == "__main__":
    sys.exit(main())
