"""A server that is away: calls outlive a short outage, and are refused at once in a long one.

A connection that is lost does not make a server away, however often it is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from otp_service.core.errors import StoreUnavailable
from otp_service.store.client import MAX_LOST_REPLIES, ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.outage import MAX_OUTAGE_TIMEOUTS
from tests.store.scripted_server import ScriptedServer, answer
from tests.store.test_line import call, numbers


TIMEOUT_SECONDS = 1.0

durable = pytest.mark.parametrize("durable", [False, True], ids=["plain", "durable"])
"""Whether WAIT follows each call: these are on another line."""


@contextlib.asynccontextmanager
async def connect(
    server: ScriptedServer, timeout_seconds: float = TIMEOUT_SECONDS
) -> AsyncIterator[ScriptClient]:
    lines = create_redis_lines(url=server.url, timeout_ms=int(timeout_seconds * 1000))
    async with ScriptClient(lines, replicas=1) as link:
        yield link


async def repeat(link: ScriptClient, value: int = 7, **options: Any) -> bytes:
    """Make a call as the store does."""
    return await link.retry_lost_reply(lambda: call(link, value, **options))


async def measure_refusal(link: ScriptClient, **options: Any) -> float:
    """Return the seconds after which a call is refused."""
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    with pytest.raises(StoreUnavailable):
        await repeat(link, **options)
    return loop.time() - began_at


@durable
async def test_a_single_call_outlives_many_lost_connections(*, durable: bool) -> None:
    """CLIENT KILL a few times within milliseconds; Redis answers all the time."""
    losses = MAX_LOST_REPLIES - 1

    def lose(command: list[bytes]) -> bytes | None:
        nonlocal losses
        losses -= 1
        return None if losses >= 0 else answer(command)

    async with ScriptedServer(lose) as server, connect(server) as link:
        assert b"7" == await repeat(link, durable=durable)

    assert MAX_LOST_REPLIES == len(server.connections)


@durable
async def test_connections_that_are_lost_while_they_are_opened_refuse_no_call(
    *,
    durable: bool,
) -> None:
    """No command of these calls was sent, so that none of them can be the reason."""
    async with ScriptedServer() as server, connect(server) as link:
        server.lost_introductions = 2 * MAX_LOST_REPLIES
        calls = (repeat(link, n, durable=durable) for n in range(20))

        assert numbers(20) == await asyncio.gather(*calls)


@durable
async def test_a_server_that_is_away_for_a_moment_refuses_no_call(*, durable: bool) -> None:
    """As during a restart: nothing listens there."""
    server = ScriptedServer()
    async with connect(server) as link:
        calls = [asyncio.create_task(repeat(link, n, durable=durable)) for n in range(20)]
        await asyncio.sleep(1.5 * TIMEOUT_SECONDS)  # the outage is timed by the event loop
        async with server:
            assert numbers(20) == await asyncio.gather(*calls)


@durable
async def test_in_a_long_outage_calls_are_refused_at_their_first_try(*, durable: bool) -> None:
    """Else each of them would hold a slot for three timeouts. It ends with the first answer."""
    server = ScriptedServer()
    async with connect(server, 0.5) as link:
        assert await measure_refusal(link, durable=durable) >= MAX_OUTAGE_TIMEOUTS * 0.5
        assert await measure_refusal(link, durable=durable) < MAX_OUTAGE_TIMEOUTS * 0.5
        async with server:
            assert b"7" == await repeat(link, durable=durable)
            server.lost_introductions = 5
            server.connections[-1].close()
            assert b"8" == await repeat(link, 8, durable=durable)


async def test_a_server_that_ends_each_introduction_is_away_too() -> None:
    """As at the limit of its connections: what it sends is no sign that calls are served."""
    async with ScriptedServer() as server, connect(server, 0.5) as link:
        server.lost_introductions = 10**6
        server.last_words = b"+OK\r\n"
        assert await measure_refusal(link) < (MAX_OUTAGE_TIMEOUTS + 1) * 0.5
        assert await measure_refusal(link) < 0.5
        server.lost_introductions = 0
        assert b"7" == await repeat(link)


async def test_a_server_that_hangs_is_away_after_three_timeouts() -> None:
    """The outage begins with the silence, and not with the timeout that shows it."""
    async with ScriptedServer() as server, connect(server) as link:
        await repeat(link)
        server.hangs = True
        took = await measure_refusal(link)

    assert MAX_OUTAGE_TIMEOUTS <= took / TIMEOUT_SECONDS < MAX_OUTAGE_TIMEOUTS + 1


async def test_a_call_on_a_closed_client_is_refused_at_once() -> None:
    """As at shutdown: it is not repeated, although it lost its connection."""
    async with ScriptedServer() as server, connect(server) as link:
        await repeat(link)
        await link.aclose()

        assert await measure_refusal(link) < TIMEOUT_SECONDS
