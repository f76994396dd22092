"""The health and readiness checks, on real servers with and without faults."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from otp_service.core.errors import StoreUnavailable
from otp_service.store import health, permissions
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, read_lua
from otp_service.store.connect import create_redis_lines
from otp_service.store.lua_script import LuaScript
from otp_service.store.server_checks import check_server
from tests.store import redis_servers


EXAMPLE = Path(__file__).parents[2] / "deploy/redis.acl.example"
SERVICE = [rule for rule in EXAMPLE.read_text().splitlines()[-1].split() if rule[0] in "+-"]
KEYS = "~{[0-9][0-9]}:*"
IN_A_CLUSTER = ("+cluster|slots", "+cluster|info", "+command")
"""What redis-py and the check ask besides."""

SET = LuaScript("return redis.call('SET', KEYS[1], '1')")


@pytest.fixture
def own(tmp_path):
    """A server that a test may spoil, and a client for doing so."""
    with (
        redis_servers.start_server(tmp_path) as server,
        redis_servers.open_client(server) as client,
    ):
        yield server, client


def user(client: Redis, *rules: str) -> dict[str, Any]:
    """Make a user, and return its login."""
    client.execute_command("ACL SETUSER", "otp", "reset", "on", ">sesame", *rules)
    return {"username": "otp", "password": "sesame"}


async def faults(server, *, replicas: int = 0, **login: Any) -> dict[str, str]:
    """Return the remedies by what is wrong."""
    lines = create_redis_lines(
        **redis_servers.build_connect_options([server]), timeout_ms=5000, **login
    )
    async with ScriptClient(lines, replicas=replicas) as link:
        return dict(await health.find_issues(link))


# ------------------------------------------------------------------------------------ is it fit


async def test_a_redis_as_it_should_be_has_no_faults(script_client):
    """The embedded one, Debian's, and a cluster."""
    assert [] == await health.find_issues(script_client)


async def test_looking_leaves_nothing_behind(script_client, masters):
    """A look at production is no change of it."""
    await health.find_issues(script_client)
    await asyncio.sleep(1.1)

    assert [0] * len(masters) == [
        await script_client.read_from(one, "DBSIZE") for one in await script_client.list_masters()
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no"), ("appendfsync", "no")],
)
async def test_a_redis_that_may_forget_is_named(own, option, value):
    """R76, R78: eviction and a restart would both give attempts back."""
    server, client = own
    client.config_set(option, value)

    found = await faults(server)

    assert {option} == found.keys()
    assert value in found[option] or "off" in found[option]


async def test_the_services_own_user_is_enough(own):
    """The user may not call CONFIG; INFO reports the eviction policy as well."""
    server, client = own
    login = user(client, KEYS, *SERVICE)

    assert {} == await faults(server, **login)
    client.config_set("maxmemory-policy", "volatile-ttl")
    assert {"maxmemory-policy"} == (await faults(server, **login)).keys()


async def test_the_services_own_user_needs_little_more_in_a_cluster(cluster):
    """The extra permissions are needed to find the masters."""
    with contextlib.ExitStack() as stack:
        owners = [stack.enter_context(redis_servers.open_client(master)) for master in cluster]
        logins = [user(owner, KEYS, *SERVICE, *IN_A_CLUSTER) for owner in owners]
        lines = create_redis_lines(
            **redis_servers.build_connect_options(cluster), timeout_ms=5000, **logins[0]
        )

        async with ScriptClient(lines) as link:
            found = await health.find_issues(link)

        for owner in owners:
            owner.acl_deluser("otp")
    assert [] == found


@pytest.mark.parametrize(
    "command",
    [
        *("xadd", "zadd", "getrange", "time", "eval", "evalsha", "scan", "xrevrange", "info"),
        *("smembers", "hgetall", "srem"),
    ],
)
async def test_a_command_that_the_acl_refuses_is_named(own, command):
    """Inside of scripts and outside of them."""
    server, client = own
    login = user(client, KEYS, *SERVICE, f"-{command}")

    found = await faults(server, **login)

    assert f"may not run {command.upper()}: allow it +{command}" == found["redis.username"]


async def test_keys_that_the_acl_refuses_are_named(own):
    """The finding gives the pattern as the ACL needs it."""
    server, client = own

    found = await faults(server, **user(client, "~otp:*", *SERVICE))

    assert KEYS in found["redis.username"]


