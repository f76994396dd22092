"""The tables of the acceptance: what passes of each attack, and which honest people are refused."""

import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

from bench.pumping.attacks import ATTACKS
from bench.pumping.brake import Parameters
from bench.pumping.people import NEVER, Surge
from bench.pumping.scenarios import (
    QUIET_DAYS,
    build_attack,
    build_quiet,
    list_odd_days,
)
from bench.pumping.simulation import Result, Scenario, Simulation, sum_days
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE, MICRO_UNITS
from otp_service.core.pumping.scopes import Floors
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.core.pumping.usual_traffic import Learning
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS


MAX_MESSAGES, MAX_DOLLARS = 500, 50
"""What may pass of an attack a day and country: either is enough."""
MAX_OUTSIDE_SHARE, MAX_INSIDE_SHARE = 0.01, 0.10
BUDGET_FACTOR = 3
"""The budget of a day, in costs of the busiest honest day; at least that of 1,000 logins."""

Builder = Callable[[int], Scenario]
Runs = Sequence[Result]


class Formula(msgspec.Struct, frozen=True):
    """One choice of the parameters that the search compares."""

    floors: Floors = Floors()
    learning: Learning = Learning()
    deviations: float = 4.0
    strained_parts: tuple[float, float] = (0.75, 0.5)
    strained_deviations: float = 2.0


def fix_margin(margin: float) -> Learning:
    """Return the learning of a margin that does not follow the days."""
    return Learning(min_margin=margin, max_margin=margin)


SHEET_FORMULA = Formula(
    Floors((3, 6), (6, 20), (3, 6), (6, 20), address_sends=(5, 10)),
    fix_margin(0.6),
    strained_parts=(10, 10),
)

FORMULAS = {
    "chosen": Formula(),
    "as the fact sheet has it": SHEET_FORMULA,
    "m = 0.15": Formula(learning=fix_margin(0.15)),
    "m = 0.6": Formula(learning=fix_margin(0.6)),
    "z = 3": Formula(deviations=3),
    "z = 5": Formula(deviations=5),
    "floors of ranges 8 / 16, blocks 16 / 40": Formula(Floors((8, 16), (16, 40))),
    "floors of a country 1 / 5": Formula(Floors(country_money=(MICRO_UNITS, 5 * MICRO_UNITS))),
    "floors of a country 4 / 20": Formula(
        Floors(country_money=(4 * MICRO_UNITS, 20 * MICRO_UNITS))
    ),
    "any number of countries of an address": Formula(Floors(address_countries=10**6)),
    "never strained": Formula(strained_parts=(10, 10)),
    "strained from a half of the hour on": Formula(strained_parts=(0.5, 0.5)),
    "strained from 0.75 of the day on": Formula(strained_parts=(0.75, 0.75)),
    "strained: ranges 3 / 6, blocks 4 / 10": Formula(
        Floors(strained_range_sends=(3, 6), strained_block_sends=(4, 10))
    ),
    "strained: ranges 4 / 6, blocks 6 / 12, 3 deviations": Formula(
        Floors(strained_range_sends=(4, 6), strained_block_sends=(6, 12)), strained_deviations=3
    ),
}


def run_all(build: Builder, formula: Formula, seeds: int) -> list[Result]:
    """Run a scenario with each seed."""
    return [
        Simulation(scenario, build_parameters(scenario, formula), seed).run()
        for seed in range(seeds)
        for scenario in [build(seed)]
    ]


def build_parameters(scenario: Scenario, formula: Formula) -> Parameters:
    """Return the parameters; the budget of a day is that of a careful operator."""
    logins = sum(people.daily_logins for people in scenario.people.values())
    growth = max(
        max(surge.factor for surge in (Surge(NEVER, 1), *people.surges))
        * people.weekly_growth ** (scenario.days / 7)
        for people in scenario.people.values()
    )
    price = max(DEFAULT_PRICE_TABLE.find_price(country) for _, country in scenario.people)
    budget = max(1000, logins * growth) * BUDGET_FACTOR * price
    settings = BrakeSettings(
        int(budget),
        floors=formula.floors,
        deviations=formula.deviations,
        strained_parts=formula.strained_parts,
        strained_deviations=formula.strained_deviations,
    )
    return Parameters(settings, formula.learning)


