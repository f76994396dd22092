"""`python -m bench.simulation`: plays every policy, prints the table, and plots one day."""

import argparse
import sys
from pathlib import Path

from bench.simulation import parameters as p
from bench.simulation.ceiling import CEILING
from bench.simulation.plot import plot
from bench.simulation.router import POLICIES
from bench.simulation.run import play, table


def main() -> int:
    """Play, and print."""
    options = read_options()
    seeds = p.SEEDS[: options.seeds]
    policies = {**POLICIES, **CEILING}
    results = play(policies, seeds, tell=lambda said: sys.stderr.write(f"simulation: {said}\n"))
    sys.stdout.write("\n".join(table(results, seeds)) + "\n")
    if options.plot:
        options.plot.write_text(plot(policies, options.day), encoding="utf-8")
    return 0


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulation",
        description="Compares how policies choose SMS providers on simulated bad days.",
        epilog="Takes a second for each seed. What it means stands in bench/simulation/README.md.",
    )
    most = len(p.SEEDS)
    parser.add_argument("--seeds", type=int, default=most, help=f"how many of them ({most})")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw one day")
    parser.add_argument("--day", type=int, default=p.SEEDS[0], help="the seed that is drawn (1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
