"""`python -m bench.brake_cost`: what the brake on SMS pumping costs an issue with its verify.

It measures pairs with the cheapest hash, in turns at three services: without the brake, with one that only
records, and with one that refuses. They share a Redis, each with a database of its own. Only ratios within
a round are compared, so that other work on the machine matters little.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import redis

from bench.cost import parse_cost_options, print_bench
from bench.environment import CHEAPEST_HASH, BenchEnvironment, Target
from bench.options import Options
from bench.rounds import measure_workload
from bench.table import (
    divide_rounds,
    format_header,
    format_measurement,
    format_measurement_header,
    format_row,
    list_rates,
)
from bench.traffic import BenchTraffic, generate_numbers
from bench.workloads import Measurement, PairWorkload, build_full_body


MODES = ("off", "record", "refuse")
WIDE_FLOORS = {
    "PUMPING__COUNTRY_FLOOR": "[1000000, 1000000]",
    "PUMPING__NEW_COUNTRIES_FLOOR": "[1000000, 1000000]",
    "PUMPING__RANGE_FLOOR": "[100000, 100000]",
    "PUMPING__BLOCK_FLOOR": "[100000, 100000]",
}
"""So that nothing is refused while the codes of all connections are under way."""


def main() -> int:
    options = parse_cost_options(
        "brake_cost", __doc__, rounds=9, seconds=2.0, connections=16, workers=1
    )
    return print_bench(run_bench, options)


async def run_bench(options: Options, folder: Path) -> list[str]:
    """Return the lines of the table."""
    rounds: dict[str, list[Measurement]] = {mode: [] for mode in MODES}
    scripts: dict[str, list[float]] = {mode: [] for mode in MODES}
    async with BenchTraffic() as traffic:
        with BenchEnvironment(
            folder / "bench", traffic.gateway_url, options.workers
        ) as environment:
            targets = {mode: start_service(environment, mode) for mode in MODES}
            numbers = generate_numbers()
            for count in range(options.rounds + 1):
                # In turns from another one: the first of a round has the processor caches to itself.
                for mode in (MODES[(count + step) % len(MODES)] for step in range(len(MODES))):
                    work = PairWorkload(build_full_body, numbers, traffic.phones)
                    before = count_scripts(environment)
                    measured = await measure_workload(
                        options, environment, traffic, targets[mode], work
                    )
                    if count > 0:  # the first round is the warm-up
                        rounds[mode].append(measured)
                        ran = count_scripts(environment) - before
                        scripts[mode].append(ran / len(measured.issue_seconds))
            header = list(format_header(options, environment.redis_version))
    return [*header, "", *format_table(rounds, scripts)]


def start_service(environment: BenchEnvironment, mode: str) -> Target:
    """Start a service whose tenant has this mode of the brake."""
    return environment.start_service(
        mode, CHEAPEST_HASH, TENANTS__BENCH__PUMPING=mode, **WIDE_FLOORS
    )


def count_scripts(environment: BenchEnvironment) -> int:
    """Return how many scripts Redis has run for clients."""
    with redis.Redis.from_url(environment.redis_url) as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def format_table(
    rounds: dict[str, list[Measurement]], scripts: dict[str, list[float]]
) -> Iterator[str]:
    """Yield the lines: medians of each mode, then ratios to the service without the brake."""
    yield format_measurement_header()
    for mode in MODES:
        yield format_measurement(f"pairs, brake {mode}", rounds[mode])
    yield ""
    yield format_row("ratio to off", "median", "lowest to highest")
    for mode in MODES[1:]:
        for text, read in READERS.items():
            yield format_ratio_row(f"    {mode}: {text}", read(rounds[mode]), read(rounds["off"]))
    yield ""
    yield format_row(
        "scripts of a pair", *(f"{mode} {median(scripts[mode]):.2f}" for mode in MODES)
    )


def format_ratio_row(text: str, values: Sequence[float], baseline: Sequence[float]) -> str:
    ratios = divide_rounds(values, baseline)
    return format_row(text, f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")


READERS: dict[str, Callable[[Sequence[Measurement]], list[float]]] = {
    "pairs a second": list_rates,
    "CPU of the service": lambda rounds: [m.cpu_seconds - m.redis_cpu_seconds for m in rounds],
    "CPU of Redis": lambda rounds: [m.redis_cpu_seconds for m in rounds],
}


if __name__ == "__main__":
    sys.exit(main())
