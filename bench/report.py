"""The tables of `python -m bench`, with the ratios of each round and their aims."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus

from bench.burst import BurstResult, Reply
from bench.engines import LIBSODIUM, WHEEL
from bench.flatness import Level
from bench.rounds import BEFORE, Bench
from bench.sizing import format_sizes
from bench.table import (
    divide_rounds,
    format_measurement,
    format_measurement_header,
    format_quantiles,
    format_ratio,
    format_ratio_header,
    format_row,
    list_rates,
    list_rates_per_cpu,
)
from bench.workloads import Measurement


WHEEL_RATIO_AIMS = {LIBSODIUM: 1.5, "avx2": 1.7, "native": 2.0}
OWN_RATIO_AIM, BARE_RATIO_AIM, REFUSAL_RATIO_AIM, FLATNESS_AIM = 0.7, 0.5, 1.6, 1.35

TEXTS = {
    "ceiling": "    argon2 alone, two hashes:",
    "default": "(a) pairs, default hash:",
    "cheapest": "(b) pairs, cheapest hash",
    "full": "    with account and client_ip",
    "bare": "(d) bare application",
    "pumped": "(g) pairs of one prefix, cheapest hash",
    "refusals": "(c) refusals by the number's own limits",
}


def format_rows(bench: Bench) -> Iterator[str]:
    """Yield the measurements of all rounds, their ratios, and the durations at half load."""
    yield format_measurement_header()
    for kind in TEXTS:
        for name, measurements in bench.rows.items():
            if name.partition(":")[0] == kind:
                yield format_measurement(format_name(name), measurements)
    if bench.payload_bytes:
        yield f"    (d) makes 4 + 3 trips of {bench.payload_bytes} bytes, and a POST"
    yield ""
    yield format_ratio_header()
    yield from format_ratios(bench.rows)
    yield from _format_engines(bench.engines)
    engines = {
        name.partition(":")[2]: measurements
        for name, measurements in bench.rows.items()
        if name.startswith("default:") and not name.endswith(BEFORE)
    }
    if engines:
        yield ""
        yield from format_sizes(engines, bench.options.cores, bench.rows.get("cheapest", ()))
    if bench.half_loads:
        yield ""
        yield format_row("at half load", "p50 ms", "p99 ms")
    for name, half in bench.half_loads.items():
        for verb, seconds in (
            ("issue", half.measurement.issue_seconds),
            ("verify", half.measurement.verify_seconds),
        ):
            yield format_row(f"{format_name(name)}, {verb}", *format_quantiles(seconds))


def format_ratios(rows: Mapping[str, Sequence[Measurement]]) -> Iterator[str]:
    """Yield the ratios between rows that were measured."""
    for name in rows:
        kind, _, engine = name.partition(":")
        if kind == "default" and engine != BEFORE:
            yield from _format_engine_ratios(rows, engine)
    for other, text, aim in (
        ("bare", "(b) to the bare application", BARE_RATIO_AIM),
        (f"cheapest:{BEFORE}", "(b) to the code before", 0.0),
        ("pumped", "(b) spread numbers to one prefix (g)", 0.0),
    ):
        yield from _format_pair(rows, "cheapest", other, text, aim)
    other = f"refusals:{BEFORE}"
    yield from _format_pair(rows, "refusals", other, "(c) to the code before", REFUSAL_RATIO_AIM)


def _format_engine_ratios(rows: Mapping[str, Sequence[Measurement]], engine: str) -> Iterator[str]:
    own, ceiling = rows[f"default:{engine}"], rows[f"ceiling:{engine}"]
    baselines = [("its own ceiling", ceiling, OWN_RATIO_AIM)]
    if engine != WHEEL:
        aim = WHEEL_RATIO_AIMS.get(engine, 0.0)
        baselines.insert(0, ("the wheel's ceiling", rows[f"ceiling:{WHEEL}"], aim))
    if before := rows.get(f"default:{BEFORE}"):
        baselines.append(("the code before", before, 0.0))
    for text, baseline, aim in baselines:
        by_cpu = list_rates_per_cpu(own), list_rates_per_cpu(baseline)
        yield format_ratio(f"(a) {engine} to {text}", list_rates(own), list_rates(baseline), aim)
        yield format_ratio(f"(a) {engine} to {text}, by CPU", *by_cpu)


def _format_pair(
    rows: Mapping[str, Sequence[Measurement]], name: str, other: str, text: str, aim: float
) -> Iterator[str]:
    """Yield the ratios by rate and by CPU, if both rows were measured."""
    if name in rows and other in rows:
        by_rate = list_rates(rows[name]), list_rates(rows[other])
        by_cpu = list_rates_per_cpu(rows[name]), list_rates_per_cpu(rows[other])
        is_refusal = name == "refusals"  # its aim is a rate per CPU
        yield format_ratio(f"{text}, by rate", *by_rate, 0.0 if is_refusal else aim)
        yield format_ratio(f"{text}, by CPU", *by_cpu, aim)


def _format_engines(engines: Mapping[str, str]) -> Iterator[str]:
    for name, engine in engines.items():
        if name != engine:
            yield f"    {name}: the service names its engine {engine}"


def format_bursts(bursts: Mapping[str, BurstResult]) -> Iterator[str]:
    """Yield the counts and durations of each program."""
    yield format_row("(e) issues within a second", "2xx", "503", "p50 ms", "p99 ms", "others")
    for name, result in bursts.items():
        for number, issues in enumerate(result.issues, 1):
            yield _format_replies(f"    {name}, issues, burst {number}", issues)
        yield _format_replies(f"    {name}, verifies of all bursts", result.verifies)
    yield "    aims: no 503, p99 of an issue under 1500 ms, of a verify under 300 ms"


def _format_replies(text: str, replies: Sequence[Reply]) -> str:
    good = [reply.seconds for reply in replies if reply.status // 100 == 2]  # noqa: PLR2004  # 2xx
    refused = sum(reply.status == HTTPStatus.SERVICE_UNAVAILABLE for reply in replies)
    others = len(replies) - len(good) - refused
    return format_row(
        text, str(len(good)), str(refused), *format_quantiles(good), str(others or "")
    )


def format_levels(levels: Sequence[Level]) -> Iterator[str]:
    """Yield a line for each number of live challenges, with the CPU relative to the first one."""
    columns = "CPU ms", "ratio", "of Redis", "ratio", "bytes"
    yield format_row("(f) live challenges", *columns)
    for level in levels:
        cpu = [each.cpu_seconds for each in level.measurements]
        of_redis = [each.redis_cpu_seconds for each in level.measurements]
        first = levels[0].measurements
        ratios = divide_rounds(cpu, [each.cpu_seconds for each in first])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        redis_ratios = divide_rounds(of_redis, [each.redis_cpu_seconds for each in first])
        yield format_row(
            f"{level.challenges:>12,}",
            f"{1000 * statistics.median(cpu):.2f}",
            f"{statistics.median(ratios):.2f} ({spread})",
            f"{1000 * statistics.median(of_redis):.2f}",
            f"{statistics.median(redis_ratios):.2f}",
            f"{level.bytes_per_challenge:.0f}" if level.bytes_per_challenge else "",
        )
    yield f"    aim: at most {FLATNESS_AIM:g}; bytes of Redis for each challenge that was copied"


def format_name(name: str) -> str:
    """Return the text of a row."""
    kind, _, variant = name.partition(":")
    text = TEXTS[kind]
    if variant == BEFORE:
        return f"{text} the code before" if text.endswith(":") else f"    {kind}, the code before"
    return f"{text} {variant}".rstrip()
