"""The table: what was measured, and beside what it is to be looked at."""

import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench.rounds import Bench, Half, Options
from bench.traffic import Tally
from otp_service.core.argon2_profile import DEFAULT


AIM_ARGON, AIM_BARE = 0.85, 0.5


def table(bench: Bench, server: str) -> Iterator[str]:
    """Write it, line by line."""
    of = bench.all_of
    profile = f"argon2id {DEFAULT.memory_kib} KiB, {DEFAULT.passes} passes"
    yield from head(bench.options, server)
    yield line(f"(a) pairs, {profile}", of("default"), of("ceiling"), AIM_ARGON)
    yield line("    the ceiling: argon2 alone", of("ceiling"))
    yield line("(b) pairs, cheapest hash", of("cheapest"), of("bare"), AIM_BARE)
    yield line("    with account and client_ip", of("full"), of("bare"))
    yield line("(c) refusals by the number's own limits", of("refusals"))
    yield line(f"(d) bare: 4 + 3 trips of {bench.payload} bytes, a POST", of("bare"))
    yield ""
    yield row("at half load", "", "", "p50 ms", "", "p99 ms")
    for name, text in (("default", "(a)"), ("cheapest", "(b)")):
        yield from _latency(text, bench.halves[name])


def head(options: Options, server: str) -> Iterator[str]:
    """Say where and how it was measured, and what the columns are."""
    machine = f"{platform.machine()} with {options.cores} cores"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {server}"
    yield (
        f"{options.workers} workers with {options.threads} argon2 threads each, "
        f"{options.connections} connections, medians of {options.rounds} rounds "
        f"of {options.seconds:g} s"
    )
    yield ""
    yield row("", "ratio", "", "a second", "lowest to highest", "CPU ms")


def line(
    text: str, tallies: Sequence[Tally], beside: Sequence[Tally] = (), aim: float = 0.0
) -> str:
    """Write what the rounds have measured of something, beside what it is compared with."""
    rates = [tally.rate for tally in tallies]
    ratio = ""
    if beside:
        best = [tally.rate for tally in beside]
        ratio = f"{statistics.median(a / b for a, b in zip(rates, best, strict=True)):.2f}"
    cpu = statistics.median(tally.cpu for tally in tallies)
    return row(
        text,
        ratio,
        f"aim {aim:g}" if aim else "",
        f"{statistics.median(rates):.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        f"{1000 * cpu:.2f}" if cpu else "",
    )


def _latency(text: str, half: Half) -> Iterator[str]:
    for verb, seconds in (("issue", half.tally.issue), ("verify", half.tally.verify)):
        cuts = statistics.quantiles(seconds, n=100)
        middle, high = f"{1000 * cuts[49]:.1f}", f"{1000 * cuts[98]:.1f}"
        yield row(f"{text} {verb}, {half.rate:.1f} pairs a second", "", "", middle, "", high)


def row(text: str, *cells: str) -> str:
    """Write one line of the table."""
    ratio, aim, rate, spread, cpu = cells
    return f"{text:<45}{ratio:>6}  {aim:<8}{rate:>9}  {spread:<19}{cpu:>7}".rstrip()