def format_attacks(
    formula: Formula, seeds: int, volume: int, known_share: float, names: Sequence[str]
) -> Iterator[str]:
    """Yield the table of the attacks: means, and the worst seed in brackets."""
    yield (
        "| attack | messages a day and country | USD in all | first refusal | known | unknown "
        "| inside | other tenants | recovery | reached |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name in names:
        scenario = build_attack(name, volume, known_share)
        runs = run_all(lambda _, scenario=scenario: scenario, formula, seeds)  # type: ignore[misc]  # a lambda with a default has no type
        yield f"| {name}: {ATTACKS[name].text} {format_attack_cells(scenario, runs)}"


def format_attack_cells(scenario: Scenario, runs: Runs) -> str:
    """Return the cells of one attack, after its name."""
    assert scenario.attack is not None
    passed = [sum_days(run.passed) for run in runs]
    money = [run.micro_units / MICRO_UNITS for run in runs]
    first = [(r.first_refusal - scenario.attack.period.start) / MINUTE_MS for r in runs]
    recovery = [max(0.0, (r.last_refusal - scenario.attack.period.end) / HOUR_MS) for r in runs]
    cells = (
        f"{statistics.mean(passed):.0f} ({max(passed)})",
        f"{statistics.mean(money):.0f} ({max(money):.0f})",
        f"{statistics.median(first):.0f} min" if min(first) >= 0 else "none in some runs",
        *(format_share(runs, group) for group in GROUPS),
        f"{statistics.median(recovery):.0f} h",
        _describe_misses(scenario, runs),
    )
    return f"| {' | '.join(cells)} |"


GROUPS = ("known", "unknown", "unknown inside", "unknown elsewhere")


def format_share(runs: Runs, group: str) -> str:
    """Return the refused part of a group over all runs; known people are counted everywhere."""
    share = compute_share(runs, group)
    return "-" if share is None else f"{100 * share:.2f} %"


def compute_share(runs: Runs, group: str) -> float | None:
    """Return the refused part of a group over all runs, or None if it is empty."""
    groups = (
        [f"known{end}" for end in ("", " inside", " elsewhere")] if group == "known" else [group]
    )
    sends = sum(run.sends[each] for run in runs for each in groups)
    refusals = sum(run.refusals[each] for run in runs for each in groups)
    return refusals / sends if sends else None


def _describe_misses(scenario: Scenario, runs: Runs) -> str:
    """Return whether the acceptance is reached, or the parts that are missed."""
    misses = ", ".join(list_misses(scenario, runs))
    return f"no: {misses}" if misses else "yes"


def list_misses(scenario: Scenario, runs: Runs) -> Iterator[str]:
    """Yield each part of the acceptance that is missed, by the worst seed or by the share of all."""
    assert scenario.attack is not None
    price = max(DEFAULT_PRICE_TABLE.find_price(country) for country in scenario.attack.countries)
    worst = max(sum_days(run.passed) for run in runs)
    if worst > MAX_MESSAGES and worst * price > MAX_DOLLARS * MICRO_UNITS:
        yield "passed"
    if compute_share(runs, "known"):
        yield "known"
    if max(compute_share(runs, group) or 0 for group in GROUPS[1::2]) > MAX_OUTSIDE_SHARE:
        yield "outside"
    if (compute_share(runs, "unknown inside") or 0) > MAX_INSIDE_SHARE:
        yield "inside"


def format_quiet(formula: Formula, seeds: int, volumes: Sequence[int]) -> Iterator[str]:
    """Yield the table of quiet days."""
    yield (
        "| logins a day | days of a seed | seeds | honest sends | refused | seeds with a refusal "
        "| limits |"
    )
    yield "|---|---|---|---|---|---|---|"
    for volume in volumes:

        def build(seed: int, volume: int = volume) -> Scenario:
            return build_quiet(volume, seed, seeds)

        runs = run_all(build, formula, seeds)
        yield f"| {volume:,} | {QUIET_DAYS[volume]} | {seeds} {format_honest_cells(runs)}"


def format_odd_days(formula: Formula, seeds: int, volume: int) -> Iterator[str]:
    """Yield the table of honest days that look odd."""
    yield "| honest days | logins a day | honest sends | refused | seeds with a refusal | limits |"
    yield "|---|---|---|---|---|---|"
    for name, scenario in list_odd_days(volume):
        runs = run_all(lambda _, scenario=scenario: scenario, formula, seeds)  # type: ignore[misc]  # a lambda with a default has no type
        yield f"| {name} | {volume:,} {format_honest_cells(runs)}"


def format_honest_cells(runs: Runs) -> str:
    """Return the cells of a scenario without an attack, after its name."""
    sends = sum(run.sends.total() for run in runs)
    refusals = sum(run.refusals.total() for run in runs)
    limits: dict[str, int] = {}
    for run in runs:
        for limit, count in run.limits.items():
            limits[limit] = limits.get(limit, 0) + count
    named = ", ".join(f"{limit} {count:,}" for limit, count in sorted(limits.items()))
    tripped = sum(bool(run.refusals.total()) for run in runs)
    return f"| {sends:,} | {refusals:,} ({100 * refusals / sends:.3f} %) | {tripped} | {named or '-'} |"


SEARCH_DAYS = 14
SEARCH_ATTACKS = ("A20", "A400", "C60", "E")


def format_search(seeds: int, volume: int, known_share: float) -> Iterator[str]:
    """Yield a row for each formula: what passes of some attacks, and what honest days cost."""
    yield (
        f"| formula | {' | '.join(SEARCH_ATTACKS)}: passed a day, unknown outside, inside "
        "| quiet: refused | odd days: refused |"
    )
    yield f"|---|{'---|' * len(SEARCH_ATTACKS)}---|---|"
    for name, formula in FORMULAS.items():
        yield f"| {name} | {' | '.join(_list_search_cells(formula, seeds, volume, known_share))} |"


def _list_search_cells(
    formula: Formula, seeds: int, volume: int, known_share: float
) -> Iterator[str]:
    for attack in SEARCH_ATTACKS:
        scenario = build_attack(attack, volume, known_share)
        runs = run_all(lambda _, scenario=scenario: scenario, formula, seeds)  # type: ignore[misc]  # a lambda with a default has no type
        passed = max(sum_days(run.passed) for run in runs)
        yield f"{passed}, {format_share(runs, 'unknown')}, {format_share(runs, 'unknown inside')}"
    quiet = run_all(lambda seed: build_quiet(volume, seed, seeds, SEARCH_DAYS), formula, seeds)
    yield _count_refusals(quiet)
    odd = [
        run
        for _, scenario in list_odd_days(volume)
        for run in run_all(lambda _, scenario=scenario: scenario, formula, seeds)  # type: ignore[misc]  # a lambda with a default has no type
    ]
    yield _count_refusals(odd)


def _count_refusals(runs: Runs) -> str:
    refusals = sum(run.refusals.total() for run in runs)
    return f"{refusals} in {sum(bool(run.refusals.total()) for run in runs)} of {len(runs)} runs"
