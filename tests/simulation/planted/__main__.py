"""`python -m tests.simulation.planted`: plant each bug, and count the seeds until it is found.

    python -m tests.simulation.planted                    # all of them, and their table
    python -m tests.simulation.planted --list
    python -m tests.simulation.planted "refund twice"
    python -m tests.simulation.planted --write            # also into findings.toml and docs/simulation.md
    python -m tests.simulation.planted "refund twice" --seed 4711    # the timeline with the bug

The exit status is 0 if each was found.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.simulation.planted import PLANTED_BUGS
from tests.simulation.planted.findings import Finding, format_table, write_findings
from tests.simulation.planted.hunt import MAX_SEEDS, find_bug
from tests.simulation.search.seed_range import SeedPool
from tests.simulation.search.verdict import judge_seed


def main(arguments: Sequence[str]) -> int:
    """Run the command line."""
    options = build_parser().parse_args(arguments)
    names = options.names or [*PLANTED_BUGS]
    if options.list:
        for bug in PLANTED_BUGS.values():
            print(f"{bug.name}: {bug.what}")
        return 0
    if options.seed is not None:
        with PLANTED_BUGS[names[0]].plant():
            print(judge_seed(options.seed).format_timeline(), end="")
        return 0
    findings = hunt(names, options.processes, options.seeds)
    print(format_table(findings), end="")
    if options.write:
        write_findings(findings)
    return 0 if len(findings) == len(names) else 1


def hunt(names: Sequence[str], processes: int, max_seeds: int) -> list[Finding]:
    """Return the findings of those bugs that are found, and print each one at once."""
    findings = []
    with SeedPool(processes) as pool:
        for name in names:
            began_at = time.monotonic()
            finding = find_bug(pool, PLANTED_BUGS[name], max_seeds)
            seconds = time.monotonic() - began_at
            if finding:
                findings.append(finding)
                found = f"after {finding.seed_count} seeds: {finding.rule}"
            else:
                found = f"NOT FOUND in {max_seeds} seeds"
            print(f"{name}: {found} ({seconds:.0f} s)", flush=True)
    return findings


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.planted",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="BUG", help="plant these alone")
    parser.add_argument("--list", action="store_true", help="print what can be planted")
    parser.add_argument("--write", action="store_true", help="keep what is found, and its table")
    parser.add_argument("--seed", type=int, metavar="S", help="show one seed with the first bug")
    parser.add_argument(
        "--seeds",
        type=int,
        default=MAX_SEEDS,
        metavar="N",
        help="try so many (default: %(default)s)",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
