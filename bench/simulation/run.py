"""Plays the days of all seeds under every policy, and tells what came of it as one table."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bench.simulation import parameters as p
from bench.simulation.measure import Measures, measure, reachable
from bench.simulation.play import Day
from bench.simulation.policies import MakePolicy
from bench.simulation.world import World


Results = Mapping[str, Sequence[Measures]]
"""For each policy its measures, one for each seed."""

COLUMNS: tuple[tuple[str, str, Callable[[Measures], float], int], ...] = (
    ("delivered", "%", lambda one: 100 * one.delivered, 1),
    ("messages", "per login", lambda one: one.messages, 3),
    ("went out", "per login", lambda one: one.sent, 3),
    ("price", "cents", lambda one: one.cents, 2),
    ("loud", "minutes", lambda one: one.after_loud, 1),
    ("hidden", "minutes", lambda one: one.after_hidden, 1),
)


def play(
    policies: Mapping[str, MakePolicy],
    seeds: Iterable[int] = p.SEEDS,
    logins: int = p.LOGINS,
    tell: Callable[[str], object] = lambda _: None,
) -> Results:
    """Return what each policy made of each seed's day."""
    results: dict[str, list[Measures]] = {name: [] for name in policies}
    for seed in seeds:
        tell(f"the day of seed {seed}")
        world = World(seed, logins)
        for name, make in policies.items():
            stories = Day(world, make(p.ROUTES, seed)).play()
            results[name].append(measure(world, stories))
    return results


def table(results: Results, seeds: Sequence[int], logins: int = p.LOGINS) -> Iterator[str]:
    """Write it, line by line."""
    best = statistics.mean(reachable(World(seed, logins)) for seed in seeds)
    yield (
        f"{len(seeds)} seeds of {logins} logins in {p.DAY / 3600:g} hours, {len(p.PROVIDERS)} "
        f"providers, {len(p.COUNTRIES)} countries: mean and standard deviation over the seeds"
    )
    yield f"{100 * best:.1f} % of the numbers can be reached"
    yield ""
    yield f"{'':<20}{'':60}{'to recover from outages':>30}"
    yield _row("", [title for title, *_ in COLUMNS])
    yield _row("", [unit for _, unit, *_ in COLUMNS])
    for name, measures in results.items():
        yield _row(
            name,
            [_cell(list(map(read, measures)), digits) for _, _, read, digits in COLUMNS],
        )


def _cell(values: Sequence[float], digits: int) -> str:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "-"
    return f"{statistics.mean(known):.{digits}f} ± {statistics.pstdev(known):.{digits}f}"


def _row(name: str, cells: Iterable[str]) -> str:
    return f"{name:<20}{''.join(f'{cell:>15}' for cell in cells)}".rstrip()
