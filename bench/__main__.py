"""`python -m bench`: starts everything, measures it in turns, and tells it as one table."""

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
Takes about rounds * 6 * seconds, and 30 more. What it means stands in bench/README.md.

These have a command and a --help of their own:
  .venv/bin/python -m bench.archive_cost      what an archive costs a request
  .venv/bin/python -m bench.sealer        how many events a sealer copies and seals in a second
  .venv/bin/python -m bench.archive_verification       how many events 'audit verify' checks in a second
  .venv/bin/python -m bench.silent_provider          issues whose first provider never answers
"""


def main() -> int:
    """Measure, and print the table."""
    options = parse_options()
    try:
        with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
            lines = uvloop.run(run_bench(options, Path(folder)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


async def run_bench(options: Options, folder: Path) -> list[str]:
    """Return the table's lines."""
    task = asyncio.current_task()
    assert task  # this is one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with BenchTraffic() as outside:
        with BenchEnvironment(folder, outside.gateway_url, options.workers) as stage:
            print_progress("starts Valkey, the service twice, and the bare application")
            bench = Bench(options, stage, outside)
            await bench.warm_up_targets()
            for number in range(1, options.rounds + 1):
                print_progress(f"round {number} of {options.rounds}")
                await bench.measure_round()
            print_progress("at half load")
            await bench.measure_half_loads()
            return list(format_table(bench, stage.redis_version))


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the service beside the best that this machine could do.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, help="of every measurement in turn (7)")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement (1.5)")
    parser.add_argument("--connections", type=int, default=32, help="of the login back end (32)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the service (2)")
    parser.add_argument("--threads", type=int, default=1, help="hash.workers in each of them (1)")
    known = parser.parse_args()
    return Options(**vars(known), cores=len(os.sched_getaffinity(0)))


def print_progress(progress: str) -> None:
    """Say what is being done; the table alone goes to stdout."""
    sys.stderr.write(f"bench: {progress}\n")


if __name__ == "__main__":
    sys.exit(main())
