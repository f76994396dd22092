"""`python -m bench`: starts everything, measures it in turns, and prints its tables."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

from bench.burst import measure_bursts
from bench.code_before import CommitNotFoundError, extract_commit
from bench.engines import Program, list_programs
from bench.environment import BenchEnvironment
from bench.flatness import FlatnessBench
from bench.options import Options, parse_options
from bench.progress import print_progress
from bench.report import format_bursts, format_levels, format_rows
from bench.rounds import BEFORE, Bench
from bench.table import format_header
from bench.traffic import BenchTraffic


def main() -> int:
    options = parse_options()
    try:
        with tempfile.TemporaryDirectory(prefix="otp-bench-") as folder:
            uvloop.run(run_bench(options, Path(folder)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


async def run_bench(options: Options, folder: Path) -> None:
    """Measure the chosen rows, and print each table as soon as it is complete."""
    task = asyncio.current_task()
    assert task  # this coroutine runs in one
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    programs = list_programs(options, folder)
    before = find_code_before(options, folder / BEFORE)
    async with BenchTraffic() as traffic:
        async for lines in measure_rows(options, folder, traffic, programs, before):
            sys.stdout.write("\n".join([*lines, "", ""]))
            sys.stdout.flush()


async def measure_rows(
    options: Options,
    folder: Path,
    traffic: BenchTraffic,
    programs: dict[str, Program],
    before: Program | None,
) -> AsyncIterator[list[str]]:
    """Yield the lines of each table."""
    if set(options.rows) & set("abcg"):
        with BenchEnvironment(folder / "rows", traffic.gateway_url, options.workers) as environment:
            yield list(format_header(options, environment.redis_version))
            bench = Bench(options, environment, traffic, programs, before)
            print_progress("start Valkey, the services, and the bare application")
            await bench.start_targets()
            for number in range(1, options.rounds + 1):
                print_progress(f"round {number} of {options.rounds}")
                await bench.measure_round()
            print_progress("half load")
            await bench.measure_half_loads()
            yield list(format_rows(bench))
    if "e" in options.rows:
        burst_programs = programs | ({BEFORE: before} if before else {})
        bursts = await measure_bursts(options, traffic, folder / "bursts", burst_programs)
        yield list(format_bursts(bursts))
    if "f" in options.rows:
        flatness = FlatnessBench(options, traffic)
        (folder / "flatness").mkdir()
        await flatness.measure(folder / "flatness")
        yield list(format_levels(flatness.levels))


def find_code_before(options: Options, folder: Path) -> Program | None:
    """Return the code to compare with; None if there is to be none, or it is not found."""
    if not options.before:
        return None
    try:
        return extract_commit(options.before, folder)
    except CommitNotFoundError as error:
        print_progress(f"the code of {options.before} is not measured: {error}")
        return None


if __name__ == "__main__":
    sys.exit(main())
