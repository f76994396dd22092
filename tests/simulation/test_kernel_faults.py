"""Faults of links lose, hold up and delay bytes, and nothing else."""

import asyncio
from functools import partial
from typing import Any, NamedTuple

import pytest

from tests.simulation.current_host import CURRENT_HOST
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.test_kernel_network import ROUGH, Client, Server, connect


async def send_slowly(client: Client) -> None:
    """Write ten pieces while what was written before is under way."""
    for number in range(10):
        client.transport.write(bytes([number]) * 10)
        await asyncio.sleep(0.001)


SENT = b"".join(bytes([number]) * 10 for number in range(10))


class Break(NamedTuple):
    """What a run with a break has seen."""

    applied: bytes
    has_applied_later: bool
    """Whether something that was in flight has reached the server after the break."""
    replied: bytes
    has_replied_later: bool
    error: type
    is_closed: bool
    """Whether the server was informed."""


async def break_connection(network: SimulatedNetwork, kind: str, pause_ms: int) -> Break:
    """Break a connection with bytes in flight in both directions."""
    client, server = await connect(network)
    await send_slowly(client)
    await asyncio.sleep(pause_ms / 1000)
    applied, replied = server.data, client.data
    match kind:
        case "cut":
            network.list_links()[0].cut()
        case "abort":
            client.transport.abort()
        case _:
            server.connection.reset()
    client.transport.write(b"too late")
    server.connection.write(b"too late")
    error = await client.is_lost
    await asyncio.sleep(1)
    assert [] == network.list_links()[0].connections
    assert ["made", error] == client.seen
    return Break(
        server.data,
        server.data != applied,
        client.data,
        client.data != replied,
        type(error),
        server.is_closed,
    )


BOTH = {True, False}


@pytest.mark.parametrize(
    ("kind", "applied_later", "replied_later", "errors", "is_closed"),
    [
        ("cut", BOTH, BOTH, {type(None), ConnectionResetError}, True),
        ("abort", BOTH, {False}, {type(None)}, True),
        ("reset", {False}, BOTH, {ConnectionResetError}, False),
    ],
)
def test_a_break_loses_a_drawn_end_of_what_is_in_flight(
    kind: str,
    applied_later: set[bool],
    replied_later: set[bool],
    errors: set[type],
    is_closed: bool,  # noqa: FBT001  # a parameter of the test
):
    """Over many seeds: all of it, a part, or nothing; and a reply may be lost alone."""
    runs = [
        run_simulated(
            partial(break_connection, kind=kind, pause_ms=seed % 30), seed=seed, conditions=ROUGH
        )
        for seed in range(150)
    ]

    assert all(SENT.startswith(run.applied) for run in runs)
    assert all(run.applied.startswith(run.replied) for run in runs)
    assert any(run.applied == SENT for run in runs)
    assert any(0 < len(run.applied) < len(SENT) for run in runs)
    assert any(run.applied != run.replied for run in runs)  # the reply alone is lost
    assert applied_later == {run.has_applied_later for run in runs}
    assert replied_later == {run.has_replied_later for run in runs}
    assert errors == {run.error for run in runs}
    assert {is_closed} == {run.is_closed for run in runs}


def test_a_frozen_link_loses_nothing():
    """What was sent meanwhile arrives after it, and after the last one of two."""

    async def main(network: SimulatedNetwork):
        client, server = await connect(network)
        client.transport.write(b"before ")
        await asyncio.sleep(1)
        [link] = network.list_links()
        link.freeze()
        link.freeze()
        asyncio.get_running_loop().call_later(5, link.thaw)
        asyncio.get_running_loop().call_later(10, link.thaw)
        client.transport.write(b"meanwhile")
        await asyncio.sleep(9.99)
        frozen = server.data
        await asyncio.sleep(1)
        return frozen, server.data, client.data

    expected = (b"before ", b"before meanwhile", b"before meanwhile")

    assert expected == run_simulated(main)


def test_a_link_is_frozen_until_it_is_thawed():
    """Also for what ends a connection meanwhile, and for a new one."""

    async def main(network: SimulatedNetwork):
        loop = asyncio.get_running_loop()
        client, server = await connect(network)
        [link] = network.list_links()
        client.transport.write(b"on its way")
        link.freeze()
        opening = asyncio.create_task(loop.create_connection(Client, "server", 80))
        client.transport.close()
        await asyncio.sleep(1000)
        before = (server.data, server.is_closed, opening.done())
        link.thaw()
        await asyncio.sleep(1)
        return before, (server.data, server.is_closed, opening.done())

    assert ((b"", False, False), (b"on its way", True, True)) == run_simulated(main)


