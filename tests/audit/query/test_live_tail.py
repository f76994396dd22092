"""Following the log as it grows, on a real Redis."""

import asyncio
import os
import re

import pytest

from otp_service.audit.query.live_tail import followed
from otp_service.core import events
from otp_service.core.ports import Commit
from otp_service.store.client import Link
from otp_service.store.event_streams import RedisStreams
from tests.installation import World


@pytest.fixture
def world(link: Link) -> World:
    return World(link)


async def tell(world: World, n: int) -> None:
    event = events.ServiceChanged(id=f"{n:032x}")
    operation = os.urandom(16).hex()
    await world.store.commit(Commit(partition=n % 64, operation=operation, events=(event,)))


async def test_the_last_events_come_first_and_then_each_once_as_it_is_told(world):
    """Oldest first, however many are told between two looks."""
    for n in range(5):
        await tell(world, n)
    waiting = iter([[5], [], [*range(6, 40)], [40]])

    async def pause() -> None:
        for n in next(waiting):
            await tell(world, n)

    found = []
    entries = followed(RedisStreams(world.link, world.store.names), pause, last=6)
    while len(found) < 38:
        entry = await asyncio.wait_for(anext(entries), 30)
        found += re.findall(rb'changed","id":"(\w+)"', entry.event)

    assert [*range(2, 40)] == [int(one, 16) for one in found][:38]


async def test_without_the_last_ones_only_what_is_new_comes(world):
    """`--last 0`."""
    await tell(world, 1)

    async def pause() -> None:
        await tell(world, 1)

    streams = RedisStreams(world.link, world.store.names)
    entry = await asyncio.wait_for(anext(followed(streams, pause, last=0)), 30)

    assert 3 == entry.position.sequence, "the epoch's event is 1"
