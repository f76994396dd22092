"""Failovers of Sentinel under load: no code is accepted twice, no guess is free, no event is lost.

Each scenario has a master and two replicas, and `redis.replicas` is 2, the number that may be promoted.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.failover.login_load import LoginLoad
from tests.failover.sentinel_lab import SentinelLab
from tests.store import redis_servers


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKERS, ATTACKERS = 6, 2


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[SentinelLab]:
    with redis_servers.start_sentinel_of(tmp_path, [100, 100]) as (master, replicas, sentinel):
        yield SentinelLab(master, replicas, sentinel)


async def test_a_commanded_failover_keeps_every_promise(lab: SentinelLab) -> None:
    """74 challenges were verified twice in 4 failovers where `WAIT` counted one of two replicas."""
    old = lab.master
    async with lab.connect() as link:
        load = LoginLoad(link)
        async with load.run(workers=WORKERS, attackers=ATTACKERS):
            await load.wait_for_logins(10)
            await asyncio.to_thread(lab.command_failover)
            await asyncio.to_thread(lab.follow_master, old)
            await load.wait_for_logins(20)

        assert load.refused_count
        await load.assert_promises_kept()


async def test_a_killed_master_keeps_every_promise(lab: SentinelLab) -> None:
    """It comes back as a replica, without what it had not written to its disk."""
    old = lab.master
    async with lab.connect() as link:
        load = LoginLoad(link)
        async with load.run(workers=WORKERS, attackers=ATTACKERS):
            await load.wait_for_logins(10)
            redis_servers.kill_server(old)
            await asyncio.to_thread(lab.wait_for_new_master)
            await asyncio.to_thread(restart_server, old)
            await asyncio.to_thread(lab.follow_master, old)
            await load.wait_for_logins(20)

        assert load.refused_count
        await load.assert_promises_kept()


def restart_server(server: EmbeddedServer) -> None:
    server.stop()
    server.start()


async def test_a_frozen_master_that_wakes_up_keeps_every_promise(lab: SentinelLab) -> None:
    """It wakes up as a second master, and no call that it answers may count."""
    old = lab.master
    async with lab.connect() as link:
        load = LoginLoad(link)
        async with load.run(workers=WORKERS, attackers=ATTACKERS):
            await load.wait_for_logins(10)
            with redis_servers.suspend_server(old):
                await asyncio.to_thread(lab.wait_for_new_master)
            await asyncio.sleep(2)
            await asyncio.to_thread(lab.follow_master, old)
            await load.wait_for_logins(20)

        assert load.refused_count
        await load.assert_promises_kept()


async def test_the_oracle_finds_what_a_promoted_replica_never_received(lab: SentinelLab) -> None:
    """The scenarios above are sensitive: WAIT counts one of two replicas, and the other takes over."""
    _, other, _ = lab.servers
    async with lab.connect(replicas=1) as link:
        load = LoginLoad(link)
        async with load.run(workers=WORKERS, attackers=ATTACKERS):
            await load.wait_for_logins(5)
            with redis_servers.open_client(other) as promoted:
                promoted.replicaof("NO", "ONE")
            await load.wait_for_logins(5)
        async with ScriptClient(create_redis_lines(url=other.url)) as survivor:
            load.installation.store.client = load.installation.script_client = survivor
            with pytest.raises(AssertionError):
                await load.assert_promises_kept()
