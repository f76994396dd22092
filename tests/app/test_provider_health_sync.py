"""What one process has learnt of its providers reaches the others, through a real Redis."""

import asyncio
import os
import secrets

import pytest

from otp_service.app.provider_health_sync import Sharing
from otp_service.core.errors import StoreUnavailable
from otp_service.service import Random
from otp_service.sms.provider_health import SECOND, Observation
from otp_service.sms.router import Remembered
from otp_service.store.client import Link
from tests.installation import World


NOW = 1_795_348_800_000
FAILED = Observation("acme", "GB", NOW, "failed", reason="read-timeout")


@pytest.fixture
def world(link: Link) -> World:
    """The service on each kind of Redis in turn."""
    return World(link)


def process(world: World) -> tuple[Remembered, Sharing]:
    """Return another process of the same installation."""
    remembered = Remembered()
    chance = Random(secrets.randbelow, os.urandom)
    return remembered, Sharing(world.store, remembered, chance, {"config": "abc"})


async def test_failures_of_several_processes_add_up(world: World) -> None:
    """R90: each has seen three; together they open the breaker, for all."""
    (one, from_one), (other, from_other) = process(world), process(world)
    one.learn([FAILED] * 3)
    other.learn([FAILED] * 3)
    assert "closed" == one.known.state("acme", "GB", NOW)

    await from_one.exchange()
    await from_other.exchange()
    await from_one.exchange()

    assert "open" == one.known.state("acme", "GB", NOW)
    assert "open" == other.known.state("acme", "GB", NOW)
    moved = [event for event in await world.events() if event["type"] == "provider.moved"]
    assert [("acme", "GB", "open", "read-timeout")] == [
        (event["provider"], event["country"], event["state"], event["reason"]) for event in moved
    ]


async def test_whoever_comes_too_late_tries_again_and_loses_nothing(world: World) -> None:
    """Ten processes write at once; all that they have learnt is there in the end."""
    processes = [process(world) for _ in range(10)]
    for remembered, _ in processes:
        remembered.learn([FAILED])

    for _ in range(10):
        await asyncio.gather(*(sharing.exchange() for _, sharing in processes))

    assert all(not remembered.new for remembered, _ in processes)
    fresh, sharing = process(world)
    await sharing.exchange()
    assert 10 == len(fresh.known.breakers["acme GB"].last)


async def test_what_is_learnt_during_an_exchange_is_kept_for_the_next(world: World) -> None:
    """The requests do not stand still meanwhile."""
    one, sharing = process(world)
    one.learn([FAILED])
    exchange = asyncio.create_task(sharing.exchange())
    for _ in range(3):  # it has read the memory's list of news, and waits for Redis
        await asyncio.sleep(0)
    one.learn([FAILED] * 4)

    await exchange
    await sharing.exchange()

    assert [] == one.new
    assert 5 == len(one.known.breakers["acme GB"].last)
    assert "open" == one.known.state("acme", "GB", NOW + SECOND)


async def test_a_forged_memory_is_refused(world: World) -> None:
    """Whoever can write to Redis does not steer messages; what is known here stays."""
    one, sharing = process(world)
    one.learn([FAILED] * 5)
    await sharing.exchange()
    _, name = world.store.names.shared()
    await world.link.ask(await world.link.master_of(name), "SET", name, b"00000009forged")

    with pytest.raises(StoreUnavailable):
        await sharing.exchange()

    assert "open" == one.known.state("acme", "GB", NOW)


async def test_as_long_as_all_is_well_nothing_is_written(world: World) -> None:
    """R90: no round trip of a request, and none of a quiet hour either."""
    one, sharing = process(world)
    for place in range(100):
        one.learn([Observation("acme", "GB", NOW + place, "taken")])

    await sharing.exchange()

    assert [] == await world.names("*:providers")
    one.learn([FAILED, Observation("acme", "GB", NOW + 1, "taken")])
    assert 2 == len(one.new)
