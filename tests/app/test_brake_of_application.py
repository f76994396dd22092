"""When a process of the service has what the brake needs, and what it shows of it."""

import os
import re
from pathlib import Path

import msgspec
import pytest

from otp_service.app import Application
from otp_service.clock import now_ms
from otp_service.core.errors import StoreUnavailable
from otp_service.core.keys import generate_secret
from otp_service.core.pumping.commits import TrafficName
from otp_service.core.timestamps import HOUR_MS
from otp_service.schemas import IssueRequest
from otp_service.service import Caller
from otp_service.settings.development import DEV_TENANT, create_dev_settings, ensure_dev_secrets
from otp_service.settings.model import Settings
from otp_service.settings.service_tables import ServiceSettings
from otp_service.sms.provider_health import HealthEvent
from otp_service.store.embedded import EmbeddedServer
from tests.store import redis_servers


@pytest.fixture
def settings(server: EmbeddedServer, tmp_path: Path) -> Settings:
    """Return the settings of development, on this Redis emptied."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    kept = ensure_dev_secrets(tmp_path, None, lambda: generate_secret(os.urandom))
    return create_dev_settings(ServiceSettings(), server.url, kept)


async def write_history(app: Application, price: int) -> None:
    """Write two weeks with a hundred verifications in each hour, and forty sends without one."""
    names, hour = app.store.key_names, now_ms() // HOUR_MS
    partition = names.compute_shared_partition()
    key, index = (
        names.traffic_key(partition, TrafficName(DEV_TENANT, "DE")),
        names.traffic_index_key(partition),
    )
    flat = [
        part
        for each in range(hour - 336, hour)
        for field in ((f"{each}:v", 100 * price), (f"{each}:u", 40 * price))
        for part in field
    ]
    await app.script_client.repeat_commands(key, [("HSET", key, *flat)])
    await app.script_client.repeat_commands(index, [("SADD", index, f"{DEV_TENANT} DE")])


async def test_a_process_has_learned_before_it_is_ready(settings: Settings) -> None:
    """With the floors alone it would refuse honest people until the first look."""
    app = Application(settings)
    price = app.brake.prices.find_price("DE")
    await write_history(app, price)
    assert not await app.is_ready()

    async with app:
        assert await app.is_ready()
        learned = app.brake.learned.get(DEV_TENANT, "DE")
        assert 100 * price == learned.unverified.usual_verified[0]
        page = app.metrics.render_metrics()[0].decode()
        scope = f'country="DE",tenant="{DEV_TENANT}"'
        assert f"otp_pumping_country_state{{{scope}}} 0.0" in page
        (learned_at,) = re.findall(r"^otp_pumping_learned_at (\S+)$", page, re.MULTILINE)
        assert app.brake.learned.computed_at == 1000 * float(learned_at)


async def test_a_supervisor_is_ready_without_what_was_learned(settings: Settings) -> None:
    async with Application(settings, is_supervisor=True) as app:
        assert await app.is_ready()
        assert not app.brake_sync.has_loaded


async def test_a_process_starts_without_redis_and_is_ready_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Application(settings)

    async def fail() -> None:
        raise StoreUnavailable

    monkeypatch.setattr(app.brake_sync, "load", fail)
    async with app:
        assert not await app.is_ready()
        await app.brake_sync.sync()
        assert await app.is_ready()


async def test_an_outage_begins_once_each_provider_of_the_route_fails(settings: Settings) -> None:
    async with Application(settings) as app:
        await write_history(app, app.brake.prices.find_price("DE"))
        (provider,) = settings.build_routes().find_country_route("DE")
        failures = [HealthEvent(provider, "DE", now_ms(), "failed", reason="timeout")] * 5
        app.provider_health.record_events(failures)
        await app.script_client.repeat_commands("{00}:brake", [("DEL", "{00}:brake")])

        await app.brake_sync.sync()

        assert [("", "DE")] == [(o.tenant, o.country) for o in app.brake.learned.outages]


async def test_the_use_cases_of_a_process_charge_its_brake(settings: Settings) -> None:
    """Sixteen messages into one range have room; the next one is over, which development records."""
    tenant = settings.build_tenants()[DEV_TENANT]
    async with Application(settings) as app:
        for index in range(17):
            caller, request = Caller(tenant, "key", "r"), IssueRequest(f"+44740012{3400 + index}")
            await app.service.issue(caller, request, None)
        entries = [entry async for entry in app.create_reader().iterate_entries()]

    issued = [msgspec.json.decode(entry.event) for entry in entries if b"otp.issued" in entry.event]
    assert ["UnverifiedPerRange"] + [None] * 16 == [one.get("over_limit") for one in issued]