async def test_a_wrong_password_is_a_fault_and_not_a_redis_that_is_away(own):
    """Waiting does not help."""
    server, client = own
    login = user(client, KEYS, *SERVICE) | {"password": "wrong"}

    assert ["redis.password"] == list(await faults(server, **login))


async def test_replicas_that_are_missing_are_counted(own):
    """Otherwise each claim would wait, and be refused."""
    server, _ = own

    found = await faults(server, replicas=2)

    assert "is 2, and Redis has 0" in found["redis.replicas"]


async def test_replicas_that_are_there_are_enough(tmp_path):
    """Naming the replica itself as the server is a mistake that is reported."""
    with (
        redis_servers.start_server(
            tmp_path / "master", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as master,
        redis_servers.start_replica(tmp_path / "replica", master) as replica,
    ):
        assert {} == await faults(master, replicas=1)
        assert "is a replica" in (await faults(replica))["redis"]


@contextlib.asynccontextmanager
async def behind_sentinel(*ports: int, replicas: int) -> AsyncIterator[ScriptClient]:
    """A link that asks these Sentinels for the master, as a setting of redis.replicas has it."""
    sentinels = [f"127.0.0.1:{port}" for port in ports]
    lines = create_redis_lines(sentinel=sentinels, master="otp", timeout_ms=5000)
    async with ScriptClient(lines, replicas=replicas, wait_ms=1000) as link:
        yield link


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory):
    """A master, two replicas that may be promoted, and a Sentinel."""
    with redis_servers.start_sentinel_of(tmp_path_factory.mktemp("two"), [100, 100]) as started:
        yield started


@pytest.fixture(scope="module")
def one_of_two(tmp_path_factory):
    """A master, a replica that may be promoted and one that may not, and a Sentinel."""
    with redis_servers.start_sentinel_of(tmp_path_factory.mktemp("one"), [100, 0]) as started:
        yield started


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [0, 1])
async def test_fewer_replicas_than_sentinel_may_promote_are_refused(two_replicas, replicas, caplog):
    """K1: with 1 of 2, a failover forgot 74 successes, and each code was accepted twice."""
    *_, sentinel = two_replicas
    remedy = f"is {replicas}, and 2 replicas may be promoted: set redis.replicas = 2"
    async with behind_sentinel(sentinel.port, replicas=replicas) as link:
        assert [("redis.replicas", remedy)] == await health.find_issues(link)
        assert not await health.is_ready(link)
    assert [f"not ready: redis.replicas {remedy}"] == caplog.messages


@pytest.mark.slow
async def test_as_many_replicas_as_sentinel_may_promote_are_enough(two_replicas):
    """Requiring more replicas than exist is a separate fault, with its own remedy."""
    *_, sentinel = two_replicas
    async with behind_sentinel(sentinel.port, replicas=2) as link:
        assert [] == await health.find_issues(link)
        assert await health.is_ready(link)
    async with behind_sentinel(sentinel.port, replicas=3) as link:
        ((_, remedy),) = await health.find_issues(link)
        assert "is 3, and Redis has 2: start replicas" in remedy


@pytest.mark.slow
async def test_a_replica_that_is_never_promoted_counts_for_wait(one_of_two):
    """Priority 0 lowers no requirement: its acknowledgement may be the only one."""
    _, (promotable, _), sentinel = one_of_two
    async with behind_sentinel(sentinel.port, replicas=1) as link:
        ((setting, remedy),) = await health.find_issues(link)
        with redis_servers.suspend_server(promotable):
            await link.run_script(
                SET, ("{00}:x",), (), durable=True
            )  # acknowledged by the other one

    assert "redis.replicas" == setting
    assert "is 1, and 1 of 2 replicas may be promoted" in remedy
    assert "set redis.replicas = 2" in remedy


@pytest.mark.slow
async def test_replicas_that_are_never_promoted_need_no_wait(tmp_path):
    """There is no failover that could forget anything."""
    with redis_servers.start_sentinel_of(tmp_path, [0]) as (*_, sentinel):
        async with behind_sentinel(sentinel.port, replicas=0) as link:
            assert [] == await health.find_issues(link)
            assert await health.is_ready(link)


