"""`python -m tests.simulation.live`: the actors and the auditor of the simulation, on real processes.

    python -m tests.simulation.live --minutes 30
    python -m tests.simulation.live --minutes 10 --store sentinel --seed 7

Each round starts two hosts of the service and a fresh store, lets actors call and faults strike, and
judges what was observed. A seed draws the calls and the faults; their times are real, so that the same
seed is another run with the same plan. Ctrl-C stops everything.

The exit status is 0 if every promise was kept, and 1 if not: then the timeline is in the folder of --output.
"""

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.simulation.auditor import audit_history
from tests.simulation.live.live_round import STORES, RoundRequest, run_round
from tests.simulation.search.progress import FOLDER
from tests.simulation.timeline import describe_violation, format_timeline


ROUND_SECONDS: Final = 240.0
INTERRUPTED: Final = 130
"""The exit status of a program that SIGINT has ended."""


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    options = build_parser().parse_args(arguments)
    return asyncio.run(run_until_signal(options))


async def run_until_signal(options: argparse.Namespace) -> int:
    """Run rounds until they end, or until SIGINT or SIGTERM; return the exit status."""
    rounds = asyncio.create_task(run_rounds(options))

    def stop() -> None:
        if not rounds.cancelling():  # a second signal must not cancel what ends the processes
            rounds.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        return 0 if await rounds else 1
    except asyncio.CancelledError:
        print_now("stopped")
        return INTERRUPTED


async def run_rounds(options: argparse.Namespace) -> bool:
    """Run rounds until the time is over, at least one; return whether every promise was kept."""
    stores = [*STORES] if options.store == "all" else [options.store]
    end = time.monotonic() + options.minutes * 60
    number, is_kept = 0, True
    while number == 0 or time.monotonic() < end:
        left = end - time.monotonic()
        seconds = max(1.0, min(options.round_seconds, left))
        store = stores[number % len(stores)]
        is_kept &= await judge_round(options, store, f"{options.seed}.{number}", seconds)
        number += 1
    return is_kept


async def judge_round(options: argparse.Namespace, store: str, seed: str, seconds: float) -> bool:
    """Run one round, and print what its audit finds; return whether every promise was kept."""
    print(f"round {seed} on {store}, {seconds:.0f} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="otp-live-") as folder:
        history = await run_round(
            RoundRequest(
                seed=seed, store=store, seconds=seconds, folder=Path(folder), report=print_now
            )
        )
    violations = audit_history(history)
    timeline = format_timeline(history, violations)
    print_now(timeline.partition("\n")[0])
    if not violations:
        return True
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"live-{store}-{seed}.txt"
    path.write_text(timeline)
    for violation in violations:
        print_now(describe_violation(violation))
    print_now(f"the timeline is in {path}")
    return False


def print_now(text: str) -> None:
    """Print a line at once, also into a file."""
    print(text, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="begin rounds for so long (default: 10)"
    )
    parser.add_argument(
        "--store",
        choices=(*STORES, "all"),
        default="all",
        help="what the service stores in; `all` takes them in turn (default)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=secrets.randbelow(10**6),
        help="what draws calls and faults (default: another one each time; it is printed)",
    )
    parser.add_argument(
        "--round-seconds",
        type=float,
        default=ROUND_SECONDS,
        metavar="N",
        help="how long actors and faults go on in a round (default: %(default)g)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="where the timeline of a round that fails is written (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # of `… | head`
        sys.exit(main(sys.argv[1:]))
