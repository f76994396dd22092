"""Probes: after the faults, each kind of person logs in, and waits as long as refusals say."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from tests.simulation.actors.app_users import AppUser
from tests.simulation.actors.logins import MESSAGE_SECONDS
from tests.simulation.actors.person import CLIENT_ADDRESSES, NUMBERS, TENANTS, Person
from tests.simulation.actors.scene import CallBudget, Scene, get_text
from tests.simulation.history import Answered, Outcome, Refused
from tests.simulation.world.ports import Chance
from tests.simulation.world.world import World


MAX_PROBE_CALLS: Final = 60
MAX_WAITS: Final = 12
"""More than there are limits that can refuse one call in turn."""

MAX_REPEATED_CODES: Final = 3

LOCK_REFUSALS: Final = frozenset({"number-locked", "account-locked", "number-not-allowed"})
"""Refusals that only an operator lifts."""

PROBE_SHARE: Final = 0.15
"""The share of the runs in which a person logs in at the end."""

Probe = Callable[[Scene, Person], Awaitable[bool]]


def draw_probes(chance: Chance) -> frozenset[str]:
    """Return the names of the persons who log in at the end of a run: a few of PROBE_NAMES.

    A probe has as many calls as many runs, so most runs have one or none.
    """
    return frozenset(name for name in PROBE_NAMES if chance.has_luck(PROBE_SHARE))


async def probe_logins(world: World, names: Collection[str]) -> None:
    """Log in as these persons, whose numbers and accounts the run may have met."""
    chance = world.chance.derive("probes")
    await asyncio.gather(*(_run_probe(world, name, chance) for name in sorted(names)))


async def _run_probe(world: World, name: str, chance: Chance) -> None:
    tenant, factor = name.split()[1:]
    index = chance.draw_below(len(NUMBERS))
    person = Person(tenant, NUMBERS[index], f"{tenant}-user-{index}", chance.pick(CLIENT_ADDRESSES))
    scene = Scene(name, world, CallBudget(MAX_PROBE_CALLS), gives_up=False)
    await PROBES[factor](scene, person)


async def log_in_by_message(scene: Scene, person: Person) -> bool:
    """Request a code, and enter it."""
    for _ in range(MAX_REPEATED_CODES):
        issued = await follow_refusals(
            scene,
            person,
            "issue",
            phone_number=person.number,
            account=person.account,
            client_ip=person.client_ip,
        )
        challenge = get_text(issued, "id")
        if challenge is None:
            return False
        code = await scene.world.phones.wait_for_code(person.number, challenge, MESSAGE_SECONDS)
        if code is None:
            return False
        verified = await follow_refusals(
            scene,
            person,
            "verify",
            challenge=challenge,
            code=code,
            account=person.account,
            client_ip=person.client_ip,
        )
        if isinstance(verified, Answered):
            return True
        # It may have expired while a limit of attempts refused.
        if not isinstance(verified, Refused) or verified.reason not in {
            "challenge-expired",
            "challenge-not-found",
        }:
            return False
    return False


async def log_in_by_app(scene: Scene, person: Person) -> bool:
    """Set an app up, and enter its next code."""
    user = AppUser(scene, person)
    if not await user.enroll():
        await scene.wait(3600)
        if not await user.enroll():
            return False
    for _ in range(MAX_REPEATED_CODES):
        await scene.wait(31)
        if await user.enter(user.read_code()):
            return True
        await scene.wait(3600)
    return False


async def log_in_by_recovery_code(scene: Scene, person: Person) -> bool:
    """Create a set of recovery codes, and enter one of them."""
    created = await follow_refusals(scene, person, "create_recovery_codes", account=person.account)
    if not isinstance(created, Answered):
        return False
    verified = await follow_refusals(
        scene,
        person,
        "verify_recovery_code",
        recovery_set=created.value["recovery_set"],
        account=person.account,
        code=created.value["codes"][0],  # type: ignore[index]  # a list
        client_ip=person.client_ip,
    )
    return isinstance(verified, Answered)


async def follow_refusals(scene: Scene, person: Person, kind: str, **arguments: object) -> Outcome:
    """Call until the call is not refused for now: wait, or let an operator lift what is locked."""
    for _ in range(MAX_WAITS):
        outcome = await scene.call(kind, person.tenant, **arguments)  # type: ignore[arg-type]  # of each kind its own
        reason = getattr(outcome, "reason", "")
        if reason in LOCK_REFUSALS:
            await lift_lock(scene, person, reason)
        elif seconds := getattr(outcome, "retry_after", None):
            await scene.wait(seconds)
        else:
            break
    return outcome


async def lift_lock(scene: Scene, person: Person, reason: str) -> None:
    """Do as an operator whom the person has called."""
    if reason == "number-not-allowed":
        await scene.call("unblock_number", phone_number=person.number)
    elif reason == "number-locked":
        await scene.call("unlock_number", person.tenant, phone_number=person.number)
    else:
        account = person.account
        await scene.call("unlock_account", person.tenant, tenant=person.tenant, account=account)


PROBES: Final[dict[str, Probe]] = {
    "message": log_in_by_message,
    "app": log_in_by_app,
    "recovery": log_in_by_recovery_code,
}
"""By the factor."""

PROBE_NAMES: Final = tuple(f"probe {tenant} {factor}" for factor in PROBES for tenant in TENANTS)
"""Those of all actors that probe."""
