"""Failovers of Sentinel under load: no code is accepted twice, no guess is free, no event is lost.

Each scenario has a master and two replicas, and `redis.replicas` is 2, the number that may be promoted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.failover.login_load import LoginLoad
from tests.store import redis_servers
from tests.store.redis_servers import SentinelServer


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKERS, ATTACKERS = 6, 2


class SentinelLab:
    """A master with two replicas behind a Sentinel, and the faults of a test."""

    def __init__(
        self, master: EmbeddedServer, replicas: list[EmbeddedServer], sentinel: SentinelServer
    ) -> None:
        self.master = master
        self.servers = [master, *replicas]
        self.sentinel = sentinel

    @contextlib.asynccontextmanager
    async def connect(self, *, replicas: int = 2) -> AsyncIterator[ScriptClient]:
        client = create_redis_client(
            sentinel=[f"127.0.0.1:{self.sentinel.port}"], master="otp", timeout_ms=1000
        )
        async with ScriptClient(client, replicas=replicas, wait_ms=200) as link:
            yield link

    def command_failover(self) -> None:
        """Have Sentinel promote a replica, and return when it names the new master."""
        with redis_servers.open_client(self.sentinel) as client:
            redis_servers.wait_until(
                lambda: redis_servers._start_failover(client, "otp"),
                description="a replica that Sentinel trusts",
            )
        self.wait_for_new_master()

    def wait_for_new_master(self) -> None:
        old = self.master
        redis_servers.wait_until(
            lambda: self.find_master() is not old, description="the new master"
        )
        self.master = self.find_master()

    def find_master(self) -> EmbeddedServer:
        """Return the server that Sentinel names."""
        with redis_servers.open_client(self.sentinel) as client:
            _, port = client.sentinel_get_master_addr_by_name("otp")
        return next(server for server in self.servers if server.port == port)

    def follow_master(self, server: EmbeddedServer) -> None:
        """Make a server a replica of the master, as an operator does instead of waiting."""
        with redis_servers.open_client(server) as client:
            client.replicaof("127.0.0.1", self.master.port)


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
        async with ScriptClient(create_redis_client(url=other.url)) as survivor:
            load.installation.store.client = load.installation.script_client = survivor
            with pytest.raises(AssertionError):
                await load.assert_promises_kept()
