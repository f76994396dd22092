"""What a provider's own name for a message stands for, for all processes and for as long as it may."""

import pytest
from msgspec.structs import replace

from otp_service.core.errors import StoreTampered
from otp_service.core.keys import Ring
from otp_service.core.policy import BOUNDS, TOMBSTONE
from otp_service.core.ports import Submitted
from otp_service.store.client import Link
from otp_service.store.message_ids import RedisSubmissions
from tests.installation import SECOND, World, fresh_keys


SENT = Submitted("shop.c07-5d41402abc4b2a76b9719d911017c592.1.1", "3456")
OTHER = Submitted("shop.c07-5d41402abc4b2a76b9719d911017c592.2.1", "3456")


@pytest.fixture
def world(link: Link) -> World:
    """The service on each kind of Redis in turn."""
    return World(link)


def process(world: World) -> RedisSubmissions:
    """Return what another process of the same installation has."""
    return RedisSubmissions(world.again().store)


async def test_what_one_process_notes_all_find(world: World) -> None:
    """In the order that was asked for, and None for what nobody has sent."""
    await process(world).note("acme", "7a2f", SENT)
    await process(world).note("acme", "b1-9c", OTHER)

    found = await process(world).look_up("acme", ["b1-9c", "31279", "7a2f"])

    assert [OTHER, None, SENT] == found


async def test_a_name_is_its_providers_own(world: World) -> None:
    """Two centres call their first message 1, and an id that is used again is the newest one's."""
    one = process(world)
    await one.note("acme", "1", SENT)

    assert [None] == await one.look_up("bulk", ["1"])
    await one.note("acme", "1", OTHER)
    assert [OTHER] == await one.look_up("acme", ["1"])

    named = [world.store.names.submission(name, "1") for name in ("acme", "bulk")]
    assert 2 == len({name.partition(":")[2] for name in named})  # not by the partition alone


async def test_it_lives_as_long_as_a_challenge_can_be_found(world: World) -> None:
    """Ten minutes at most, and the hour after its end; then nothing is left."""
    (longest,) = (most for field, _, most, _ in BOUNDS if field == "lifetime")
    await process(world).note("acme", "7a2f", SENT)

    (name,) = await world.names()
    left = await world.link.ask(await world.link.master_of(name.decode()), "PTTL", name)

    assert longest * SECOND + TOMBSTONE - 10 * SECOND < left <= longest * SECOND + TOMBSTONE


async def test_a_thief_of_redis_learns_nothing(world: World) -> None:
    """R69: neither whose message it is, nor what its provider calls it."""
    await process(world).note("acme", "7a2f-7a2f", SENT)

    (name,) = await world.names()
    kept = await world.link.ask(await world.link.master_of(name.decode()), "GET", name)

    for known in (b"acme", b"7a2f-7a2f", b"shop", b"c07-", b"3456"):
        assert known not in name + kept


async def test_a_record_under_another_name_or_forged_is_told_as_such(world: World) -> None:
    """R77: whoever can write to Redis makes no receipt another message's."""
    one = process(world)
    await one.note("acme", "1", SENT)
    (name,) = await world.names()
    kept = await world.link.ask(await world.link.master_of(name.decode()), "GET", name)

    for record in (kept, b"00000001forged"):
        other = world.store.names.submission("acme", "2")
        await world.link.ask(await world.link.master_of(other), "SET", other, record)
        with pytest.raises(StoreTampered):
            await one.look_up("acme", ["2"])


async def test_it_is_found_while_the_limit_key_is_rotated(world: World) -> None:
    """The name was made with the old key; and workers of both steps run side by side."""
    old, new = world.keys.limit.current, fresh_keys("2").limit.current
    steps = [
        RedisSubmissions(world.again(keys=replace(world.keys, limit=Ring(ring))).store)
        for ring in ((old,), (old, new), (new, old))
    ]
    await steps[0].note("acme", "1", SENT)
    await steps[2].note("acme", "2", OTHER)

    for step in steps[1:]:
        assert [SENT, OTHER, None] == await step.look_up("acme", ["1", "2", "3"])
