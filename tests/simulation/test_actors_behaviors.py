"""Each actor does what it is named for: together they make calls of every kind."""

from collections import Counter

import pytest

from tests.simulation.actors import deployments
from tests.simulation.actors.cast import BEHAVIORS
from tests.simulation.actors.logins import LOGIN_ENDS, start_login
from tests.simulation.actors.person import NUMBERS, Person
from tests.simulation.actors.probes import PROBES
from tests.simulation.actors.scene import CallBudget, Scene
from tests.simulation.history import Answered, Failed, FaultKind, Refused
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.simulation import Simulation
from tests.simulation.world.settlement import settle
from tests.simulation.world.use_cases import USE_CASES


def run_world(act, seed=1):
    """Run `act` in a calm world, and return its history."""

    async def run_main(network):
        simulation = Simulation(Chance(seed), network)
        simulation.world.end_faults()
        await act(simulation.world)
        await settle(simulation.world)
        return simulation.build_history([], [])

    return run_simulated(run_main, seed=seed)


def create_scene(world, name="actor"):
    return Scene(name, world, CallBudget(1000), gives_up=False)


def list_outcomes(history, kind):
    return [call.outcome for call in history.calls if call.kind == kind]


@pytest.fixture(scope="module")
def whole_history():
    """Everything that actors do, one after another, twice."""

    async def act_all(world):
        for turn in range(2):
            for _, behavior in BEHAVIORS:
                await behavior(create_scene(world, f"{behavior.__name__} {turn}"))
                await create_scene(world).wait(3600)  # no limit of an hour is left over
            for number, end in enumerate(LOGIN_ENDS):
                scene = create_scene(world, f"end {number} {turn}")
                person = Person("shop", NUMBERS[number % len(NUMBERS)], "u-1", None)
                challenge = await start_login(scene, person)
                code = await world.phones.wait_for_code(person.number, challenge, 30)
                await end(scene, person, challenge, code)
                await scene.wait(3600)

    return run_world(act_all)


def test_actors_make_calls_of_every_kind(whole_history):
    assert set(USE_CASES) == {call.kind for call in whole_history.calls}


def test_each_kind_of_call_is_answered(whole_history):
    answered = {c.kind for c in whole_history.calls if isinstance(c.outcome, Answered)}

    assert set(USE_CASES) == answered


def test_no_call_fails_in_a_way_that_the_contract_does_not_know(whole_history):
    assert [] == [call for call in whole_history.calls if isinstance(call.outcome, Failed)]


def test_actors_meet_the_refusals_that_they_are_there_for(whole_history):
    reasons = Counter(
        call.outcome.reason for call in whole_history.calls if isinstance(call.outcome, Refused)
    )

    assert set(reasons) >= {
        "challenge-already-verified",
        "challenge-canceled",
        "challenge-expired",
        "challenge-locked",
        "challenge-not-found",
        "code-already-used",
        "idempotency-key-in-use",
        "idempotency-key-reused",
        "incorrect-code",
        "number-not-allowed",
        "rate-limited",
    }


@pytest.mark.parametrize("factor", PROBES)
def test_a_probe_logs_in_at_the_first_try_where_nothing_has_happened(factor):
    results = []

    async def act(world):
        person = Person("shop", NUMBERS[0], "u-1", "198.51.100.7")
        results.append(await PROBES[factor](create_scene(world), person))

    history = run_world(act)

    assert [True] == results
    assert {True} == {isinstance(call.outcome, Answered) for call in history.calls}


def test_a_probe_waits_as_long_as_a_refusal_says():
    results = []

    async def act(world):
        person = Person("shop", NUMBERS[0], "u-1", None)
        scene = create_scene(world)
        await start_login(scene, person)
        results.append(await PROBES["message"](scene, person))

    history = run_world(act)

    assert [True] == results
    first, refused, second = [c for c in history.calls if c.kind == "issue"]
    assert refused.outcome.limit == "CooldownPerNumber"
    assert second.started_at - first.started_at >= 30_000
    assert second.started_at - refused.ended_at == refused.outcome.retry_after * 1000


@pytest.mark.parametrize(
    "deployment", [deployments.rotate_key, deployments.reload, deployments.crash_worker]
)
def test_logins_go_on_while_workers_are_replaced(deployment):
    """A key that is rotated is known to every worker, so no refusal names it."""

    async def act(world):
        scene = create_scene(world)
        challenges = [
            (person, await start_login(scene, person))
            for person in (Person("shop", number, "u-1", None) for number in NUMBERS[:3])
        ]
        await deployment(create_scene(world, "deployment"))
        for person, challenge in challenges:
            code = await world.phones.wait_for_code(person.number, challenge, 30)
            await scene.call("verify", "shop", challenge=challenge, code=code)

    history = run_world(act)

    assert {Answered} == {type(outcome) for outcome in list_outcomes(history, "verify")}
    kinds = [fault.kind for fault in history.faults]
    assert (deployment is deployments.rotate_key) == (FaultKind.KEY_ROTATION in kinds)
    if (
        deployment is deployments.reload
    ):  # the auditor has to know who ended, of those that had begun
        assert {FaultKind.WORKER_RESTART} == set(kinds)