def test_replies_alone_can_be_frozen():
    """So that what is sent has its effect, and the client does not know it."""

    async def main(network: SimulatedNetwork):
        loop = asyncio.get_running_loop()
        client, server = await connect(network)
        [link] = network.list_links()
        link.freeze_replies()
        link.freeze()
        link.thaw()  # that of the replies goes on
        opening = asyncio.create_task(loop.create_connection(Client, "server", 80))
        client.transport.write(b"command")
        await asyncio.sleep(5)
        meanwhile = server.data, client.data, opening.done()
        link.thaw_replies()
        await opening
        await asyncio.sleep(1)
        return meanwhile, client.data

    assert ((b"command", b"", False), b"command") == run_simulated(main)


def test_a_partition_parts_two_hosts_alone():
    """Another host reaches the server meanwhile; a connect waits, until its caller gives up."""

    async def open_one(host: str, seconds: float):
        CURRENT_HOST.set(host)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            await loop.create_connection(Client, "server", 80)
        return loop.time()

    async def main(network: SimulatedNetwork):
        Server(network)
        network.partition("server", "host-1")
        asyncio.get_running_loop().call_later(9, network.partition, "host-1", "server")  # again
        attempts = [open_one("host-1", 1), open_one("host-1", 100), open_one("host-2", 1)]
        asyncio.get_running_loop().call_later(50, network.heal, "host-1", "server")
        results: list[Any] = await asyncio.gather(*attempts, return_exceptions=True)
        await open_one("host-1", 1)
        given_up, healed, other = results
        return type(given_up), healed, other < 1

    assert (TimeoutError, 50.0, True) == run_simulated(main)


def test_a_slow_link_is_slow_until_it_is_hastened():
    """And then as fast as before."""

    async def measure(client: Client) -> float:
        loop = asyncio.get_running_loop()
        began_at, count = loop.time(), len(client.data)
        client.transport.write(b"x")
        while len(client.data) == count:  # noqa: ASYNC110  # the clock is simulated
            await asyncio.sleep(0.001)
        return loop.time() - began_at

    async def main(network: SimulatedNetwork):
        client, _ = await connect(network)
        (link,) = network.list_links()
        link.slow(0.5)
        slow = await measure(client)
        link.hasten(0.5)
        return slow, await measure(client)

    slow, fast = run_simulated(main)

    assert 1 < slow < 1.1
    assert fast < 0.01


def test_a_protocol_is_paused_while_too_much_is_in_flight():
    """And resumed once most of it has arrived, as by the transport of a real loop."""

    async def main(network: SimulatedNetwork):
        client, server = await connect(network)
        for _ in range(5):
            client.transport.write(b"0123456789")
        paused = list(client.seen)
        await asyncio.sleep(1)
        return paused, client.seen, client.transport.get_write_buffer_size(), len(server.data)

    conditions = Conditions(high_water_bytes=30)

    assert (["made", "pause"], ["made", "pause", "resume"], 0, 50) == run_simulated(
        main, conditions=conditions
    )


def test_a_client_that_does_not_read_gets_its_bytes_later():
    """pause_reading and resume_reading."""

    async def main(network: SimulatedNetwork):
        client, _ = await connect(network)
        client.transport.pause_reading()
        client.transport.write(b"echo")
        await asyncio.sleep(5)
        network.list_links()[0].freeze()
        network.list_links()[0].thaw()
        await asyncio.sleep(5)
        before, was_reading = client.data, client.transport.is_reading()
        client.transport.resume_reading()
        await asyncio.sleep(1)
        return before, was_reading, client.data, client.transport.is_reading()

    assert (b"", False, b"echo", True) == run_simulated(main)


def test_a_canceled_connect_leaves_no_connection():
    """At whichever step it is canceled."""

    async def main(network: SimulatedNetwork):
        loop: Any = asyncio.get_running_loop()
        for steps in range(12):
            Server(network)
            opening = asyncio.create_task(loop.create_connection(Client, "server", 80))
            loop.call_at_step(loop.steps + steps, opening.cancel)
            await asyncio.wait({opening})
            if not opening.cancelled():
                return steps, len(network.list_links()[0].connections)
            await asyncio.sleep(1)
            assert not any(link.connections for link in network.list_links())
        return None

    steps, count = run_simulated(main)

    assert steps >= 3
    assert 1 == count


def test_another_server_takes_over_an_address():
    """New connections reach it, and those to the former server stay."""

    async def main(network: SimulatedNetwork):
        client, former = await connect(network)
        other_client, other = await connect(network)
        client.transport.write(b"former")
        other_client.transport.write(b"other")
        await asyncio.sleep(1)
        return former.data, other.data

    assert (b"former", b"other") == run_simulated(main)
