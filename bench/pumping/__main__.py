"""`python -m bench.pumping`: the acceptance of the brake on SMS pumping, as tables.

It drives `otp_service.core.pumping` with a simulated clock. The same seeds give the same tables.
"""

import argparse
import sys
from collections.abc import Iterator

from bench.pumping.acceptance import (
    FORMULAS,
    format_attacks,
    format_odd_days,
    format_quiet,
    format_search,
)
from bench.pumping.attacks import ATTACKS
from bench.pumping.decision_cost import measure_decision_seconds
from bench.pumping.scenarios import QUIET_DAYS


MICROSECONDS = 1_000_000
TABLES = ("attacks", "quiet", "odd", "cost", "search")


def main() -> int:
    for line in format_tables(build_parser().parse_args()):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.pumping", description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES[:4])
    parser.add_argument("--seeds", type=int, default=20, help="runs of each row (20)")
    parser.add_argument("--volume", type=int, default=1000, help="logins a day (1000)")
    parser.add_argument(
        "--known", type=float, nargs="+", default=[0.0, 0.8], help="shares of known numbers (0 0.8)"
    )
    parser.add_argument("--attacks", nargs="+", choices=tuple(ATTACKS), default=tuple(ATTACKS))
    parser.add_argument("--quiet", type=int, nargs="+", default=tuple(QUIET_DAYS), help="volumes")
    parser.add_argument("--formula", choices=tuple(FORMULAS), default="chosen")
    return parser


def format_tables(args: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the chosen tables."""
    formula = FORMULAS[args.formula]
    for known in args.known if "attacks" in args.tables else ():
        yield f"\n{args.volume:,} logins a day, {100 * known:.0f} % of known numbers, {args.seeds} seeds\n"
        yield from format_attacks(formula, args.seeds, args.volume, known, args.attacks)
    if "quiet" in args.tables:
        yield f"\nquiet days, conversions of 55 to 95 %, no known numbers, {args.seeds} seeds\n"
        yield from format_quiet(formula, args.seeds, args.quiet)
    if "odd" in args.tables:
        yield f"\nhonest days that look odd, no known numbers, {args.seeds} seeds\n"
        yield from format_odd_days(formula, args.seeds, args.volume)
    if "cost" in args.tables:
        yield f"\nCPU of one decision: {measure_decision_seconds() * MICROSECONDS:.0f} µs"
    for known in args.known if "search" in args.tables else ():
        yield f"\nsearch: {args.volume:,} logins a day, {100 * known:.0f} % known, {args.seeds} seeds\n"
        yield from format_search(args.seeds, args.volume, known)


if __name__ == "__main__":
    sys.exit(main())
