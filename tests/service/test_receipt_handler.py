"""Receipts: they say what became of a message, and change nothing else (R65)."""

from typing import Any

import pytest
from msgspec.structs import replace

from otp_service.core.challenge import Challenge
from otp_service.core.delivery import Receipt, status
from otp_service.core.errors import OtpError, StoreTampered
from otp_service.core.ports import Stored
from tests.installation import REFUSED, SECOND, TAKEN, World, wrong


async def tell(world: World, stored: Stored, said: Any, place: int = 1, **more) -> bool:
    """Let a provider tell something of a submission."""
    send = more.pop("send", 1)
    reference = more.pop("reference", f"shop.{world.id_of(stored)}.{send}.{place}")
    news = Receipt(said, reference, reason=more.pop("reason", None))
    provider = more.pop("provider", f"p{place}")
    received = await world.service.receive(
        world.caller(), provider, news, trusted=more.pop("trusted", True)
    )
    return received.known


async def delivery(world: World, stored: Stored) -> str:
    """Return what a login flow is shown of the delivery."""
    found = await world.store.fetch("shop", world.id_of(stored))
    assert found.challenge
    return status(found.challenge.submissions)


async def told(world: World) -> list[tuple[str, str, bool]]:
    """Return the events of receipts."""
    events = [one for one in await world.events() if one["type"] == "otp.delivery"]
    return [(one["status"], one["outcome"], one["trusted"]) for one in events]


async def test_a_receipt_is_noted_and_is_an_event(world: World) -> None:
    """R66: with the challenge's own pseudonym, for the number may be gone."""
    issued = await world.issue()

    assert await tell(world, issued, "delivered")

    assert "delivered" == await delivery(world, issued)
    (event,) = [one for one in await world.events() if one["type"] == "otp.delivery"]
    assert issued.challenge
    assert ("p1", 1, "delivered", True) == tuple(
        event[name] for name in ("provider", "send", "status", "trusted")
    )
    assert (issued.challenge.id, issued.challenge.subject, "shop") == (
        event["challenge"],
        event["number"],
        event["tenant"],
    )


async def test_the_same_news_twice_is_told_once(world: World) -> None:
    """R64: repeats are 204, and no event."""
    issued = await world.issue()
    for _ in range(3):
        assert await tell(world, issued, "delivered")

    assert [("delivered", "success", True)] == await told(world)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (["delivered", "pending"], "delivered"),
        (["delivered", "technical-failure"], "delivered"),
        (["technical-failure", "pending"], "technical-failure"),
        (["technical-failure", "permanent-failure"], "technical-failure"),
        (["pending", "temporary-failure"], "temporary-failure"),
        (["temporary-failure", "pending"], "temporary-failure"),
        (["technical-failure", "delivered"], "delivered"),
    ],
)
async def test_receipts_out_of_order_never_move_a_delivery_back(
    world: World, said: list[str], shown: str
) -> None:
    """R65: the state machine is monotonic; a late "delivered" is the truth all the same."""
    issued = await world.issue()

    for one in said:
        await tell(world, issued, one)

    assert shown == await delivery(world, issued)


@pytest.mark.parametrize(
    "other",
    [
        {"reference": "shop.c07-5d41402abc4b2a76b9719d911017c592.1.1"},
        {"reference": "nonsense"},
        {"reference": ""},
        {"provider": "p9"},
        {"send": 2},
        {"place": 2},
        {"place": 2, "provider": "p1"},
    ],
)
async def test_what_is_about_nothing_of_ours_changes_nothing(world: World, other) -> None:
    """Unknown ids, another provider's submission, a send that there was not."""
    issued = await world.issue()

    assert not await tell(world, issued, "delivered", **other)

    assert "submitted" == await delivery(world, issued)
    assert [] == await told(world)


async def test_another_tenants_name_finds_nothing(world: World) -> None:
    """The reference says whose challenge it is, and the key in Redis holds both."""
    issued = await world.issue()

    assert not await tell(world, issued, "delivered", reference=f"bank.{world.id_of(issued)}.1.1")


@pytest.mark.parametrize("guesses", [0, 1, 5], ids=["untouched", "tried", "locked"])
@pytest.mark.parametrize("said", ["delivered", "permanent-failure"])
async def test_a_receipt_verifies_extends_and_unlocks_nothing(
    world: World, said: str, guesses: int
) -> None:
    """R65: but for what it says of its submission, the challenge and every budget stay."""
    issued = await world.issue()
    for by in range(1, guesses + 1):
        with pytest.raises(OtpError):
            await world.verify(issued, wrong(world.phones.code(), by))
    before, budgets = await challenge_of(world, issued), await values(world, "*:limit:*")

    assert await tell(world, issued, said)

    after = await challenge_of(world, issued)
    (told,) = after.submissions
    assert said == told.received
    assert before == replace(after, version=before.version, submissions=before.submissions)
    assert budgets == await values(world, "*:limit:*")
    if guesses < 5:
        await world.verify(issued, world.phones.code())


async def challenge_of(world: World, stored: Stored) -> Challenge:
    """Return the challenge as it is now."""
    found = (await world.store.fetch("shop", world.id_of(stored))).challenge
    assert found
    return found


async def values(world: World, pattern: str) -> dict[bytes, Any]:
    """Return what Redis holds under these names."""
    names = await world.names(pattern)
    assert names
    return {
        name: await world.link.ask(await world.link.master_of(name.decode()), "DUMP", name)
        for name in names
    }


async def test_a_receipt_after_the_end_is_noted_and_brings_nothing_back(world: World) -> None:
    """Most come after the person has typed the code in."""
    issued = await world.issue()
    code = world.phones.code()
    await world.verify(issued, code)
    before = await challenge_of(world, issued)

    assert await tell(world, issued, "delivered")

    after = await challenge_of(world, issued)
    assert before == replace(after, version=before.version, submissions=before.submissions)
    assert "delivered" == await delivery(world, issued)
    assert [] == await world.names("*:secret:*")
    world.wait(3600 * SECOND + 1)
    assert not await tell(world, issued, "pending")


async def test_each_submission_of_each_send_has_its_own_receipts(world: World) -> None:
    """The chain went on, and then there was a resend."""
    world.phones.will_answer(REFUSED, TAKEN)
    issued = await world.issue()
    world.wait(30 * SECOND)
    await world.resend(issued)

    await tell(world, issued, "technical-failure", place=2)
    assert "submitted" == await delivery(world, issued)
    await tell(world, issued, "delivered", send=2)

    assert "delivered" == await delivery(world, issued)


async def test_a_forged_record_is_told_as_such(world: World) -> None:
    """Whoever can write to Redis is noticed here too."""
    issued = await world.issue()
    (name,) = await world.names("*:challenge:*")
    await world.link.ask(await world.link.master_of(name.decode()), "SET", name, b"00000001forged")

    with pytest.raises(StoreTampered):
        await tell(world, issued, "delivered")

    assert "store.tampered" in await world.told()
