"""`python -m bench`: starts everything, measures it in turns, and prints one table."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from bench.environment import BenchEnvironment
from bench.rounds import Bench, Options
from bench.table import format_table
from bench.traffic import BenchTraffic


EPILOG = """\
Takes about rounds * 6 * seconds, and 30 s more. bench/README.md explains the rows.

Other benchmarks, each with a --help of its own:
  .venv/bin/python -m bench.factor_cost           CPU of a verify: authenticator and challenge
  .venv/bin/python -m bench.archive_cost          the cost of an archive for a request
  .venv/bin/python -m bench.sealer                events that a sealer copies and seals a second
  .venv/bin/python -m bench.archive_verification  events that 'audit verify' checks a second
  .venv/bin/python -m bench.connection_spread     connections of each worker, opened at once
  .venv/bin/python -m bench.silent_provider       issues whose first provider never answers
"""


def main() -> int:
    options = parse_options()
    try:
        with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
            lines = uvloop.run(run_bench(options, Path(folder)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(options: Options, folder: Path) -> list[str]:
    """Return the lines of the table."""
    task = asyncio.current_task()
    assert task  # this coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with BenchTraffic() as traffic:
        with BenchEnvironment(folder, traffic.gateway_url, options.workers) as environment:
            print_progress("start Valkey, the service twice, and the bare application")
            bench = Bench(options, environment, traffic)
            await bench.warm_up_targets()
            for number in range(1, options.rounds + 1):
                print_progress(f"round {number} of {options.rounds}")
                await bench.measure_round()
            print_progress("half load")
            await bench.measure_half_loads()
            return list(format_table(bench, environment.redis_version))


def parse_options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the service and compares it with what this machine could do at best.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds, each with every measurement (7)"
    )
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="length of each measurement (1.5)"
    )
    parser.add_argument(
        "--connections", type=int, default=32, help="connections of the login back end (32)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    parser.add_argument("--threads", type=int, default=1, help="hash.workers in each of them (1)")
    args = parser.parse_args()
    return Options(**vars(args), cores=len(os.sched_getaffinity(0)))


def print_progress(progress: str) -> None:
    """Print progress to stderr: only the table is printed to stdout."""
    sys.stderr.write(f"bench: {progress}\n")


if __name__ == "__main__":
    sys.exit(main())
