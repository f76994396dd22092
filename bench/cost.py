"""What the benchmarks of a cost share: their options, and a run in a temporary folder."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from bench.options import Options


def parse_cost_options(  # noqa: PLR0913  # the defaults of each option
    module: str,
    description: str | None,
    *,
    rounds: int,
    seconds: float,
    connections: int,
    workers: int,
) -> Options:
    """Return the options of the process, for `python -m bench.<module>`; the others are defaults."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{module}", description=description)
    add = parser.add_argument
    text = f"rounds, each with all services in turns ({rounds})"
    add("--rounds", type=int, default=rounds, help=text)
    text = f"length of each measurement ({seconds:g})"
    add("--seconds", type=float, default=seconds, help=text)
    text = f"connections of the login back end ({connections})"
    add("--connections", type=int, default=connections, help=text)
    add("--workers", type=int, default=workers, help=f"processes of each service ({workers})")
    args = parser.parse_args()
    return Options(**vars(args), threads=1, cores=len(os.sched_getaffinity(0)))


def print_bench(
    run_bench: Callable[[Options, Path], Coroutine[Any, Any, list[str]]], options: Options
) -> int:
    """Run a benchmark in a temporary folder, and print its lines."""
    with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
        lines = uvloop.run(run_bench(options, Path(folder)))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
