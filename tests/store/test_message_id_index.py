"""The index of providers' ids of messages: shared by all processes, until its records expire."""

import pytest
from msgspec.structs import replace

from otp_service.core.errors import StoreTampered
from otp_service.core.keys import KeyRing
from otp_service.core.policy import ENDED_RETENTION_MS, POLICY_BOUNDS
from otp_service.core.ports import MessageIdRecord
from otp_service.store.client import ScriptClient
from otp_service.store.message_id_index import RedisMessageIdIndex
from tests.installation import SECOND_MS, Installation, generate_keys


SENT = MessageIdRecord("shop.c07-5d41402abc4b2a76b9719d911017c592.1.1", "3456")
OTHER = MessageIdRecord("shop.c07-5d41402abc4b2a76b9719d911017c592.2.1", "3456")


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    """The service on each kind of Redis in turn."""
    return Installation(script_client)


def process(world: Installation) -> RedisMessageIdIndex:
    """Return what another process of the same installation has."""
    return RedisMessageIdIndex(world.restart().store)


async def test_what_one_process_notes_all_find(world: Installation) -> None:
    """In the order of the ids, with None for an unknown one."""
    await process(world).put("acme", "7a2f", SENT)
    await process(world).put("acme", "b1-9c", OTHER)

    found = await process(world).get_many("acme", ["b1-9c", "31279", "7a2f"])

    assert [OTHER, None, SENT] == found


async def test_a_name_is_its_providers_own(world: Installation) -> None:
    """Two centres call their first message 1, and an id that is used again is the newest one's."""
    one = process(world)
    await one.put("acme", "1", SENT)

    assert [None] == await one.get_many("bulk", ["1"])
    await one.put("acme", "1", OTHER)
    assert [OTHER] == await one.get_many("acme", ["1"])

    named = [world.store.key_names.message_id_key(name, "1") for name in ("acme", "bulk")]
    assert 2 == len({name.partition(":")[2] for name in named})  # not by the partition alone


async def test_it_lives_as_long_as_a_challenge_can_be_found(world: Installation) -> None:
    """Ten minutes at most, and the hour after its end; then nothing is left."""
    (longest,) = (most for field, _, most, _ in POLICY_BOUNDS if field == "lifetime")
    await process(world).put("acme", "7a2f", SENT)

    (name,) = await world.list_keys()
    left = await world.script_client.read_from(
        await world.script_client.find_master(name.decode()), "PTTL", name
    )

    assert (
        longest * SECOND_MS + ENDED_RETENTION_MS - 10 * SECOND_MS
        < left
        <= longest * SECOND_MS + ENDED_RETENTION_MS
    )


async def test_a_thief_of_redis_learns_nothing(world: Installation) -> None:
    """R69: neither whose message it is, nor what its provider calls it."""
    await process(world).put("acme", "7a2f-7a2f", SENT)

    (name,) = await world.list_keys()
    kept = await world.script_client.read_from(
        await world.script_client.find_master(name.decode()), "GET", name
    )

    for known in (b"acme", b"7a2f-7a2f", b"shop", b"c07-", b"3456"):
        assert known not in name + kept


async def test_a_record_under_another_name_or_forged_is_told_as_such(world: Installation) -> None:
    """R77: an attacker with write access to Redis cannot move a receipt to another message."""
    one = process(world)
    await one.put("acme", "1", SENT)
    (name,) = await world.list_keys()
    kept = await world.script_client.read_from(
        await world.script_client.find_master(name.decode()), "GET", name
    )

    for record in (kept, b"00000001forged"):
        other = world.store.key_names.message_id_key("acme", "2")
        await world.script_client.read_from(
            await world.script_client.find_master(other), "SET", other, record
        )
        with pytest.raises(StoreTampered):
            await one.get_many("acme", ["2"])


async def test_it_is_found_while_the_limit_key_is_rotated(world: Installation) -> None:
    """The name was made with the old key; and workers of both steps run side by side."""
    old, new = world.keys.limit.current, generate_keys("2").limit.current
    steps = [
        RedisMessageIdIndex(world.restart(keys=replace(world.keys, limit=KeyRing(ring))).store)
        for ring in ((old,), (old, new), (new, old))
    ]
    await steps[0].put("acme", "1", SENT)
    await steps[2].put("acme", "2", OTHER)

    for step in steps[1:]:
        assert [SENT, OTHER, None] == await step.get_many("acme", ["1", "2", "3"])
