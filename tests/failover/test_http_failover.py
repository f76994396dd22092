"""A failover of Sentinel behind `otp-service serve`, seen over HTTP by logins and attackers."""

import asyncio
from pathlib import Path

import pytest

from tests.failover.http_load import SITECUSTOMIZE, HttpLoad
from tests.failover.sentinel_lab import SentinelLab
from tests.processes import CHEAPEST_HASH_SETTINGS, GatewayServer, run_service
from tests.store import redis_servers


pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WORKERS, ATTACKERS = 4, 2

SETTINGS = CHEAPEST_HASH_SETTINGS | {
    "REDIS__REPLICAS": "2",
    "REDIS__WAIT_MILLISECONDS": "200",
    "REDIS__TIMEOUT_MILLISECONDS": "1000",
}


async def test_a_failover_behind_two_workers_keeps_every_promise(tmp_path: Path) -> None:
    """R79: the workers share nothing but Redis, and each finds the new master by itself."""
    comparisons = tmp_path / "comparisons"
    record = SITECUSTOMIZE.format(path=str(comparisons))
    with (
        redis_servers.start_sentinel_of(tmp_path, [100, 100]) as (master, replicas, sentinel),
        GatewayServer() as gateway,
        run_service(
            tmp_path / "s",
            sentinel,
            [gateway.url],
            workers=2,
            sitecustomize=record,
            **SETTINGS,
        ) as service,
    ):
        lab = SentinelLab(master, replicas, sentinel)
        load = HttpLoad(service, gateway, comparisons)
        async with load.run(workers=WORKERS, attackers=ATTACKERS):
            await load.wait_for_logins(5)
            await asyncio.to_thread(lab.command_failover)
            await asyncio.to_thread(lab.follow_master, master)
            await load.wait_for_logins(10)

        assert load.refused_count
        await asyncio.to_thread(redis_servers.wait_until, service.is_ready)
        await asyncio.to_thread(load.assert_promises_kept)
