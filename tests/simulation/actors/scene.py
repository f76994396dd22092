"""What an actor acts with: its own chance, the calls it may still make, and the world."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Final

from tests.simulation.history import Answered, Canceled, Crashed, Outcome, PlainValue, Unavailable
from tests.simulation.world.ports import Chance
from tests.simulation.world.world import World


CANCELLATION_SHARE: Final = 0.04
"""Of the calls that their caller gives up."""

MAX_CANCELLATION_MS: Final = 1_500


class BudgetSpent(Exception):
    """The run has no further call."""


class CallBudget:
    """The calls that the actors of a run may still make."""

    def __init__(self, calls: int, on_call: Callable[[int], None] = lambda _: None) -> None:
        """`on_call` is called before each call, with its number from 0."""
        self._calls = calls
        self._spent = 0
        self._on_call = on_call

    def spend(self) -> None:
        """Take one call. Raises BudgetSpent."""
        if self._spent == self._calls:
            raise BudgetSpent
        self._on_call(self._spent)
        self._spent += 1


class Scene:
    """One actor in a world."""

    def __init__(
        self, name: str, world: World, budget: CallBudget, *, gives_up: bool = True
    ) -> None:
        """With `gives_up` the actor gives up a share of its calls."""
        self.name = name
        self.world = world
        self.chance: Chance = world.chance.derive(f"actor {name}")
        self._budget = budget
        self._gives_up = gives_up
        self._key_numbers = count(1)

    async def call(self, kind: str, tenant: str = "", /, **arguments: PlainValue) -> Outcome:
        """Call the service, and return the outcome. Arguments that are None are left out."""
        self._budget.spend()
        given = {name: value for name, value in arguments.items() if value is not None}
        return await self.world.installation.call(
            self.name, kind, given, tenant=tenant, cancel_after=self._draw_cancellation()
        )

    async def call_until_known(
        self, kind: str, tenant: str = "", /, tries: int = 3, **arguments: PlainValue
    ) -> Outcome:
        """Call, and repeat a call whose outcome is unknown, as a client with a key does it."""
        outcome = await self.call(kind, tenant, **arguments)
        for _ in range(tries - 1):
            if not isinstance(outcome, Canceled | Crashed | Unavailable):
                break
            await self.wait(getattr(outcome, "retry_after", None) or 1)
            outcome = await self.call(kind, tenant, **arguments)
        return outcome

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def wait_up_to(self, seconds: float) -> None:
        """Let a drawn time pass, mostly a short one."""
        await self.wait(seconds * self.chance.draw_fraction() ** 2)

    def draw_key(self, share: float = 0.5) -> str | None:
        """Return a fresh Idempotency-Key, in this share of the calls."""
        return self.make_key() if self.chance.has_luck(share) else None

    def make_key(self) -> str:
        """Return a fresh Idempotency-Key."""
        return f"{self.name.replace(' ', '-')}-{next(self._key_numbers)}"

    def _draw_cancellation(self) -> float | None:
        if not self._gives_up or not self.chance.has_luck(CANCELLATION_SHARE):
            return None
        return self.chance.draw_ms(0, MAX_CANCELLATION_MS) / 1000


def get_text(outcome: Outcome, name: str) -> str | None:
    """Return a member of an answer that is a text; None without an answer."""
    value = outcome.value.get(name) if isinstance(outcome, Answered) else None
    return value if isinstance(value, str) else None
