"""Lines of tables: measurements, and ratios of them."""

import math
import platform
import statistics
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from bench.options import Options
from bench.workloads import Measurement


def format_header(options: Options, server: str) -> Iterator[str]:
    """Yield the date, machine, versions and options of the run."""
    machine = f"{platform.machine()} with {options.cores} cores"
    yield f"{datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}, {server}"
    yield (
        f"{options.workers} workers with {options.threads} argon2 threads each, "
        f"{options.connections} connections, medians of {options.rounds} rounds "
        f"of {options.seconds:g} s"
    )


def format_measurement_header() -> str:
    """Return the names of the columns of `format_measurement`."""
    return format_row("", "a second", "lowest to highest", "CPU ms", "of Redis")


def format_measurement(text: str, measurements: Sequence[Measurement]) -> str:
    """Return a line with the medians of all rounds."""
    rates = [measurement.per_second for measurement in measurements]
    cpu = [measurement.cpu_seconds for measurement in measurements]
    of_redis = statistics.median(measurement.redis_cpu_seconds for measurement in measurements)
    return format_row(
        text,
        f"{statistics.median(rates):.1f}",
        f"{min(rates):.1f} to {max(rates):.1f}",
        format_milliseconds(statistics.median(cpu)),
        format_milliseconds(of_redis),
    )


def format_ratio_header() -> str:
    """Return the names of the columns of `format_ratio`."""
    return format_row("", "ratio", "lowest to highest", "aim")


def format_ratio(
    text: str, values: Sequence[float], baseline: Sequence[float], aim: float = 0.0
) -> str:
    """Return a line with the median and range of the ratios in each round."""
    ratios = divide_rounds(values, baseline)
    return format_row(
        text,
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        f"{aim:g}" if aim else "",
    )


def divide_rounds(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return the ratio in each round; nan where the baseline was too short to measure."""
    return [a / b if b else math.nan for a, b in zip(values, baseline, strict=True)]


def list_rates(measurements: Sequence[Measurement]) -> list[float]:
    return [measurement.per_second for measurement in measurements]


def list_rates_per_cpu(measurements: Sequence[Measurement]) -> list[float]:
    """Return the pieces of work for each second of CPU, in each round."""
    return divide_rounds([1.0] * len(measurements), [each.cpu_seconds for each in measurements])


def format_milliseconds(seconds: float) -> str:
    """Return milliseconds; nothing for 0, which was not measured."""
    return f"{1000 * seconds:.2f}" if seconds else ""


def format_quantiles(seconds: Sequence[float]) -> tuple[str, str]:
    """Return the median and the 99th percentile in milliseconds; nothing for fewer than two."""
    if len(seconds) < 2:  # noqa: PLR2004  # see there
        return "", ""
    cuts = statistics.quantiles(seconds, n=100)
    return f"{1000 * cuts[49]:.1f}", f"{1000 * cuts[98]:.1f}"


def format_row(text: str, *cells: str) -> str:
    widths = (10, 20, 9, 10, 10)
    return f"{text:<46}{''.join(f'{cell:>{width}}' for cell, width in zip(cells, widths, strict=False))}".rstrip()
