"""The table: what was measured, and beside what it is to be looked at."""

import platform
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime

from bench.measure import Bench, Half
from otp_service.core.profile import DEFAULT


AIM_ARGON, AIM_BARE = 0.85, 0.5


def table(bench: Bench, server: str) -> Iterator[str]:
    """Write it, line by line."""
    options, rounds = bench.options, len(bench.rounds)
    machine = f"{platform.machine()} with {options.cores} cores"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {server}"
    yield (
        f"{options.workers} workers with {options.threads} argon2 threads each, "
        f"{options.connections} connections, medians of {rounds} rounds of {options.seconds:g} s"
    )
    yield ""
    profile = f"argon2id {DEFAULT.memory_kib} KiB, {DEFAULT.passes} passes"
    yield _row("", "ratio", "", "a second", "lowest to highest", "CPU ms")
    yield _line(bench, f"(a) pairs, {profile}", "default", "ceiling", AIM_ARGON)
    yield _line(bench, "    the ceiling: argon2 alone", "ceiling")
    yield _line(bench, "(b) pairs, cheapest hash", "cheapest", "bare", AIM_BARE)
    yield _line(bench, "    with account and client_ip", "full", "bare")
    yield _line(bench, "(c) refusals by the number's own limits", "refusals")
    yield _line(bench, f"(d) bare: 4 + 3 trips of {bench.payload} bytes, a POST", "bare")
    yield ""
    yield _row("at half load", "", "", "p50 ms", "", "p99 ms")
    for name, row in (("default", "(a)"), ("cheapest", "(b)")):
        yield from _latency(row, bench.halves[name])


def _line(bench: Bench, text: str, name: str, beside: str = "", aim: float = 0.0) -> str:
    tallies = bench.all_of(name)
    rates = [tally.rate for tally in tallies]
    ratio = ""
    if beside:
        best = [tally.rate for tally in bench.all_of(beside)]
        ratio = f"{statistics.median(a / b for a, b in zip(rates, best, strict=True)):.2f}"
    cpu = statistics.median(tally.cpu for tally in tallies)
    return _row(
        text,
        ratio,
        f"aim {aim:g}" if aim else "",
        f"{statistics.median(rates):.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        f"{1000 * cpu:.2f}" if cpu else "",
    )


def _latency(row: str, half: Half) -> Iterator[str]:
    for verb, seconds in (("issue", half.tally.issue), ("verify", half.tally.verify)):
        cuts = statistics.quantiles(seconds, n=100)
        middle, high = f"{1000 * cuts[49]:.1f}", f"{1000 * cuts[98]:.1f}"
        yield _row(f"{row} {verb}, {half.rate:.1f} pairs a second", "", "", middle, "", high)


def _row(text: str, *cells: str) -> str:
    ratio, aim, rate, spread, cpu = cells
    return f"{text:<45}{ratio:>6}  {aim:<8}{rate:>9}  {spread:<19}{cpu:>7}".rstrip()
