"""Crowds: a few actors each, with numbers, accounts and addresses that no other crowd has.

The persons of the simulation are few, so that actors meet. A real round lasts longer than their budgets,
so each crowd sees the world under other names.
"""

import asyncio
import copy
import ipaddress
from collections.abc import Mapping
from typing import Final

from tests.simulation.actors.cast import BEHAVIORS, Actor, run_actors
from tests.simulation.actors.scene import CallBudget
from tests.simulation.history import Outcome, PlainValue
from tests.simulation.world.installation import Installation
from tests.simulation.world.phones import Phones
from tests.simulation.world.world import World


ALIAS_COUNT: Final = 100
"""Two digits of a number are the alias of a crowd."""

CROWD_COUNT: Final = 80
PROBE_CROWD: Final = 90
"""That of the persons who log in at the end. No crowd has numbers in the same hundred thousand, of which
the brake may refuse all for an hour."""

NUMBER_TAIL_DIGITS: Final = 4
"""Those after the two digits that name the crowd, so that each crowd has prefixes of its own."""

ACTORS_PER_CROWD: Final = 6
CALLS_PER_CROWD: Final = 60


class Aliases:
    """The names of one crowd in place of those of the simulation."""

    def __init__(self, crowd: int) -> None:
        self._crowd = crowd

    def rename_number(self, number: str) -> str:
        """Return another number of the same length, in another prefix."""
        head, tail = number[: -NUMBER_TAIL_DIGITS - 2], number[-NUMBER_TAIL_DIGITS:]
        digits = int(number[-NUMBER_TAIL_DIGITS - 2 : -NUMBER_TAIL_DIGITS])
        return f"{head}{(digits + self._crowd) % ALIAS_COUNT:02d}{tail}"

    def rename_account(self, account: str) -> str:
        return f"{account}-{self._crowd}"

    def rename_address(self, address: str) -> str:
        """Return an address of another network, as limits count it."""
        parsed = ipaddress.ip_address(address)
        shift = 8 if parsed.version == 4 else 64  # the versions of IP
        return str(type(parsed)(int(parsed) + (self._crowd << shift)))

    def rename_arguments(self, arguments: Mapping[str, PlainValue]) -> dict[str, PlainValue]:
        """Return the arguments of a call under the names of the crowd."""
        renames = {
            "phone_number": self.rename_number,
            "account": self.rename_account,
            "client_ip": self.rename_address,
        }
        return {
            name: renames[name](value) if name in renames and isinstance(value, str) else value
            for name, value in arguments.items()
        }


class CrowdPhones(Phones):
    """The phones of a crowd, by the numbers that its actors know."""

    def __init__(self, phones: Phones, aliases: Aliases) -> None:
        self._phones = phones
        self._aliases = aliases

    def list_codes(self, number: str, challenge: str) -> list[str]:
        return self._phones.list_codes(self._aliases.rename_number(number), challenge)

    async def wait_for_code(self, number: str, challenge: str, seconds: float) -> str | None:
        renamed = self._aliases.rename_number(number)
        return await self._phones.wait_for_code(renamed, challenge, seconds)


class CrowdInstallation(Installation):
    """The installation as the actors of a crowd call it."""

    def __init__(self, installation: Installation, aliases: Aliases) -> None:
        self._installation = installation
        self._aliases = aliases

    async def call(
        self,
        actor: str,
        kind: str,
        arguments: Mapping[str, PlainValue],
        *,
        tenant: str = "",
        cancel_after: float | None = None,
    ) -> Outcome:
        renamed = self._aliases.rename_arguments(arguments)
        return await self._installation.call(
            actor, kind, renamed, tenant=tenant, cancel_after=cancel_after
        )


def enter_crowd(world: World, crowd: int) -> World:
    """Return the world as a crowd sees it, with draws of its own."""
    aliases = Aliases(crowd)
    entered = copy.copy(world)
    entered.chance = world.chance.derive(f"crowd {crowd}")
    entered.phones = CrowdPhones(world.phones, aliases)
    entered.installation = CrowdInstallation(world.installation, aliases)
    return entered


async def run_crowds(world: World, *, interval_seconds: float) -> None:
    """Let one crowd after another enter, until this is canceled."""
    async with asyncio.TaskGroup() as group:
        for crowd in range(CROWD_COUNT):
            entered = enter_crowd(world, crowd)
            budget = CallBudget(CALLS_PER_CROWD)
            group.create_task(run_actors(entered, draw_crowd(entered, crowd), budget))
            await asyncio.sleep(interval_seconds)


def draw_crowd(world: World, crowd: int) -> list[Actor]:
    """Return the actors of a crowd. Deployments are faults of the hosts here: see live_faults.py."""
    deck = [behavior for weight, behavior in BEHAVIORS for _ in range(weight)]
    chance = world.chance.derive("cast")
    behaviors = [chance.pick(deck) for _ in range(ACTORS_PER_CROWD)]
    return [
        Actor(f"{behavior.__name__.replace('_', ' ')} {crowd}.{number}", behavior)
        for number, behavior in enumerate(behaviors, start=1)
    ]