@pytest.mark.slow
async def test_a_sentinel_that_is_away_is_passed_over(one_of_two):
    """The next one is asked; without any, each replica counts as one that may be promoted."""
    *_, sentinel = one_of_two
    async with behind_sentinel(redis_servers.find_free_port(), sentinel.port, replicas=1) as link:
        assert "1 of 2 replicas" in dict(await health.find_issues(link))["redis.replicas"]

        with redis_servers.suspend_server(sentinel):
            for sentinel_client in link.lines.sentinel.sentinels:
                (one,) = sentinel_client.sentinels
                one.connection_pool.connection_kwargs["socket_timeout"] = 0.1
                await one.connection_pool.disconnect()
            found = dict(await health.find_issues(link))

    assert "and 2 replicas may be promoted" in found["redis.replicas"]


@pytest.mark.slow
async def test_without_sentinel_more_replicas_are_no_fault(two_replicas):
    """Nothing here promotes them: what does is the operator, or a service that we cannot ask."""
    master, *_ = two_replicas

    assert {} == await faults(master, replicas=1)


async def test_a_log_that_would_fill_redis_is_named(own):
    """Nothing is evicted, so a log that fills Redis ends in 503 for every request."""
    server, client = own
    client.config_set("maxmemory", "256mb")
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        assert [] == await health.find_issues(link, max_stream_entries=3_000)
        ((name, remedy),) = await health.find_issues(link, max_stream_entries=20_000)

        client.config_set("maxmemory", 0)
        assert [] == await health.find_issues(link, max_stream_entries=20_000)

    assert "events.maximum" == name
    assert "1464 MiB" in remedy
    assert "256 MiB" in remedy


async def test_a_redis_that_is_away_is_no_fault():
    """It may return, so the caller decides how to handle it."""
    async with ScriptClient(
        create_redis_lines(url=f"redis://127.0.0.1:{redis_servers.find_free_port()}")
    ) as link:
        with pytest.raises(StoreUnavailable):
            await health.find_issues(link)


@pytest.mark.parametrize(
    ("version", "is_old"), [("6.2.14", True), ("7.0.15", False), ("8.4.0", False)]
)
def test_old_versions_are_named(version, is_old):
    """Redis 6 runs half of a script when it is full."""
    info = {
        "redis_version": version,
        "role": "master",
        "maxmemory_policy": "noeviction",
        "aof_enabled": "1",
    }

    assert is_old == bool(list(check_server(info)))


def test_every_command_of_the_scripts_is_tried():
    """A command that is added to a script is missing here until it is tried, too."""
    used = set(
        re.findall(
            r"redis\.call\('([A-Z]+)'",
            COMMIT_LUA
            + "".join(map(read_lua, ("fetch", "lease", "mark_archived", "read_pending"))),
        )
    )

    tried = {
        *permissions.SCRIPT_COMMANDS,
        *(command for command, *_ in permissions.KEYLESS_COMMANDS),
    }
    assert used == tried


# ---------------------------------------------------------------------------------- is it ready


async def test_a_redis_that_takes_writes_is_ready(script_client):
    """Each master of it."""
    assert await health.is_ready(script_client)


async def test_a_full_redis_is_not_ready_and_recovers(own):
    """Reads still work then, and prove nothing."""
    server, client = own
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        client.config_set("maxmemory", "1")
        assert not await health.is_ready(link)

        client.config_set("maxmemory", "100mb")
        assert await health.is_ready(link)


async def test_a_read_only_redis_is_not_ready(own):
    """A server whose master does not exist."""
    server, client = own
    client.replicaof("127.0.0.1", redis_servers.find_free_port())

    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        assert not await health.is_ready(link)


async def test_a_redis_without_its_replicas_is_not_ready(own):
    """Nothing could be compared or sent."""
    server, _ = own
    async with ScriptClient(
        create_redis_lines(url=server.url, timeout_ms=5000), replicas=1, wait_ms=10
    ) as link:
        assert not await health.is_ready(link)


async def test_a_redis_that_is_away_is_not_ready():
    """This holds for a cluster as well."""
    port = redis_servers.find_free_port()
    for address in ({"url": f"redis://127.0.0.1:{port}"}, {"cluster": [f"127.0.0.1:{port}"]}):
        async with ScriptClient(create_redis_lines(**address)) as link:
            assert not await health.is_ready(link)


