"""A message that was lost is sent once more, by itself: when, how often, and when not."""

from typing import Any

import msgspec
import pytest

from otp_service.core.delivery import Receipt
from otp_service.core.errors import IncorrectCode, RateLimited
from otp_service.core.limits import Limit, Window
from otp_service.core.ports import Stored
from tests.installation import MAYBE, MINUTE, NO_SUCH_NUMBER, SECOND, TAKEN, World, wrong


NUMBER = "+447400123456"


async def lose(
    world: World, stored: Stored, *, said: Any = "technical-failure", **more: Any
) -> bool:
    """Let a receipt say that a submission failed, and what is to follow follow."""
    waited: list[float] = more.pop("waited", [])

    async def pause(seconds: float) -> None:
        waited.append(seconds)
        world.wait(int(seconds * SECOND))

    send, place = more.pop("send", 1), more.pop("place", 1)
    provider = f"p{place}"
    news = Receipt(said, f"shop.{world.id_of(stored)}.{send}.{place}")
    caller = world.caller()
    received = await world.service.receive(
        caller, provider, news, trusted=more.pop("trusted", True)
    )
    if received.rescue is None:
        return False
    return await world.service.rescue(caller, provider, received.rescue, pause)


async def test_what_was_lost_is_sent_once_more_with_a_new_code(world: World) -> None:
    """Both codes are good, for the first may come after all; the send counts."""
    issued = await world.issue(account="u-1")
    first = world.phones.code()
    world.wait(30 * SECOND)

    assert await lose(world, issued)

    assert [NUMBER, NUMBER] == [message.to.e164 for message in world.phones.messages]
    assert ("p1",) == world.phones.messages[-1].tried
    found = (await world.store.fetch("shop", world.id_of(issued))).challenge
    assert found
    assert (1, 2) == (found.sends_left, found.sends)
    assert issued.challenge
    assert issued.challenge.deadline == found.deadline
    (resent,) = [event for event in await world.events() if event["type"] == "otp.resent"]
    assert ("delivery_failed", "shop") == (resent["reason"], resent["tenant"])
    assert first != world.phones.code()
    await world.verify(issued, first)


async def test_it_waits_for_the_cooldown_once(world: World) -> None:
    """A receipt often comes sooner, and no limit is passed for it."""
    issued = await world.issue()
    world.wait(10 * SECOND)
    waited: list[float] = []

    assert await lose(world, issued, waited=waited)

    assert [20] == waited
    assert 2 == len(world.phones.messages)


@pytest.mark.parametrize("said", ["permanent-failure", "temporary-failure", "pending", "delivered"])
async def test_nothing_follows_from_other_news(world: World, said: str) -> None:
    """Never for the number's own fault or a fraud block, and not while it may still come."""
    issued = await world.issue()
    world.wait(30 * SECOND)

    assert not await lose(world, issued, said=said)

    assert 1 == len(world.phones.messages)


async def test_nothing_follows_from_what_anybody_could_have_said(world: World) -> None:
    """A receipt that is neither signed nor in its own address is advisory (R64)."""
    issued = await world.issue()
    world.wait(30 * SECOND)

    assert not await lose(world, issued, trusted=False)

    assert not await lose(world, issued)  # it was noted then, and is no news any more
    assert 1 == len(world.phones.messages)


async def test_nothing_follows_once_somebody_has_typed_a_code(world: World) -> None:
    """A message has arrived, whatever the receipt says."""
    issued = await world.issue()
    with pytest.raises(IncorrectCode):
        await world.verify(issued, wrong(world.phones.code()))
    world.wait(30 * SECOND)

    assert not await lose(world, issued)


async def test_nothing_follows_when_the_challenge_has_ended(world: World) -> None:
    """Verified, or canceled."""
    verified, canceled = await world.issue(), await world.issue("+447400123457")
    await world.verify(verified, world.phones.code(0))
    await world.service.cancel(world.caller(), world.id_of(canceled))
    world.wait(30 * SECOND)

    for ended in (verified, canceled):
        assert not await lose(world, ended)


async def test_nothing_follows_with_less_than_a_minute_left(world: World) -> None:
    """Another message would come too late to be typed in."""
    issued = await world.issue()
    world.wait(4 * MINUTE + SECOND)

    assert not await lose(world, issued)


async def test_nothing_follows_when_a_newer_code_is_on_its_way(world: World) -> None:
    """The person has helped himself."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    await world.resend(issued)
    world.wait(30 * SECOND)

    assert not await lose(world, issued, send=1)

    assert await lose(world, issued, send=2)
    assert 3 == len(world.phones.messages)


async def test_nothing_follows_while_another_message_of_the_send_may_come(world: World) -> None:
    """One provider was silent, and the next one took it."""
    world.phones.will_answer(MAYBE, TAKEN)
    issued = await world.issue()
    world.wait(30 * SECOND)

    assert not await lose(world, issued, place=1)
    assert await lose(world, issued, place=2)


async def test_it_happens_once_a_challenge(world: World) -> None:
    """A provider that loses everything does not empty anybody's purse."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    assert await lose(world, issued)
    world.wait(30 * SECOND)

    assert not await lose(world, issued, send=2)

    assert 2 == len(world.phones.messages)


async def test_a_hundred_lost_messages_start_no_more_sends_than_the_caps_allow(
    world: World,
) -> None:
    """Five for each prefix in an hour, and every other limit holds as ever."""
    issued = [await world.issue(f"+4474001{block}45{n:02d}") for block in (2, 3) for n in range(50)]
    world.wait(30 * SECOND)

    started = [await lose(world, one) for one in issued]

    assert [5, 5] == [sum(started[:50]), sum(started[50:])]
    assert 110 == len(world.phones.messages)


async def test_a_limit_that_refuses_gives_back_what_was_charged(world: World) -> None:
    """The tenant's share is spent: nothing is sent, and nothing is lost by that."""
    world.tenants["shop"] = msgspec.structs.replace(
        world.tenants["shop"],
        rates={**world.tenants["shop"].rates, Limit.SENDS_TENANT: (Window(1, 86400),)},
    )
    issued = await world.issue()
    world.wait(30 * SECOND)

    assert not await lose(world, issued)

    assert 1 == len(world.phones.messages)
    found = (await world.store.fetch("shop", world.id_of(issued))).challenge
    assert found
    assert (2, False) == (found.sends_left, found.rescued)
    with pytest.raises(RateLimited) as refusal:
        await world.issue()
    assert Limit.SENDS_TENANT == refusal.value.limit


async def test_two_receipts_at_once_start_one_send(world: World) -> None:
    """Vendors bring the same news twice."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    caller, news = world.caller(), Receipt("technical-failure", f"shop.{world.id_of(issued)}.1.1")
    received = await world.service.receive(caller, "p1", news, trusted=True)
    assert received.rescue

    first = await world.service.rescue(caller, "p1", received.rescue, no_pause)
    second = await world.service.rescue(caller, "p1", received.rescue, no_pause)

    assert (True, False) == (first, second)
    assert 2 == len(world.phones.messages)


async def test_the_number_itself_is_refused_by_the_next_provider(world: World) -> None:
    """What comes of the send is noted as of every other; nobody is told an error."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    world.phones.will_answer(NO_SUCH_NUMBER)

    assert not await lose(world, issued)

    assert 1 == len(world.phones.messages)


async def no_pause(_: float) -> None:
    """Do not wait."""
