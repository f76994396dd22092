"""Following the log as it grows, on a real Redis."""

import asyncio
import os
import re

import pytest

from otp_service.audit.query.live_tail import follow_entries
from otp_service.core import events
from otp_service.core.commit import Commit
from otp_service.store.client import ScriptClient
from otp_service.store.event_streams import RedisEventStreams
from tests.installation import Installation


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    return Installation(script_client)


async def tell(world: Installation, n: int) -> None:
    event = events.ServiceChanged(id=f"{n:032x}")
    operation = os.urandom(16).hex()
    await world.store.commit(Commit(partition=n % 64, operation_id=operation, events=(event,)))


async def test_the_last_events_come_first_and_then_each_once_as_it_is_told(world):
    """The order is oldest first, however many events are appended between two polls."""
    for n in range(5):
        await tell(world, n)
    waiting = iter([[5], [], [*range(6, 40)], [40]])

    async def pause() -> None:
        for n in next(waiting):
            await tell(world, n)

    found = []
    entries = follow_entries(
        RedisEventStreams(world.script_client, world.store.key_names), pause, count=6
    )
    while len(found) < 38:
        entry = await asyncio.wait_for(anext(entries), 30)
        found += re.findall(rb'changed","id":"(\w+)"', entry.event)

    assert [*range(2, 40)] == [int(one, 16) for one in found][:38]


async def test_without_the_last_ones_only_what_is_new_comes(world):
    """`--last 0`."""
    await tell(world, 1)

    async def pause() -> None:
        await tell(world, 1)

    streams = RedisEventStreams(world.script_client, world.store.key_names)
    entry = await asyncio.wait_for(anext(follow_entries(streams, pause, count=0)), 30)

    assert 3 == entry.position.sequence, "the epoch's event is 1"
