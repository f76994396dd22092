"""The options of `make bench`."""

import argparse
import os
from pathlib import Path

import msgspec


ROWS = "abcefg"

CODE_BEFORE = "780666f"
"""The last commit before the faster argon2 engines, the pipelined connection and the leaner scripts."""

LIVE_CHALLENGES = (1_000, 10_000, 100_000, 1_000_000)

EPILOG = """\
Rows:
  a  pairs (issue and verify) with the default hash, for each argon2 engine that is installed
  b  pairs with the cheapest hash, and (d) a bare application on the same HTTP server
  c  refusals by the limits of a number
  e  500 issues within one second after a time without work, and verifies at the same time
  f  CPU of a pair with few and with many live challenges; a million of them take 2 GB of memory
  g  pairs whose numbers all have one prefix, and so one partition

Takes about 3 s for each line of the first table and round, 15 s for each burst and a minute for (f):
ten minutes as a whole. bench/README.md explains the figures.

An engine that was built for this CPU is measured too if its folder is given, for example:
  CFLAGS='-O3 -march=native' .venv/bin/python -m pip install --no-binary argon2-cffi-bindings \\
      --no-deps --target /tmp/native argon2-cffi-bindings
  make bench ARGS='--engine native=/tmp/native'

Other benchmarks, each with a --help of its own:
  .venv/bin/python -m bench.connection_spread     connections of each worker, opened at once
  .venv/bin/python -m bench.factor_cost           CPU of a verify: authenticator and challenge
  .venv/bin/python -m bench.archive_cost          the cost of an archive for a request
  .venv/bin/python -m bench.brake_cost            the cost of the brake on SMS pumping for a request
  .venv/bin/python -m bench.pumping               what passes the brake on SMS pumping, simulated
  .venv/bin/python -m bench.sealer                events that a sealer copies and seals a second
  .venv/bin/python -m bench.archive_verification  events that 'audit verify' checks a second
  .venv/bin/python -m bench.silent_provider       issues whose first provider never answers
"""


class Options(msgspec.Struct, frozen=True):
    """The options of the command line, and the number of cores."""

    rounds: int
    seconds: float
    connections: int
    workers: int
    threads: int
    cores: int
    rows: str = ROWS
    before: str = ""
    """The commit with which the code is compared; empty for none."""
    engines: dict[str, Path] = {}
    """Folders of other builds of argon2-cffi, by name."""
    bursts: int = 3
    burst_issues: int = 500
    live: tuple[int, ...] = LIVE_CHALLENGES


def parse_options(arguments: list[str] | None = None) -> Options:
    """Return the options of these arguments, by default those of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the service and compares it with what this machine could do at best.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rows", type=_parse_rows, default=ROWS, help=f"the rows to measure ({ROWS})")
    add("--rounds", type=int, default=7, help="rounds, each with every measurement (7)")
    add("--seconds", type=float, default=1.5, help="length of each measurement (1.5)")
    add("--connections", type=int, default=32, help="connections of the login back end (32)")
    add("--workers", type=int, default=2, help="processes of the service (2)")
    add("--threads", type=int, default=1, help="hash.workers in each of them (1)")
    add("--bursts", type=int, default=3, help="bursts of row e for each engine (3)")
    add("--burst-issues", type=int, default=500, help="issues of a burst (500)")
    add(
        "--live",
        type=int,
        nargs="+",
        default=LIVE_CHALLENGES,
        help="live challenges of row f (1000 to 1000000)",
    )
    add(
        "--before",
        default=CODE_BEFORE,
        help=f"the commit to compare with, '' for none ({CODE_BEFORE})",
    )
    add(
        "--engine",
        dest="engines",
        type=_parse_engine,
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="a build of argon2-cffi-bindings",
    )
    args = vars(parser.parse_args(arguments))
    args |= {"live": tuple(args["live"]), "engines": dict(args["engines"])}
    return Options(**args, cores=len(os.sched_getaffinity(0)))


def _parse_rows(text: str) -> str:
    if not text or set(text) - set(ROWS):
        raise argparse.ArgumentTypeError(f"rows are letters of {ROWS}")
    return text


def _parse_engine(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    path = Path(folder).absolute()
    if not name or not (path / "_argon2_cffi_bindings").is_dir():
        raise argparse.ArgumentTypeError(f"{folder!r} has no argon2-cffi-bindings")
    return name, path
