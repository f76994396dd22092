"""`python -m bench.silent_provider`: issues whose first provider accepts connections and never answers.

It starts a hundred issues before the first one has ended, while the circuit breaker is closed: each may
take the deadline and a little more. Then it measures with the breaker open, and compares with a service
that has only the second provider.
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
from bench.traffic import BenchTraffic, generate_numbers
from bench.workloads import IssueWorkload, Measurement, build_minimal_body


DEADLINE_SECONDS, READ_TIMEOUT_SECONDS, SPARE_SECONDS = 2.0, 5.0, 0.2
"""The read timeout is the longer one, so that the deadline ends the wait."""

START_PERIOD_SECONDS, ISSUES_PER_SECOND = 0.9 * DEADLINE_SECONDS, 60.0
"""All issues start before any worker knows that the first provider is silent."""
WAITING_CONNECTIONS = 150
"""More connections than issues in flight."""
OPEN_BREAKER_CONNECTIONS = 4
"""Few connections with the breaker open, to measure the provider and not a queue."""
HASH_SETTINGS = CHEAPEST_HASH
"""It is not measured here."""
HEALTH_SYNC_SECONDS = 2.5
"""Seconds until all workers share the provider health, which they exchange every second."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.silent_provider", description=__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="length of a measurement with the breaker open (5)",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run_bench(Path(folder), args.seconds, args.workers))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(folder: Path, seconds: float, workers: int) -> list[str]:
    """Return the lines of the result."""
    silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with silent, BenchTraffic() as traffic:
        with BenchEnvironment(folder, traffic.gateway_url, workers) as environment:
            alone = environment.start_service("alone", HASH_SETTINGS)
            behind = environment.start_service(
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
                async with traffic.open_connections(
                    target, OPEN_BREAKER_CONNECTIONS
                ) as connections:
                    return await IssueWorkload(build_minimal_body, source).run_saturated(
                        connections, seconds
                    )

            async with traffic.open_connections(behind, WAITING_CONNECTIONS) as connections:
                closed = await IssueWorkload(build_minimal_body, source).run_at_rate(
                    connections, START_PERIOD_SECONDS, ISSUES_PER_SECOND
                )
            await asyncio.sleep(HEALTH_SYNC_SECONDS)
            return list(
                format_table(closed, await measure_target(behind), await measure_target(alone))
            )


def format_table(closed: Measurement, opened: Measurement, baseline: Measurement) -> Iterator[str]:
    """Yield the lines of the table."""
    aim = 1000 * (DEADLINE_SECONDS + SPARE_SECONDS)
    timeouts = f"deadline {DEADLINE_SECONDS:g} s, read timeout {READ_TIMEOUT_SECONDS:g} s"
    yield f"the first provider never answers; {timeouts}"
    yield f"{'':<44}{'issues':>8}{'p50 ms':>9}{'p99 ms':>9}"
    yield _format_row(f"breaker closed, {ISSUES_PER_SECOND:g} a second (p99 aim {aim:.0f})", closed)
    yield _format_row(f"breaker open, {OPEN_BREAKER_CONNECTIONS} at once", opened)
    yield _format_row("only the second provider", baseline)


def _format_row(text: str, measurement: Measurement) -> str:
    cuts = statistics.quantiles(measurement.issue_seconds, n=100)
    return f"{text:<44}{len(measurement.issue_seconds):>8}{1000 * cuts[49]:>9.1f}{1000 * cuts[98]:>9.1f}"


if __name__ == "__main__":
    sys.exit(main())
