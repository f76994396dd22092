"""What a call costs in round trips to Redis that are made one after another.

Counted on the wire. What is under way at the same time counts once; the proxy answers slowly, so
that whatever could overlap does.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import msgspec
import pytest

from otp_service.core.errors import IncorrectCode, OtpError, RateLimited
from otp_service.core.limits import DEFAULTS, Limit, Window
from otp_service.store.client import Link
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from tests.installation import MINUTE, SECOND, World, together, wrong
from tests.store import redis_servers
from tests.store.faulty_proxy import Proxy


WHO: dict[str, Any] = {"account": "u-81", "client_ip": "203.0.113.9"}
"""With these every bucket that there is has a part in it."""

SLOW = 0.03


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[Proxy]:
    """A wire that can be watched."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    async with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
async def world(proxy: Proxy) -> AsyncIterator[World]:
    """The service, with its connections open and its scripts known to Redis."""
    async with Link(connect(url=proxy.url, timeout=5000)) as link:
        world = World(link)
        issued = await world.issue("+447400123450")
        await world.verify(issued, world.phones.code())
        proxy.delay = SLOW  # or one connection would do for all
        await together(*(world.store.fetch("shop", world.id_of(issued)) for _ in range(20)))
        proxy.delay = 0
        world.wait(MINUTE)
        yield world


async def trips(proxy: Proxy, call: Awaitable[Any]) -> int:
    """Return how many round trips a call makes one after another, whatever it answers."""
    proxy.batches.clear()
    proxy.delay = SLOW
    (answer,) = await together(call)
    proxy.delay = 0
    assert not isinstance(answer, Exception) or isinstance(answer, OtpError), repr(answer)
    assert all(batch.is_script for batch in proxy.batches)  # no connection was opened
    return proxy.in_a_row()


def calls(proxy: Proxy) -> int:
    """Return how many scripts that was, however they were put together."""
    return sum(len(batch.commands) for batch in proxy.batches)


async def test_an_issue_that_its_own_number_refuses_costs_one(world: World, proxy: Proxy) -> None:
    """Most refusals end there, and are recorded in the same step."""
    await world.issue(**WHO)

    assert 1 == await trips(proxy, world.issue(**WHO))
    assert 1 == calls(proxy)
    assert "otp.issue_denied" == (await world.told())[-1]


async def test_an_issue_that_another_bucket_refuses_costs_three(world: World, proxy: Proxy) -> None:
    """The number's own; all others at once; all given back at once."""
    rates = {**DEFAULTS, Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], rates=rates)
    await world.issue("+447400123451", **WHO)

    assert 3 >= await trips(proxy, world.issue("+447400123452", **WHO))
    with pytest.raises(RateLimited):
        await world.issue("+447400123453", **WHO)


async def test_an_accepted_issue_costs_four(world: World, proxy: Proxy) -> None:
    """The number's own; all others beside argon2; the challenge; what the providers said."""
    assert 4 == await trips(proxy, world.issue(**WHO))
    assert 4 == len(proxy.batches)
    assert 2 == len(world.phones.messages)


async def test_a_right_code_costs_three(world: World, proxy: Proxy) -> None:
    """Read; claim beside all other buckets; outcome, and what it gives back."""
    issued = await world.issue(**WHO)
    code = world.phones.code()

    assert 3 == await trips(proxy, world.verify(issued, code, client_ip=WHO["client_ip"]))
    assert 1 + 2 + 2 == len(proxy.batches)
    assert "otp.verified" in await world.told()


async def test_a_wrong_code_costs_three(world: World, proxy: Proxy) -> None:
    """The same, and there is nothing to give back."""
    issued = await world.issue(**WHO)
    tried = wrong(world.phones.code())

    assert 3 == await trips(proxy, world.verify(issued, tried, client_ip=WHO["client_ip"]))
    assert 1 + 2 + 1 == len(proxy.batches)
    with pytest.raises(IncorrectCode):
        await world.verify(issued, tried)


async def test_a_code_for_what_has_ended_costs_two(world: World, proxy: Proxy) -> None:
    """Read; the refusal's event."""
    issued = await world.issue(**WHO)
    await world.verify(issued, world.phones.code())

    assert 2 == await trips(proxy, world.verify(issued, world.phones.code()))


async def test_scripts_go_by_their_names(world: World, proxy: Proxy) -> None:
    """R82: Redis has them, so no call carries thirteen kilobytes of Lua."""
    proxy.batches.clear()

    issued = await world.issue(**WHO)
    await world.verify(issued, world.phones.code())

    sent = {command[0] for batch in proxy.batches for command in batch.commands}
    assert {b"EVALSHA"} == sent


async def test_the_count_would_see_a_trip_more(world: World, proxy: Proxy) -> None:
    """These tests can fail: a service that reads once more, or spends one after another."""
    issued = await world.issue(**WHO)

    async def reads_twice() -> None:
        await world.service.view(world.caller(), world.id_of(issued))
        await world.verify(issued, world.phones.code())

    async def spends_in_turn() -> None:
        for _ in range(3):
            await together(*(world.store.fetch("shop", world.id_of(issued)) for _ in range(5)))

    assert 4 == await trips(proxy, reads_twice())
    assert 3 == await trips(proxy, spends_in_turn())
    assert 15 == calls(proxy)


async def test_a_resend_costs_six(world: World, proxy: Proxy) -> None:
    """Not promised: what an issue costs, and reading the challenge before and after it pays."""
    issued = await world.issue(**WHO)
    world.wait(30 * SECOND)

    assert 6 == await trips(proxy, world.resend(issued))
