"""`python -m tests.simulation`: run many seeds, or replay one as a timeline.

    python -m tests.simulation --seeds 1000000 --from 0     # all cores; goes on where it stopped
    python -m tests.simulation --seeds 1000000 --minutes 30
    python -m tests.simulation --seed 4711                  # its timeline
    python -m tests.simulation --seed 4711 --shrink         # of the shortest prefix that still fails
    python -m tests.simulation --seed 4711 --calls 3 --faults 0,2

The exit status is 0 if every promise was kept, and 1 if not.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.simulation.prefix import MAX_CALLS, Prefix
from tests.simulation.search.progress import FOLDER
from tests.simulation.search.search import Search, SearchRequest
from tests.simulation.search.shrinker import shrink_seed
from tests.simulation.search.verdict import Verdict, judge_seed


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    options = build_parser().parse_args(arguments)
    if options.seed is not None:
        return replay(options)
    request = SearchRequest(
        first=options.first,
        end=options.first + options.seeds,
        processes=options.processes,
        minutes=options.minutes,
        folder=None if options.fresh else options.state,
    )
    return 0 if Search(request).run() else 1


def replay(options: argparse.Namespace) -> int:
    """Print the timeline of one seed."""
    verdict = judge_seed(options.seed, Prefix(options.calls, options.faults))
    if options.shrink and verdict.violations:
        verdict = shrink_verdict(verdict)
    print(verdict.format_timeline(), end="")
    return 1 if verdict.violations else 0


def shrink_verdict(verdict: Verdict) -> Verdict:
    """Return the shortest prefix that breaks the rule which the run was the first to break."""
    return shrink_seed(verdict.seed, verdict.first_rule)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--seeds", type=read_count, metavar="N", help="run so many seeds")
    wanted.add_argument("--seed", type=int, metavar="S", help="replay one seed")
    search = parser.add_argument_group("many seeds")
    search.add_argument(
        "--from", type=int, default=0, dest="first", metavar="M", help="the first seed (default: 0)"
    )
    search.add_argument("--minutes", type=float, help="stop after so many minutes")
    search.add_argument(
        "--processes",
        type=read_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="how many run at once (default: one for each core)",
    )
    search.add_argument(
        "--state",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help="where the progress is kept, one file for each first seed (default: %(default)s)",
    )
    search.add_argument("--fresh", action="store_true", help="neither read nor keep the progress")
    one = parser.add_argument_group("one seed")
    one.add_argument("--shrink", action="store_true", help="show the shortest prefix that fails")
    one.add_argument(
        "--calls", type=int, default=MAX_CALLS, metavar="K", help="play the first calls alone"
    )
    one.add_argument(
        "--faults", type=read_numbers, metavar="A,B", help="let these faults happen, or `none`"
    )
    return parser


def read_count(text: str) -> int:
    """Return a number of at least 1. Raises ValueError."""
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def read_numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list with commas; none for `none`. Raises ValueError."""
    return () if text == "none" else tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
