"""Storms of durable commits: each is confirmed by a WAIT that was sent after it, and charged once."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from otp_service.core.errors import NotReplicated
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from tests.installation import gather_results
from tests.store import redis_servers
from tests.store.breaking_proxy import Breakage, BreakingProxy
from tests.store.storm import SOME_DURABLE_CALLS, Storm


CALLERS, CANCELED = 150, 40


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """A master and its replica."""
    folder = tmp_path_factory.mktemp("replicated")
    with (
        redis_servers.start_server(
            folder / "master", port=redis_servers.find_free_port(), repl_diskless_sync_delay="0"
        ) as master,
        redis_servers.start_replica(folder / "replica", master) as replica,
    ):
        yield master, replica


@pytest.fixture
def master(servers: tuple[EmbeddedServer, EmbeddedServer]) -> EmbeddedServer:
    """The master, without data."""
    with redis_servers.open_client(servers[0]) as client:
        client.flushall()
    return servers[0]


@pytest.fixture
async def proxy(master: EmbeddedServer) -> AsyncIterator[BreakingProxy]:
    async with BreakingProxy(master, seed=1) as proxy:
        yield proxy


def connect(url: str, *, wait_ms: int) -> ScriptClient:
    lines = create_redis_lines(url=url, timeout_ms=5000)
    return ScriptClient(lines, replicas=1, wait_ms=wait_ms)


@pytest.mark.parametrize(
    "breakage",
    [Breakage.LOST_REPLY, Breakage.HALF_REPLY, Breakage.HALF_REQUEST, Breakage.RESET],
    ids=lambda breakage: breakage.name,
)
async def test_a_connection_that_breaks_twice_refuses_no_durable_commit(
    master: EmbeddedServer, proxy: BreakingProxy, breakage: Breakage
) -> None:
    """R79, R83: among other calls, of which some are canceled."""
    async with connect(proxy.url, wait_ms=4000) as client:
        storm = Storm(client, [master], callers=CALLERS, seed=1)
        for i in range(2):
            proxy.break_at(80 + 150 * i, breakage)
        await storm.run(canceled=CANCELED, calls=SOME_DURABLE_CALLS)

    assert proxy.break_count == 2
    await storm.assert_books_balanced()


@pytest.mark.parametrize("is_quiet", [True, False])
async def test_no_commit_is_confirmed_by_the_wait_of_an_earlier_one(
    master: EmbeddedServer,
    servers: tuple[EmbeddedServer, EmbeddedServer],
    is_quiet: bool,  # noqa: FBT001  # a parameter of pytest
) -> None:
    """R79: the replica hangs while it has every commit, or while commits are in flight.

    Other calls go on.
    """
    async with connect(master.url, wait_ms=300) as client:
        before = Storm(client, [master], callers=CALLERS, seed=1, is_patient=True)
        running = asyncio.create_task(before.run(calls=SOME_DURABLE_CALLS))
        if is_quiet:
            await running
            wait_for_replica(master)
        else:
            await before.wait_for_confirmed(50)
        later = Storm(client, [master], callers=60, seed=2)
        with redis_servers.suspend_server(servers[1]):
            outcomes = await gather_results(
                *(caller.charge_durably() for caller in later.callers[:30]),
                *(caller.charge() for caller in later.callers[30:]),
            )
        await running

    assert {NotReplicated} == {type(outcome) for outcome in outcomes[:30]}
    assert [None] * 30 == outcomes[30:]
    await before.assert_books_balanced()
    await later.assert_books_balanced()


def wait_for_replica(master: EmbeddedServer) -> None:
    """Return when the replica has acknowledged everything that the master has."""
    with redis_servers.open_client(master) as admin:
        admin.set("{00}:last", "1")
        assert admin.wait(1, 10_000) == 1
