"""A name that leads to another server: connections to the earlier one are closed, and nothing is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from otp_service.core.errors import StoreUnavailable
from otp_service.store import health
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.store import redis_servers
from tests.store.address_switch import AddressSwitch


COUNT = LuaScript("#!lua\nreturn redis.call('INCR', KEYS[1])")
READ = LuaScript("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])")
KEY = "{07}:counter"


@pytest.fixture
def two_servers(tmp_path) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A master, and a replica of it that takes its place later."""
    with (
        redis_servers.start_server(
            tmp_path / "old", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as old,
        redis_servers.start_replica(tmp_path / "new", old) as new,
    ):
        yield old, new


@pytest.fixture
async def address(two_servers) -> AsyncIterator[AddressSwitch]:
    async with AddressSwitch(two_servers[0]) as address:
        yield address


@contextlib.asynccontextmanager
async def connect(address: AddressSwitch, **options) -> AsyncIterator[ScriptClient]:
    lines = create_redis_lines(url=address.url, timeout_ms=2000)
    async with ScriptClient(lines, **options) as link:
        yield link


async def count(link: ScriptClient) -> int:
    return await link.retry_lost_reply(lambda: link.run_script(COUNT, (KEY,), ()))


async def open_connections(link: ScriptClient, number: int) -> None:
    """Use so many connections at once that each of them is open afterwards."""
    await asyncio.gather(*(count(link) for _ in range(number)))


def promote(two_servers, address: AddressSwitch) -> None:
    """Fail over as a managed Redis does: the name leads to the new master, the old one stays."""
    old, new = two_servers
    with redis_servers.open_client(new) as promoted, redis_servers.open_client(old) as demoted:
        redis_servers.wait_until(
            lambda: promoted.get(KEY) == demoted.get(KEY), description="the replica has everything"
        )
        promoted.replicaof("NO", "ONE")
        demoted.replicaof("127.0.0.1", new.port)
    address.target = new


async def test_a_demoted_master_is_left_when_the_name_leads_elsewhere(two_servers, address):
    """READONLY on an open connection means that the name must be resolved again."""
    async with connect(address) as link:
        await open_connections(link, 10)

        promote(two_servers, address)
        answers = await asyncio.gather(*(count(link) for _ in range(10)))

    assert list(range(11, 21)) == sorted(answers)


async def test_reads_follow_to_the_new_master_too(two_servers, address):
    """A demoted master answers reads, so that another connection must show that it is the wrong one."""
    async with connect(address) as link:
        await open_connections(link, 10)
        promote(two_servers, address)
        old, _ = two_servers
        with redis_servers.open_client(old) as demoted:
            demoted.replicaof("127.0.0.1", redis_servers.find_free_port())
        assert 11 == await count(link)

        answers = await asyncio.gather(*(link.run_script(READ, (KEY,), ()) for _ in range(10)))

    assert [b"11"] * 10 == answers


async def test_a_new_connection_to_another_server_closes_the_older_ones(two_servers, address):
    """Two masters behind one name: the earlier one answers, but it is not the one that counts."""
    _, new = two_servers
    async with connect(address, replicas=1, wait_ms=1) as link:
        await open_connections(link, 5)
        with redis_servers.open_client(new) as promoted:
            promoted.replicaof("NO", "ONE")
            promoted.set(KEY, 100)
        address.target = new
        with pytest.raises(StoreUnavailable):  # the first durable call opens a line; no replica
            await link.run_script(COUNT, (KEY,), (), durable=True)

        later = await asyncio.gather(*(count(link) for _ in range(6)))

    assert all(answer > 100 for answer in later)


async def test_readiness_recovers_by_itself(two_servers, address):
    """It is false while the name leads to a replica, and true once it leads to the master."""
    old, new = two_servers
    async with connect(address) as link:
        assert await health.is_ready(link)
        with redis_servers.open_client(old) as demoted:
            demoted.replicaof("127.0.0.1", new.port)
        assert not await health.is_ready(link)

        with redis_servers.open_client(new) as promoted:
            promoted.replicaof("NO", "ONE")
        address.target = new

        await asyncio.sleep(0.6)
        assert await health.is_ready(link)


@pytest.mark.parametrize(
    "setting", [("maxmemory", "1"), ("min-replicas-to-write", "3")], ids=lambda pair: pair[0]
)
async def test_a_server_that_refuses_writes_is_left_too(two_servers, address, setting):
    """Whatever keeps a server from writing, the name may lead to a better one now."""
    old, new = two_servers
    async with connect(address) as link:
        await open_connections(link, 5)
        with redis_servers.open_client(old) as full, redis_servers.open_client(new) as promoted:
            full.config_set(*setting)
            promoted.replicaof("NO", "ONE")
        address.target = new

        assert await count(link)


async def test_a_name_that_still_leads_to_the_replica_is_not_asked_at_every_call(
    two_servers, address
):
    """While a failover has not reached the DNS, each call is 503, and connections are reused."""
    old, _ = two_servers
    async with connect(address) as link:
        await count(link)
        with redis_servers.open_client(old) as demoted:
            demoted.replicaof("127.0.0.1", redis_servers.find_free_port())
        before = len(address.opened)

        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await count(link)

    assert len(address.opened) - before < 10


async def test_an_error_of_a_command_keeps_the_connection(address):
    """A wrong type is our own fault, and says nothing about the server."""
    async with connect(address) as link:
        await count(link)
        before = len(address.opened)

        for _ in range(10):
            replies = await link.run_pipeline(KEY, [("HGET", KEY, "f")])
            assert isinstance(replies[0], redis.ResponseError)

    assert before == len(address.opened)
