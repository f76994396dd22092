"""An installation of two hosts with two workers each, on a real Redis and the loop of asyncio."""

import asyncio

import pytest

from otp_service.clock import now_ms
from otp_service.core.errors import StoreUnavailable
from otp_service.store.connect import _parse_url
from otp_service.store.line import Request
from tests.simulation.history import Answered, Canceled, Crashed, Refused
from tests.simulation.kernel.chance import Chance
from tests.simulation.world.world import World
from tests.store import redis_servers


NUMBER = "+447400123456"


@pytest.fixture
async def world(server):
    with redis_servers.open_client(server) as client:
        client.flushall()
    address, _ = _parse_url(server.url)
    world = World(Chance("test"), now_ms, address, timeout_ms=5000)
    yield world
    for worker in world.installation.workers.values():
        worker.crash()
    await asyncio.sleep(0.01)


async def issue(world, **arguments):
    call = world.installation.call
    return await call("a", "issue", {"phone_number": NUMBER, **arguments}, tenant="shop")


async def verify(world, challenge, code):
    arguments = {"challenge": challenge, "code": code}
    return await world.installation.call("a", "verify", arguments, tenant="shop")


async def raise_unavailable():
    raise StoreUnavailable


async def wait_until(is_reached):
    for _ in range(2000):
        if is_reached():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


async def test_a_login_goes_through_any_two_workers(world):
    issued = await issue(world)

    code = await world.phones.wait_for_code(NUMBER, issued.value["id"], 10)
    verified = await verify(world, issued.value["id"], code)

    assert isinstance(verified, Answered)
    assert verified.value["status"] == "verified"


async def test_a_call_of_a_worker_that_dies_is_recorded_as_crashed(world):
    call = asyncio.create_task(issue(world))
    await asyncio.sleep(0.02)  # the code is being hashed

    (name,) = world.installation.workers
    world.installation.crash(name)

    assert await call == Crashed()


async def test_a_worker_that_has_died_leaves_no_task(world):
    before = asyncio.all_tasks()
    call = asyncio.create_task(issue(world))
    await wait_until(lambda: world.vendors["alpha"].references)  # taken, and no reply has arrived
    (worker,) = world.installation.workers.values()
    worker.service.refunds.apply_later(raise_unavailable)

    world.installation.crash(worker.name)
    await call
    await asyncio.sleep(0)

    left = asyncio.all_tasks() - before
    assert [] == [task for task in left if "Vendor" not in repr(task)]


async def test_a_worker_that_has_died_does_not_send_what_it_has_written(world, server):
    await issue(world)
    (worker,) = world.installation.workers.values()

    worker.lines._lines["plain"].send([Request(("SET", "written", "1"))])
    world.installation.crash(worker.name)
    await asyncio.sleep(0.05)

    with redis_servers.open_client(server) as client:
        assert not client.exists("written")


async def test_the_worker_that_replaces_a_dead_one_continues_with_what_is_stored(world):
    issued = await issue(world)
    (name,) = world.installation.workers
    world.installation.crash(name)
    world.installation.restart(name)

    code = await world.phones.wait_for_code(NUMBER, issued.value["id"], 10)

    assert isinstance(await verify(world, issued.value["id"], code), Answered)


async def test_a_canceled_call_goes_on_without_its_caller(world):
    outcome = await world.installation.call(
        "a", "issue", {"phone_number": NUMBER}, tenant="shop", cancel_after=0.005
    )
    assert outcome == Canceled()

    await wait_until(lambda: world.installation.is_idle)

    (message,) = world.recorder._submissions
    assert message.answer == "accepted"


async def test_a_refusal_is_recorded_as_its_problem(world):
    await issue(world)

    again = await issue(world)
    assert isinstance(again, Refused)
    assert (again.reason, again.limit, again.retry_after) == (
        "rate-limited",
        "CooldownPerNumber",
        30,
    )
