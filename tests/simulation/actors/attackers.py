"""Attackers: guessing in parallel, spraying over numbers, hammering, forged and replayed receipts."""

import asyncio
from typing import Final

from tests.simulation.actors.logins import issue_code, verify_code
from tests.simulation.actors.person import NUMBERS, Person, draw_person
from tests.simulation.actors.scene import Scene, get_text


ATTACKER_ADDRESS: Final = "192.0.2.66"
STATUSES: Final = ("delivered", "pending", "temporary-failure", "technical-failure")


async def guess_in_parallel(scene: Scene) -> None:
    """Guess the code of one challenge over all workers at once, also while its person enters it."""
    person = draw_person(scene.chance)
    challenge = get_text(await issue_code(scene, person), "id")
    if challenge is None:
        return
    codes = [f"{scene.chance.draw_below(10**6):06d}" for _ in range(scene.chance.pick((6, 12, 25)))]
    if scene.chance.has_luck(0.5):
        right = await scene.world.phones.wait_for_code(person.number, challenge, 10)
        codes[scene.chance.draw_below(len(codes))] = right or "000000"
    await asyncio.gather(*(_guess(scene, person, challenge, code) for code in codes))


async def _guess(scene: Scene, person: Person, challenge: str, code: str) -> None:
    await scene.wait_up_to(0.3)
    await verify_code(scene, person, challenge, code, scene.draw_key(0.2))


async def spray_numbers(scene: Scene) -> None:
    """Request codes for many numbers of one range from one address, and guess once for each."""
    tenant = draw_person(scene.chance).tenant
    for _ in range(3 + scene.chance.draw_below(12)):
        number = f"+44740012{scene.chance.draw_below(50):04d}"
        person = Person(tenant, number, None, ATTACKER_ADDRESS)
        if challenge := get_text(await issue_code(scene, person), "id"):
            await verify_code(scene, person, challenge, "123456")


async def hammer_number(scene: Scene) -> None:
    """Request codes for one number again and again, whatever Retry-After says."""
    number = scene.chance.pick(NUMBERS)
    for _ in range(3 + scene.chance.draw_below(12)):
        person = Person(draw_person(scene.chance).tenant, number, None, ATTACKER_ADDRESS)
        await issue_code(scene, person)
        await scene.wait_up_to(15)


async def send_receipts(scene: Scene) -> None:
    """Send receipts that are forged, and replay those of real messages with another status."""
    vendors = scene.world.vendors
    for _ in range(1 + scene.chance.draw_below(5)):
        provider = scene.chance.pick([*vendors])
        references = vendors[provider].references
        forged = f"shop.c05-{scene.chance.draw_bytes(16).hex()}.1.1"
        is_replay = bool(references) and scene.chance.has_luck(0.8)
        await scene.call(
            "receive_receipt",
            provider=provider,
            reference=scene.chance.pick(references) if is_replay else forged,
            status=scene.chance.pick(STATUSES),
            trusted=is_replay and scene.chance.has_luck(0.5),
        )
        await scene.wait_up_to(30)


async def guess_challenge_ids(scene: Scene) -> None:
    """Name challenges that do not exist, with ids that are valid and ids that are not."""
    partition = scene.chance.draw_below(64)
    for challenge in (f"c{partition:02d}-{scene.chance.draw_bytes(16).hex()}", "c99-0", ""):
        await scene.call("verify", "shop", challenge=challenge, code="123456")
