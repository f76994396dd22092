"""Operators, and persons who answer STOP: they unlock, block, and lift what they have blocked."""

from tests.simulation.actors.person import draw_account_holder, draw_person
from tests.simulation.actors.scene import Scene
from tests.simulation.world.configuration import OWN_NUMBERS


async def unlock(scene: Scene) -> None:
    """Reset the failures of a number or of an account."""
    person = draw_account_holder(scene.chance)
    if scene.chance.has_luck(0.5):
        await scene.call("unlock_number", person.tenant, phone_number=person.number)
    else:
        account = person.account
        await scene.call("unlock_account", person.tenant, tenant=person.tenant, account=account)


async def block(scene: Scene) -> None:
    """Block a number for some time, in which somebody requests a code for it."""
    person = draw_person(scene.chance)
    await scene.call_until_known("block_number", phone_number=person.number)
    await scene.wait_up_to(20)
    await scene.call("issue", person.tenant, phone_number=person.number)
    await scene.wait_up_to(100)
    await scene.call_until_known("unblock_number", phone_number=person.number)


async def opt_out(scene: Scene) -> None:
    """Answer STOP to a code, maybe twice, and START later. The vendor repeats what gets a 503."""
    person = draw_person(scene.chance)
    await scene.call("issue", person.tenant, phone_number=person.number)
    await scene.wait(5)
    provider, message = scene.chance.pick([*scene.world.vendors]), scene.make_key()
    for keyword, pause in (("STOP", 20), ("STOP", 60), ("START", 10)):
        await scene.call_until_known(
            "receive_message",
            provider=provider,
            phone_number=person.number,
            keyword=keyword,
            own_number=OWN_NUMBERS[person.tenant],
            message_id=f"{message}-{keyword}",
        )
        await scene.wait_up_to(pause)
        if keyword == "STOP":
            await scene.call("issue", person.tenant, phone_number=person.number)
