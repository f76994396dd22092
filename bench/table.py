"""The table of measurements, each with its ratio to a baseline."""

import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench.rounds import Bench, HalfLoad, Options
from bench.traffic import Measurement
from otp_service.core.argon2_profile import DEFAULT_PROFILE


ARGON_RATIO_AIM, BARE_RATIO_AIM = 0.85, 0.5


def format_table(bench: Bench, server: str) -> Iterator[str]:
    """Yield the lines of the table."""
    of = bench.list_measurements
    profile = f"argon2id {DEFAULT_PROFILE.memory_kib} KiB, {DEFAULT_PROFILE.passes} passes"
    yield from format_header(bench.options, server)
    yield format_measurement(f"(a) pairs, {profile}", of("default"), of("ceiling"), ARGON_RATIO_AIM)
    yield format_measurement("    argon2 alone", of("ceiling"))
    yield format_measurement("(b) pairs, cheapest hash", of("cheapest"), of("bare"), BARE_RATIO_AIM)
    yield format_measurement("    with account and client_ip", of("full"), of("bare"))
    yield format_measurement("(c) refusals by the number's own limits", of("refusals"))
    yield format_measurement(
        f"(d) bare: 4 + 3 trips of {bench.payload_bytes} bytes, a POST", of("bare")
    )
    yield ""
    yield format_row("at half load", "", "", "p50 ms", "", "p99 ms")
    for name, text in (("default", "(a)"), ("cheapest", "(b)")):
        yield from _format_latency(text, bench.half_loads[name])


def format_header(options: Options, server: str) -> Iterator[str]:
    """Yield the date, machine, versions and options of the run, and the names of the columns."""
    machine = f"{platform.machine()} with {options.cores} cores"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {server}"
    yield (
        f"{options.workers} workers with {options.threads} argon2 threads each, "
        f"{options.connections} connections, medians of {options.rounds} rounds "
        f"of {options.seconds:g} s"
    )
    yield ""
    yield format_row("", "ratio", "", "a second", "lowest to highest", "CPU ms")


def format_measurement(
    text: str,
    measurements: Sequence[Measurement],
    baseline: Sequence[Measurement] = (),
    aim: float = 0.0,
) -> str:
    """Return a line with the medians of all rounds, and the median ratio to a baseline."""
    rates = [measurement.per_second for measurement in measurements]
    ratio = ""
    if baseline:
        ratios = (rate / each.per_second for rate, each in zip(rates, baseline, strict=True))
        ratio = f"{statistics.median(ratios):.2f}"
    cpu = statistics.median(measurement.cpu_seconds for measurement in measurements)
    return format_row(
        text,
        ratio,
        f"aim {aim:g}" if aim else "",
        f"{statistics.median(rates):.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        f"{1000 * cpu:.2f}" if cpu else "",
    )


def _format_latency(text: str, half: HalfLoad) -> Iterator[str]:
    for verb, seconds in (
        ("issue", half.measurement.issue_seconds),
        ("verify", half.measurement.verify_seconds),
    ):
        cuts = statistics.quantiles(seconds, n=100)
        middle, high = f"{1000 * cuts[49]:.1f}", f"{1000 * cuts[98]:.1f}"
        yield format_row(f"{text} {verb}, {half.rate:.1f} pairs a second", "", "", middle, "", high)


def format_row(text: str, *cells: str) -> str:
    ratio, aim, rate, spread, cpu = cells
    return f"{text:<45}{ratio:>6}  {aim:<8}{rate:>9}  {spread:<19}{cpu:>7}".rstrip()
