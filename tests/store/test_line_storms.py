"""Storms of calls on connections that break: each call gets its own reply, and is charged once.

A call is not refused because a connection that it shares breaks once or twice. `storm.py` has the
callers and the books, `breaking_proxy.py` the network.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.connector import CLIENT_NAME
from otp_service.store.embedded import EmbeddedServer
from tests.failover.login_load import LoginLoad
from tests.store import redis_servers
from tests.store.breaking_proxy import Breakage, BreakingProxy
from tests.store.storm import Storm


CALLERS, CANCELED = 200, 80

FREEZE_CALLERS, FREEZE_TIMEOUT_MS = 40, 1500
"""Few callers, so that a busy machine answers the others within the timeout."""

QUICK_BREAKAGES = [
    Breakage.LOST_REPLY,
    Breakage.HALF_REPLY,
    Breakage.HALF_REQUEST,
    Breakage.RESET,
]


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[BreakingProxy]:
    """A network that can break, in front of an empty server."""
    redis_servers.flush_server(server)
    async with BreakingProxy(server, seed=1) as proxy:
        yield proxy


def connect(proxy: BreakingProxy, timeout_ms: int = 5000) -> ScriptClient:
    return ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=timeout_ms))


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_caller_gets_its_own_reply_while_others_are_canceled(
    server: EmbeddedServer, proxy: BreakingProxy, seed: int
) -> None:
    """R84, CVE-2023-28858: on a network with random delays, which delivers replies in pieces."""
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=CALLERS, seed=seed)
        proxy.choose_delay = lambda: proxy.generator.uniform(0, 0.02)
        proxy.is_fragmenting = True
        await storm.run(canceled=CANCELED)

    assert storm.canceled_count == CANCELED
    assert proxy.opened_count == 1, "a canceled call closes no connection"
    await storm.assert_books_balanced()


async def test_large_commands_and_replies_reach_their_own_callers(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R84: the connection takes no more bytes for moments, while others are canceled."""
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=40, seed=1)
        await storm.run(canceled=10, calls=("echo_much", "charge", "echo_much", "read"))

    assert proxy.opened_count == 1
    await storm.assert_books_balanced()