async def test_a_redis_that_hangs_is_not_ready_in_time(own):
    """The answer comes within the time that a balancer waits for it."""
    server, client = own
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        client.execute_command("CLIENT PAUSE", 1000, "ALL")
        start = time.monotonic()

        assert not await health.is_ready(link, timeout=0.1)

        assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("option", "value"), [("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")]
)
async def test_a_redis_that_may_forget_is_not_ready(own, option, value, caplog):
    """R76, R78: it may have started, or been promoted, after the check of the start."""
    server, client = own
    usual = client.config_get(option)[option]
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
        assert await health.is_ready(link)
        client.config_set(option, value)
        assert not await health.is_ready(link)
        client.config_set(option, usual)
        assert await health.is_ready(link)

    # Redis refuses to end while it writes its first log after `appendonly yes`.
    redis_servers.wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    (line,) = caplog.messages
    assert line.startswith(f"not ready: {option} of Redis is")


async def test_each_master_of_a_cluster_must_be_safe(cluster, caplog):
    """One that forgets is enough for a lost attempt."""
    *_, last = cluster
    options = redis_servers.build_connect_options(cluster)
    async with ScriptClient(create_redis_lines(**options, timeout_ms=5000)) as link:
        with redis_servers.open_client(last) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            try:
                assert not await health.is_ready(link, timeout=20)
            finally:
                client.config_set("maxmemory-policy", "noeviction")
        assert await health.is_ready(link, timeout=20)

    assert ["not ready: maxmemory-policy"] == [" ".join(m.split()[:3]) for m in caplog.messages]


async def test_a_server_that_takes_over_is_checked_at_once(tmp_path, caplog):
    """Its first connection reads INFO, before any call of readiness."""
    port = redis_servers.find_free_port()
    async with ScriptClient(
        create_redis_lines(url=f"redis://127.0.0.1:{port}", timeout_ms=5000)
    ) as link:
        with redis_servers.start_server(tmp_path / "safe", port=port):
            await link.run_script(SET, ("{00}:x",), ())
        assert [] == caplog.messages
        with redis_servers.start_server(
            tmp_path / "unsafe", port=port, maxmemory_policy="allkeys-lru", appendonly="no"
        ):
            await link.retry_lost_reply(lambda: link.run_script(SET, ("{00}:x",), ()))
            await link.run_script(SET, ("{00}:x",), ())

    assert ["maxmemory-policy", "appendonly"] == [
        message.removeprefix("the Redis in use is not safe: ").split()[0]
        for message in caplog.messages
    ]


async def test_without_the_permission_for_info_nothing_is_ready(own, caplog):
    """The reason is in the log, not a failure of the connection."""
    server, client = own
    login = user(client, KEYS, *SERVICE, "-info")
    async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000, **login)) as link:
        assert 1 == len(await link.run_pipeline("{00}:x", [("GET", "{00}:x")]))
        assert not await health.is_ready(link)

    assert ["not ready: Redis answered NOPERM: User otp has no permissions to run the INFO"] == (
        caplog.messages
    )


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "is_enough"), [(1, False), (2, True)])
async def test_a_cluster_requires_all_replicas_of_a_master(tmp_path, replicas, is_enough, caplog):
    """The cluster promotes one of them by itself, as Sentinel does."""
    with (
        redis_servers.start_cluster(tmp_path / "masters", size=1) as (master,),
        redis_servers.start_cluster_replica(tmp_path / "one", master),
        redis_servers.start_cluster_replica(tmp_path / "two", master),
    ):
        lines = create_redis_lines(cluster=[f"127.0.0.1:{master.port}"], timeout_ms=5000)
        async with ScriptClient(lines, replicas=replicas, wait_ms=1000) as link:
            found = await health.find_issues(link)
            ready = await health.is_ready(link)

    remedy = "is 1, and 2 replicas may be promoted: set redis.replicas = 2"
    assert ([] if is_enough else [("redis.replicas", remedy)]) == found
    assert is_enough == ready
    assert ([] if is_enough else [f"not ready: redis.replicas {remedy}"]) == caplog.messages
