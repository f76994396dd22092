"""The actors of a seed: which of them there are, and how long they go on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from tests.simulation.actors import app_users, attackers, deployments, logins, operators
from tests.simulation.actors.scene import BudgetSpent, CallBudget, Scene
from tests.simulation.world.ports import Chance
from tests.simulation.world.world import World


Behavior = Callable[[Scene], Awaitable[None]]

CALLS_PER_ACTOR: Final = 6
MAX_ACTORS: Final = 8
MAX_START_SECONDS: Final = 10.0
"""Within which every actor begins, so that they meet."""

MAX_PAUSE_SECONDS: Final = 60.0
"""Between two acts of an actor."""

BEHAVIORS: Final[Sequence[tuple[int, Behavior]]] = (
    (12, logins.log_in),
    (1, logins.deliver_code),
    (3, app_users.use_app),
    (1, app_users.guess_app_codes),
    (3, app_users.use_recovery_codes),
    (3, attackers.guess_in_parallel),
    (1, attackers.spray_numbers),
    (2, attackers.hammer_number),
    (2, attackers.send_receipts),
    (1, attackers.guess_challenge_ids),
    (1, operators.unlock),
    (1, operators.block),
    (1, operators.opt_out),
)
"""What actors do, and how often each is drawn."""

DEPLOYMENTS: Final[Sequence[tuple[float, Behavior]]] = (
    (0.06, deployments.rotate_key),
    (0.04, deployments.reload),
    (0.12, deployments.crash_worker),
)
"""What happens to the workers, at most once in a run, and in which share of the runs."""


class Actor(msgspec.Struct, frozen=True):
    """One actor, which does one thing again and again."""

    name: str
    behavior: Behavior


def draw_actors(chance: Chance, calls: int) -> list[Actor]:
    """Return the actors of a run with so many calls, from 1 to 100."""
    count = min(MAX_ACTORS, 1 + calls // CALLS_PER_ACTOR)
    deck = [behavior for weight, behavior in BEHAVIORS for _ in range(weight)]
    behaviors = [chance.pick(deck) for _ in range(count)]
    behaviors += [behavior for share, behavior in DEPLOYMENTS if chance.has_luck(share)][:1]
    return [
        Actor(f"{behavior.__name__.replace('_', ' ')} {number}", behavior)
        for number, behavior in enumerate(behaviors, start=1)
    ]


async def run_actors(world: World, actors: Sequence[Actor], budget: CallBudget) -> None:
    """Let the actors act until they have spent the budget together."""
    async with asyncio.TaskGroup() as group:
        for actor in actors:
            group.create_task(_run_actor(actor, Scene(actor.name, world, budget)))


async def _run_actor(actor: Actor, scene: Scene) -> None:
    """Act again and again; deployments happen once."""
    is_single = actor.behavior in [behavior for _, behavior in DEPLOYMENTS]
    await scene.wait_up_to(MAX_START_SECONDS)
    while True:
        try:
            await actor.behavior(scene)
        except BudgetSpent:
            return
        if is_single:
            return
        await scene.wait_up_to(MAX_PAUSE_SECONDS)
