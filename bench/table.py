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
    yield f"{options.workers} workers with {options.threads} argon2 threads each, {options.connections} connections"
    yield f"medians of {rounds} rounds of {options.seconds:g} s, lowest to highest behind them"
    yield ""
    profile = f"argon2id {DEFAULT.memory_kib} KiB, {DEFAULT.passes} passes"
    bare = f"4 + 3 trips of {bench.payload} bytes"
    yield _row("", "a second", "", "ratio", "")
    yield _line(bench, f"(a) pairs, {profile}", "default", "ceiling", AIM_ARGON)
    yield _line(bench, "    the ceiling: argon2 alone", "ceiling")
    yield _line(bench, "(b) pairs, cheapest hash", "cheapest", "bare", AIM_BARE)
    yield _line(bench, "    with account and client_ip", "full", "bare")
    yield _line(bench, "(c) refusals by the number's own limits", "refusals")
    yield _line(bench, f"(d) bare application, {bare}", "bare")
    yield ""
    yield _row("at half load", "p50 ms", "p99 ms", "", "")
    for name, row in (("default", "(a)"), ("cheapest", "(b)")):
        yield from _latency(row, bench.halves[name])


def _line(bench: Bench, text: str, name: str, beside: str = "", aim: float | None = None) -> str:
    rates = bench.all_of(name)
    spread = f"{min(rates):.1f} to {max(rates):.1f}"
    if not beside:
        return _row(text, f"{statistics.median(rates):.1f}", spread, "", "")
    ratios = [mine / best for mine, best in zip(rates, bench.all_of(beside), strict=True)]
    told = f"aim {aim:g}" if aim else ""
    return _row(
        text, f"{statistics.median(rates):.1f}", spread, f"{statistics.median(ratios):.2f}", told
    )


def _latency(row: str, half: Half) -> Iterator[str]:
    for verb, seconds in (("issue", half.tally.issue), ("verify", half.tally.verify)):
        cuts = statistics.quantiles(seconds, n=100)
        text = f"{row} {verb}, {half.rate:.0f} pairs a second"
        yield _row(text, f"{cuts[49] * 1000:.1f}", f"{cuts[98] * 1000:.1f}", "", "")


def _row(text: str, *cells: str) -> str:
    rate, spread, ratio, aim = cells
    return f"{text:<46}{rate:>9}  {spread:<18}{ratio:>6}  {aim}".rstrip()
