"""What a call costs in round trips to Redis that are made one after another.

Counted on the wire. What is under way at the same time counts once; the proxy answers slowly, so
that whatever could overlap does.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
import pytest

from otp_service.core.errors import IncorrectCode, OtpError, RateLimited
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.installation import MINUTE_MS, SECOND_MS, Installation, gather_results, make_wrong_code
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


WHO: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
"""With these every bucket that there is has a part in it."""

SLOW = 0.03


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    """A wire that can be watched."""
    with redis_servers.open_client(server) as client:
        client.flushall()
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def world(proxy: FaultyProxy) -> AsyncIterator[Installation]:
    """The service, with its connections open and its scripts known to Redis."""
    async with ScriptClient(create_redis_client(url=proxy.url, timeout_ms=5000)) as link:
        world = Installation(link)
        issued = await world.issue("+447400123450")
        await world.verify(issued, world.router.extract_code())
        proxy.delay = SLOW  # or one connection would do for all
        await gather_results(
            *(
                world.store.fetch_challenge("shop", world.get_challenge_id(issued))
                for _ in range(20)
            )
        )
        proxy.delay = 0
        world.advance_clock(MINUTE_MS)
        yield world


async def trips(proxy: FaultyProxy, call: Awaitable[Any]) -> int:
    """Return how many round trips a call makes one after another, whatever it answers."""
    proxy.batches.clear()
    proxy.delay = SLOW
    (answer,) = await gather_results(call)
    proxy.delay = 0
    assert not isinstance(answer, Exception) or isinstance(answer, OtpError), repr(answer)
    assert all(batch.is_script for batch in proxy.batches)  # no connection was opened
    return proxy.count_sequential_trips()


def calls(proxy: FaultyProxy) -> int:
    """Return how many scripts that was, however they were put together."""
    return sum(len(batch.commands) for batch in proxy.batches)


async def test_an_issue_that_its_own_number_refuses_costs_one(
    world: Installation, proxy: FaultyProxy
) -> None:
    """Most refusals end there, and are recorded in the same step."""
    await world.issue(**WHO)

    assert 1 == await trips(proxy, world.issue(**WHO))
    assert 1 == calls(proxy)
    assert "otp.issue_denied" == (await world.list_event_types())[-1]


async def test_an_issue_that_another_bucket_refuses_costs_three(
    world: Installation, proxy: FaultyProxy
) -> None:
    """The number's own; all others at once; all given back at once."""
    rates = {**DEFAULT_LIMITS, Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], limits=rates)
    await world.issue("+447400123451", **WHO)

    assert 3 >= await trips(proxy, world.issue("+447400123452", **WHO))
    with pytest.raises(RateLimited):
        await world.issue("+447400123453", **WHO)


async def test_an_accepted_issue_costs_four(world: Installation, proxy: FaultyProxy) -> None:
    """The number's buckets; all others while argon2 runs; the challenge; the result of the send."""
    assert 4 == await trips(proxy, world.issue(**WHO))
    assert 4 == len(proxy.batches)
    assert 2 == len(world.router.messages)


async def test_a_right_code_costs_three(world: Installation, proxy: FaultyProxy) -> None:
    """Read; the attempt charge with all other buckets; the outcome with its refunds."""
    issued = await world.issue(**WHO)
    code = world.router.extract_code()

    assert 3 == await trips(proxy, world.verify(issued, code, client_ip=WHO["client_ip"]))
    assert 1 + 2 + 2 == len(proxy.batches)
    assert "otp.verified" in await world.list_event_types()


async def test_a_wrong_code_costs_three(world: Installation, proxy: FaultyProxy) -> None:
    """The same, and there is nothing to give back."""
    issued = await world.issue(**WHO)
    tried = make_wrong_code(world.router.extract_code())

    assert 3 == await trips(proxy, world.verify(issued, tried, client_ip=WHO["client_ip"]))
    assert 1 + 2 + 1 == len(proxy.batches)
    with pytest.raises(IncorrectCode):
        await world.verify(issued, tried)


async def test_a_code_for_what_has_ended_costs_two(world: Installation, proxy: FaultyProxy) -> None:
    """Read; the refusal's event."""
    issued = await world.issue(**WHO)
    await world.verify(issued, world.router.extract_code())

    assert 2 == await trips(proxy, world.verify(issued, world.router.extract_code()))


async def test_scripts_go_by_their_names(world: Installation, proxy: FaultyProxy) -> None:
    """R82: Redis has them, so no call carries thirteen kilobytes of Lua."""
    proxy.batches.clear()

    issued = await world.issue(**WHO)
    await world.verify(issued, world.router.extract_code())

    sent = {command[0] for batch in proxy.batches for command in batch.commands}
    assert {b"EVALSHA"} == sent


async def test_the_count_would_see_a_trip_more(world: Installation, proxy: FaultyProxy) -> None:
    """These tests can fail: a service that reads once more, or spends one after another."""
    issued = await world.issue(**WHO)

    async def reads_twice() -> None:
        await world.service.get_challenge(world.build_caller(), world.get_challenge_id(issued))
        await world.verify(issued, world.router.extract_code())

    async def spends_in_turn() -> None:
        for _ in range(3):
            await gather_results(
                *(
                    world.store.fetch_challenge("shop", world.get_challenge_id(issued))
                    for _ in range(5)
                )
            )

    assert 4 == await trips(proxy, reads_twice())
    assert 3 == await trips(proxy, spends_in_turn())
    assert 15 == calls(proxy)


async def test_a_resend_costs_six(world: Installation, proxy: FaultyProxy) -> None:
    """Not promised: what an issue costs, and reading the challenge before and after it pays."""
    issued = await world.issue(**WHO)
    world.advance_clock(30 * SECOND_MS)

    assert 6 == await trips(proxy, world.resend(issued))
