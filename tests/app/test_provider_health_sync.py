"""Provider health that one process observes reaches the others, through a real Redis."""

import asyncio
import os
import secrets

import pytest

from otp_service.app.provider_health_sync import ProviderHealthSync
from otp_service.core.errors import StoreUnavailable
from otp_service.core.timestamps import SECOND_MS
from otp_service.service import RandomSource
from otp_service.sms.provider_health import HealthEvent
from otp_service.sms.router import LocalProviderHealth
from otp_service.store.client import ScriptClient
from tests.installation import Installation


NOW = 1_795_348_800_000
FAILED = HealthEvent("acme", "GB", NOW, "failed", reason="read-timeout")


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    """The service on each kind of Redis in turn."""
    return Installation(script_client)


def process(world: Installation) -> tuple[LocalProviderHealth, ProviderHealthSync]:
    """Return another process of the same installation."""
    remembered = LocalProviderHealth()
    chance = RandomSource(secrets.randbelow, os.urandom)
    return remembered, ProviderHealthSync(world.store, remembered, chance, {"config": "abc"})


async def test_failures_of_several_processes_add_up(world: Installation) -> None:
    """R90: each has seen three; together they open the breaker, for all processes."""
    (one, from_one), (other, from_other) = process(world), process(world)
    one.record_events([FAILED] * 3)
    other.record_events([FAILED] * 3)
    assert "closed" == one.health.get_breaker_state("acme", "GB", NOW)

    await from_one.sync_health()
    await from_other.sync_health()
    await from_one.sync_health()

    assert "open" == one.health.get_breaker_state("acme", "GB", NOW)
    assert "open" == other.health.get_breaker_state("acme", "GB", NOW)
    moved = [event for event in await world.read_events() if event["type"] == "provider.moved"]
    assert [("acme", "GB", "open", "read-timeout")] == [
        (event["provider"], event["country"], event["state"], event["reason"]) for event in moved
    ]


async def test_whoever_comes_too_late_tries_again_and_loses_nothing(world: Installation) -> None:
    """Ten processes write at once, and all observations are stored in the end."""
    processes = [process(world) for _ in range(10)]
    for remembered, _ in processes:
        remembered.record_events([FAILED])

    for _ in range(10):
        await asyncio.gather(*(sharing.sync_health() for _, sharing in processes))

    assert all(not remembered.unshared_events for remembered, _ in processes)
    fresh, sharing = process(world)
    await sharing.sync_health()
    assert 10 == len(fresh.health.breakers["acme GB"].outcomes)


async def test_what_is_learnt_during_an_exchange_is_kept_for_the_next(world: Installation) -> None:
    """Requests continue during the exchange."""
    one, sharing = process(world)
    one.record_events([FAILED])
    exchange = asyncio.create_task(sharing.sync_health())
    for _ in range(3):  # It has read the pending changes, and waits for Redis.
        await asyncio.sleep(0)
    one.record_events([FAILED] * 4)

    await exchange
    await sharing.sync_health()

    assert [] == one.unshared_events
    assert 5 == len(one.health.breakers["acme GB"].outcomes)
    assert "open" == one.health.get_breaker_state("acme", "GB", NOW + SECOND_MS)


async def test_a_forged_memory_is_refused(world: Installation) -> None:
    """An attacker that can write to Redis cannot route messages; the local health is unchanged."""
    one, sharing = process(world)
    one.record_events([FAILED] * 5)
    await sharing.sync_health()
    _, name = world.store.key_names.locate_shared_record("providers")
    await world.script_client.read_from(
        await world.script_client.find_master(name), "SET", name, b"00000009forged"
    )

    with pytest.raises(StoreUnavailable):
        await sharing.sync_health()

    assert "open" == one.health.get_breaker_state("acme", "GB", NOW)


async def test_as_long_as_all_is_well_nothing_is_written(world: Installation) -> None:
    """R90: a request adds no round trip, and a quiet hour adds none either."""
    one, sharing = process(world)
    for place in range(100):
        one.record_events([HealthEvent("acme", "GB", NOW + place, "accepted")])

    await sharing.sync_health()

    assert [] == await world.list_keys("*:providers")
    one.record_events([FAILED, HealthEvent("acme", "GB", NOW + 1, "accepted")])
    assert 2 == len(one.unshared_events)
