"""Each promise is kept in a fixed range of seeds, and in every one that has found something."""

import pytest

from tests.simulation.prefix import WHOLE
from tests.simulation.search.verdict import judge_seed
from tests.simulation.seeds import load_seeds


SEEDS_PER_TEST = 20
FIRST_SEEDS = range(0, 80, SEEDS_PER_TEST)

COMMITTED_SEEDS = load_seeds()


def check_seed(seed, prefix=WHOLE):
    verdict = judge_seed(seed, prefix)
    if verdict.violations:
        pytest.fail(verdict.format_timeline(), pytrace=False)


@pytest.mark.parametrize("first", FIRST_SEEDS)
def test_every_promise_is_kept_in_each_run(first):
    for seed in range(first, first + SEEDS_PER_TEST):
        check_seed(seed)


@pytest.mark.parametrize("committed", COMMITTED_SEEDS, ids=lambda one: str(one.seed))
def test_a_seed_that_has_found_something_passes(committed):
    check_seed(committed.seed)
    check_seed(committed.seed, committed.prefix)


def test_a_finding_is_committed_once_with_what_it_was():
    keys = [(one.seed, one.prefix) for one in COMMITTED_SEEDS]

    assert len(keys) == len(set(keys)) > 0
    assert all(len(one.story) > 20 for one in COMMITTED_SEEDS)
