"""The actors of a seed follow from the seed alone, and there are as many as its calls need."""

from collections import Counter

import pytest

from tests.simulation.actors.cast import BEHAVIORS, DEPLOYMENTS, draw_actors
from tests.simulation.actors.scene import BudgetSpent, CallBudget
from tests.simulation.kernel.chance import Chance


def test_the_actors_follow_from_the_seed():
    first = [draw_actors(Chance(seed), 50) for seed in range(20)]

    assert first == [draw_actors(Chance(seed), 50) for seed in range(20)]
    assert len({tuple(actors) for actors in first}) > 10


def test_a_run_with_one_call_has_one_actor_and_what_happens_to_the_workers():
    deployments = {behavior for _, behavior in DEPLOYMENTS}

    for seed in range(100):
        actors = draw_actors(Chance(seed), 1)
        assert 1 == sum(actor.behavior not in deployments for actor in actors)


def test_each_behavior_and_each_deployment_occurs():
    drawn = Counter(actor.behavior for seed in range(300) for actor in draw_actors(Chance(seed), 9))

    expected = {behavior for _, behavior in [*BEHAVIORS, *DEPLOYMENTS]}
    assert expected == set(drawn)


def test_actors_have_names_of_their_own():
    for seed in range(50):
        names = [actor.name for actor in draw_actors(Chance(seed), 100)]
        assert len(set(names)) == len(names)


def test_a_budget_admits_as_many_calls_as_it_has():
    budget = CallBudget(2)
    budget.spend()
    budget.spend()

    with pytest.raises(BudgetSpent):
        budget.spend()
