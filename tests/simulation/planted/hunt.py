"""Looks for the first seed in which the auditor finds a planted bug."""

from functools import partial
from typing import Final

from tests.simulation.planted import PLANTED_BUGS, PlantedBug
from tests.simulation.planted.findings import Finding
from tests.simulation.search.seed_range import Chunk, SeedPool
from tests.simulation.search.verdict import judge_seed, name_rule


MAX_SEEDS: Final = 10_000
"""In which each bug has to be found."""


def find_bug(pool: SeedPool, bug: PlantedBug, max_seeds: int = MAX_SEEDS) -> Finding | None:
    """Return where a bug is found; None if that many seeds do not show it."""
    judge = partial(judge_planted_chunk, bug.name)
    for chunk in pool.judge_range(0, max_seeds, lambda: False, judge):
        if chunk.failures:
            seed = min(chunk.failures)
            return Finding(bug.name, seed, chunk.failures[seed][0])
    return None


def judge_planted_chunk(name: str, first: int, count: int) -> Chunk:
    """Judge some seeds with a bug in this process, up to the first that shows it."""
    bug = PLANTED_BUGS[name]
    for seed in range(first, first + count):
        rules = list_broken_rules(bug, seed)
        if rules:
            return Chunk(first, first + count, {seed: rules})
    return Chunk(first, first + count, {})


def list_broken_rules(bug: PlantedBug, seed: int) -> list[str]:
    """Return the rules of the bug's promises that a run with it breaks, in the order of time."""
    with bug.plant():
        violations = judge_seed(seed).violations
    rules = [name_rule(one) for one in violations if one.promise in bug.promises]
    return list(dict.fromkeys(rules))
