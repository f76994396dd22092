"""Operators open and close scopes of the brake, through a real Redis."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from otp_service.core.errors import StoreKeyUnknown
from otp_service.core.pumping.overrides import (
    MAX_OVERRIDES,
    Overrides,
    ScopeOverride,
    TooManyOverrides,
)
from otp_service.core.pumping.scope_text import parse_scope
from otp_service.core.timestamps import DAY_MS, HOUR_MS
from otp_service.service import Caller
from otp_service.service.scope_overrides import OverrideService
from otp_service.store.brake_overrides import RECORD_GRACE_MS, BrakeOverrides
from otp_service.store.client import ScriptClient
from tests.installation import Installation, generate_keys


OPERATOR = Caller.without_tenant("cli", "request-1", machine_user="ops")
RANGE, COUNTRY = (parse_scope(text, ["shop"]) for text in ("range:+44740012", "country:GB@shop"))


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    """The service on each kind of Redis in turn."""
    return Installation(script_client)


def create_service(world: Installation) -> OverrideService:
    """Return the use cases as a process has them."""
    random, keys = world.dependencies.random, world.keys
    registry = BrakeOverrides(world.store)
    return OverrideService(registry, random, {"config": "test"}, keys.pseudonym.current)


async def load_items(world: Installation) -> Sequence[ScopeOverride]:
    """Return the overrides as another process reads them."""
    return (await BrakeOverrides(world.store).load_overrides()).overrides.items


async def read_override_events(world: Installation) -> list[dict[str, Any]]:
    """Return the events of these commands, oldest first."""
    return [each for each in await world.read_events() if each["type"].startswith("brake.")]


async def test_an_override_is_stored_with_its_end_and_its_event(world: Installation) -> None:
    """R64: who has decided it, until when and why. The event names the range by its pseudonym."""
    stored = await create_service(world).override_scope(
        OPERATOR, RANGE, "open", duration_ms=HOUR_MS, reason="a campaign"
    )

    assert (stored,) == await load_items(world)
    assert (RANGE, "open", HOUR_MS) == (stored.bucket, stored.action, stored.until - stored.at)
    (event,) = await read_override_events(world)
    assert ("brake.opened", "a campaign", "ops") == (event["type"], event["note"], event["by"])
    prefix = world.keys.pseudonym.current.derive_pseudonym("prefix", "+44740012")
    assert (prefix, "UnverifiedPerRange") == (event["prefix"], event["limit"])
    assert "44740012" not in str(event)


async def test_the_later_override_of_a_scope_replaces_the_earlier_one(world: Installation) -> None:
    """And a lift ends it, once."""
    service = create_service(world)
    await service.override_scope(OPERATOR, COUNTRY, "open", duration_ms=HOUR_MS, reason="one")

    closed = await service.override_scope(
        OPERATOR, COUNTRY, "closed", duration_ms=HOUR_MS, reason="two"
    )

    assert (closed,) == await load_items(world)
    assert closed == await service.lift_override(OPERATOR, COUNTRY)
    assert await service.lift_override(OPERATOR, COUNTRY) is None
    assert () == await load_items(world)
    types = [event["type"] for event in await read_override_events(world)]
    assert ["brake.opened", "brake.closed", "brake.lifted"] == types


async def test_operators_who_change_scopes_at_once_lose_nothing(world: Installation) -> None:
    """Each change is decided on what the others have stored."""
    buckets = [parse_scope(f"range:+4474001{i}", []) for i in range(6)]

    await asyncio.gather(
        *(
            create_service(world).override_scope(
                OPERATOR, bucket, "closed", duration_ms=HOUR_MS, reason="an attack"
            )
            for bucket in buckets
        )
    )

    assert set(buckets) == {item.bucket for item in await load_items(world)}
    assert len(buckets) == len(await read_override_events(world))


async def test_an_ended_override_is_dropped_and_the_record_ends(world: Installation) -> None:
    """The record must not outlive the key that opens it."""
    service = create_service(world)
    await service.override_scope(OPERATOR, RANGE, "open", duration_ms=HOUR_MS, reason="one")
    world.advance_clock(HOUR_MS)
    assert await service.lift_override(OPERATOR, RANGE) is None

    kept = await service.override_scope(OPERATOR, COUNTRY, "open", duration_ms=DAY_MS, reason="two")

    assert (kept,) == await load_items(world)
    _, key = world.store.key_names.locate_shared_record("brake-overrides")
    (left_ms,) = await world.script_client.read_each([key], "PTTL")
    assert 0 < left_ms - DAY_MS <= RECORD_GRACE_MS + HOUR_MS


async def test_too_many_overrides_are_refused_without_a_change(world: Installation) -> None:
    """Each process reads all of them every few seconds."""
    service = create_service(world)
    first = await service.override_scope(OPERATOR, RANGE, "open", duration_ms=HOUR_MS, reason="one")
    full = Overrides(tuple(replace(first, subject=f"+{i}") for i in range(MAX_OVERRIDES)))
    body = msgspec.msgpack.encode(full)
    assert await world.store.swap_shared_record("brake-overrides", 1, body, (), "fill")

    with pytest.raises(TooManyOverrides):
        await service.override_scope(OPERATOR, RANGE, "open", duration_ms=HOUR_MS, reason="two")

    assert full.items == await load_items(world)


async def test_overrides_outlive_the_keys_that_are_removed_after_a_day(world: Installation) -> None:
    """An override lasts for a week, and a `seal` key that was replaced for a day."""
    await create_service(world).override_scope(
        OPERATOR, RANGE, "open", duration_ms=HOUR_MS, reason="one"
    )
    new = generate_keys("2")
    rotated = replace(new, limit=world.keys.limit)

    assert [RANGE] == [item.bucket for item in await load_items(world.restart(keys=rotated))]
    with pytest.raises(StoreKeyUnknown):
        await load_items(world.restart(keys=new))