@pytest.mark.parametrize("breakage", QUICK_BREAKAGES, ids=lambda breakage: breakage.name)
async def test_a_connection_that_breaks_in_a_storm_refuses_no_call(
    server: EmbeddedServer, proxy: BreakingProxy, breakage: Breakage
) -> None:
    """R83: each call of it is repeated under its operation id, and is charged once."""
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=CALLERS, seed=2)
        proxy.break_at(100, breakage)
        proxy.break_at(250, breakage)
        await storm.run(canceled=CANCELED // 2)

    assert proxy.break_count == 2
    await storm.assert_books_balanced()


async def test_many_breaks_in_a_row_refuse_no_call(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R83: one call may be the reason for all of them, so they use up no tries of the others."""
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=CALLERS, seed=1)
        proxy.counts_only_scripts = True
        for i in range(8):
            proxy.break_at(50 + 20 * i, QUICK_BREAKAGES[i % len(QUICK_BREAKAGES)])
        await storm.run(canceled=CANCELED // 2)

    assert proxy.break_count == 8
    await storm.assert_books_balanced()


@pytest.mark.slow
async def test_pauses_and_breaks_in_turn_refuse_no_call(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R83: each is shorter than the timeout, and together they last for more than three of it."""
    async with connect(proxy, timeout_ms=2000) as script_client:
        storm = Storm(script_client, [server], callers=CALLERS, seed=1)
        proxy.counts_only_scripts = True
        for i in range(3):
            proxy.break_at(1 + i, QUICK_BREAKAGES[i])
        # Of each connection the introduction and the first reply: 6.6 s for the first calls.
        proxy.choose_delay = lambda: 1.1 if proxy.break_count < 3 else 0
        await storm.run(canceled=CANCELED // 2)

    assert proxy.break_count == 3
    await storm.assert_books_balanced()


async def test_a_reply_to_another_call_closes_the_connection(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R84, CVE-2023-28858: it echoes another token. Each call of the connection is repeated."""
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=CALLERS, seed=1)
        proxy.counts_only_scripts = True
        for reply_number in (60, 160, 260):
            proxy.break_at(reply_number, Breakage.FOREIGN_REPLY)
        await storm.run(canceled=CANCELED // 2)

    assert 1 < proxy.opened_count <= 1 + proxy.break_count
    assert proxy.break_count == 3
    await storm.assert_books_balanced()


@pytest.mark.slow
async def test_a_connection_that_freezes_in_a_storm_refuses_no_call(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R83: the client closes it. What it had sent arrives after its repeat, and charges nothing."""
    async with connect(proxy, FREEZE_TIMEOUT_MS) as script_client:
        storm = Storm(script_client, [server], callers=FREEZE_CALLERS, seed=2)
        proxy.break_at(20, Breakage.FROZEN)
        proxy.break_at(80, Breakage.FROZEN)
        await storm.run(canceled=FREEZE_CALLERS // 4)
        await proxy.thaw()

    assert (proxy.break_count, proxy.left_while_frozen_count) == (2, 2)
    await storm.assert_books_balanced()


@pytest.mark.slow
async def test_a_reply_that_arrives_after_its_timeout_reaches_no_other_call(
    server: EmbeddedServer, proxy: BreakingProxy
) -> None:
    """R84: a connection thaws while calls go on, and again and again."""
    async with connect(proxy, timeout_ms=300) as script_client:
        storm = Storm(script_client, [server], callers=50, seed=5, is_patient=True)
        for reply_number in range(20, 240, 50):
            proxy.break_at(reply_number, Breakage.FROZEN)
        running = asyncio.create_task(storm.run(canceled=10))
        while not running.done():
            await asyncio.sleep(0.4)  # longer than the timeout of the client
            await proxy.thaw()
        await running

    assert proxy.break_count
    await storm.assert_books_balanced()


async def test_killed_connections_in_a_storm_refuse_no_call(masters: list[EmbeddedServer]) -> None:
    """R83: CLIENT KILL of every connection, on one server and on each master of a cluster."""
    options = redis_servers.build_connect_options(masters)
    async with ScriptClient(create_redis_lines(**options, timeout_ms=5000)) as script_client:
        storm = Storm(script_client, masters, callers=CALLERS, seed=2)
        running = asyncio.create_task(storm.run(canceled=CANCELED // 2))
        for _ in range(2):
            await storm.wait_for_confirmed(60)
            # At first replies that have arrived already are read, before a line is opened again.
            while not kill_connections(masters):  # noqa: ASYNC110  # Redis announces no connection
                await asyncio.sleep(0.001)
        await running

    await storm.assert_books_balanced()


def kill_connections(masters: Sequence[EmbeddedServer]) -> int:
    """Kill each connection of the service; return how many there were."""
    count = 0
    for master in masters:
        with redis_servers.open_client(master) as admin:
            for each in admin.client_list():
                if each["name"] == CLIENT_NAME:
                    count += bool(admin.execute_command("CLIENT", "KILL", "ID", each["id"]))
    return count


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_breaks_each_call_is_charged_once(
    server: EmbeddedServer, proxy: BreakingProxy, seed: int
) -> None:
    """R83, R84: so much breaks that calls are refused; their callers repeat them."""
    generator = random.Random(seed)  # noqa: S311  # the same sequence in every run
    async with connect(proxy) as script_client:
        storm = Storm(script_client, [server], callers=100, seed=seed, is_patient=True)
        for reply_number in sorted(generator.sample(range(10, 350), 15)):
            proxy.break_at(reply_number, generator.choice(QUICK_BREAKAGES))
        proxy.choose_delay = lambda: proxy.generator.choice((0, 0, 0.005))
        await storm.run(canceled=30)

    assert proxy.break_count > 10
    await storm.assert_books_balanced()


@pytest.mark.slow
async def test_a_master_of_a_cluster_that_hangs_refuses_no_call_to_the_others(
    cluster: list[EmbeddedServer],
) -> None:
    """R77, R85: calls that wait for it keep no call to another master waiting."""
    for master in cluster:
        redis_servers.flush_server(master)
    hanging, *_ = cluster
    with redis_servers.open_client(hanging) as admin:
        affected = [p for p in range(64) if redis_servers.is_key_owner(admin, f"{{{p:02d}}}")]
    rest = [p for p in range(64) if p not in affected]
    options = redis_servers.build_connect_options(cluster)
    async with ScriptClient(create_redis_lines(**options, timeout_ms=2000)) as client:
        stuck = Storm(client, cluster, callers=100, seed=1, partitions=affected, is_patient=True)
        others = Storm(client, cluster, callers=50, seed=2, partitions=rest)
        await others.run()
        await stuck.store_values()
        with redis_servers.suspend_server(hanging):
            waiting = asyncio.create_task(stuck.run_calls())
            await asyncio.sleep(0.1)  # until its calls are in flight
            await others.run_calls()
            await asyncio.sleep(2.5)  # longer than the timeout of the client
            await others.run_calls()
            assert not waiting.done()
        await waiting

    for storm in (stuck, others):
        await storm.assert_books_balanced()


@pytest.mark.slow
async def test_logins_keep_every_promise_while_connections_break(proxy: BreakingProxy) -> None:
    """R83: the use cases, with refunds of what was refused; every 40th reply or so breaks one."""
    async with connect(proxy) as script_client:
        load = LoginLoad(script_client)
        breakages = random.Random(7)  # noqa: S311  # the same sequence in every run
        async with load.run(workers=12, attackers=3):
            for _ in range(30):
                proxy.break_at(1 + breakages.randrange(40), breakages.choice(QUICK_BREAKAGES))
                await proxy.wait_for_reply(40)
            await load.wait_for_logins(10)
        await load.assert_promises_kept()

    assert proxy.break_count == 30
