"""Waiting for a message: many calls cost one look each tenth of a second, and none sees an old inbox."""

import asyncio

import pytest

from otp_service.api.inbox_wait import (
    MAX_WAITING_CALLS_PER_TENANT,
    POLL_SECONDS,
    InboxWaits,
    SharedLooks,
)
from otp_service.core.errors import Overloaded, StoreUnavailable
from otp_service.core.ports import InboxMessage


MESSAGE = InboxMessage("+447700900123", "text", "inbox", "shop", 1)


class SlowInbox:
    """An inbox whose looks are counted, and end when the test says so."""

    def __init__(self) -> None:
        self.looks = 0
        self.messages: list[InboxMessage] = []
        self.ready = asyncio.Event()
        self.ready.set()
        self.error: Exception | None = None

    async def list_messages(self) -> list[InboxMessage]:
        self.looks += 1
        found = list(self.messages)
        await self.ready.wait()
        if self.error:
            raise self.error
        return found


async def test_calls_that_wait_look_together() -> None:
    """DoS: sixty waits for messages took a whole core. Seen to fail with a look for each call."""
    inbox = SlowInbox()
    waits = InboxWaits(inbox.list_messages)
    clock = asyncio.get_running_loop().time
    began = clock()

    calls = [
        asyncio.create_task(waits.wait_for(list, 30, "shop"))
        for _ in range(MAX_WAITING_CALLS_PER_TENANT)
    ]
    await asyncio.sleep(0.35)
    looks, instants = inbox.looks, (clock() - began) / POLL_SECONDS
    inbox.messages.append(MESSAGE)

    assert [[MESSAGE]] * len(calls) == await asyncio.gather(*calls)
    assert looks <= 2 * instants + 4


async def test_a_look_begins_after_the_call_that_uses_it() -> None:
    """Else a test would read the code of the login before. Seen to fail with the look that runs."""
    inbox = SlowInbox()
    looks = SharedLooks(inbox.list_messages)
    inbox.ready.clear()
    early = asyncio.create_task(looks.look())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    inbox.messages.append(MESSAGE)
    late = [asyncio.create_task(looks.look()) for _ in range(9)]
    await asyncio.sleep(0)
    inbox.ready.set()

    assert [] == await early
    assert [[MESSAGE]] * 9 == await asyncio.gather(*late)
    assert 2 == inbox.looks


async def test_a_look_that_fails_fails_for_its_own_calls_alone() -> None:
    """Redis may be away for a moment."""
    inbox = SlowInbox()
    looks = SharedLooks(inbox.list_messages)
    inbox.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await looks.look()

    inbox.error = None

    assert [] == await looks.look()


async def test_a_canceled_call_takes_no_look_from_another_one() -> None:
    """They share it."""
    inbox = SlowInbox()
    looks = SharedLooks(inbox.list_messages)
    inbox.ready.clear()
    first, second = (asyncio.create_task(looks.look()) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    inbox.ready.set()

    assert [] == await second
    assert 1 == inbox.looks


async def test_so_many_calls_of_a_tenant_wait_at_most() -> None:
    """A call without a wait, and one of another tenant, are served beside them. Seen to fail without the bound."""
    inbox = SlowInbox()
    waits = InboxWaits(inbox.list_messages)
    calls = [
        asyncio.create_task(waits.wait_for(list, 30, "shop"))
        for _ in range(MAX_WAITING_CALLS_PER_TENANT)
    ]
    await asyncio.sleep(0.05)

    with pytest.raises(Overloaded):
        await waits.wait_for(list, 30, "shop")
    assert [] == await waits.wait_for(list, 0, "shop")
    other = asyncio.create_task(waits.wait_for(list, 30, "bank"))
    await asyncio.wait([other], timeout=0.2)
    assert not other.done()

    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    inbox.messages.append(MESSAGE)
    assert [MESSAGE] == await waits.wait_for(list, 30, "shop")
    assert [MESSAGE] == await other
