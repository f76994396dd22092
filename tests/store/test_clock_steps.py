"""The clock of Redis's machine is stepped: what is decided by it, and what does not depend on it.

Elsewhere the tests move the service's own view of that clock; here a real server is lied to.
"""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from otp_service.core.errors import ChallengeExpired, ChallengeNotFound, NumberLocked, RateLimited
from otp_service.core.limits import MAX_CONSECUTIVE_FAILURES, Bucket, Limit
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from tests.installation import Installation
from tests.store import redis_servers
from tests.store.stepped_clock import write_server_with_clock


pytestmark = pytest.mark.slow


class Machine:
    """A machine whose clock can be stepped."""

    def __init__(self, world: Installation, clock: Path) -> None:
        self.world = world
        self._clock = clock

    async def step(self, hours: int) -> None:
        """Set the clock of Redis's machine this far from the right time, and see it there."""
        self._clock.write_text(f"{hours:+d}h\n")
        for _ in range(10_000):  # Redis may answer once more by the time that it has cached
            seconds, _ = await self.world.script_client.read_from(None, "TIME")
            if abs(int(seconds) - time.time() - 3600 * hours) < 600:
                return
        raise AssertionError("the clock was not stepped")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    program, clock = write_server_with_clock(tmp_path / "program")
    with redis_servers.start_server(tmp_path / "data", binary=program) as server:
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            yield Machine(Installation(link), clock)


async def test_a_clock_that_goes_forward_ends_codes_and_lets_nobody_in(machine: Machine) -> None:
    """R81: a code is dead at its deadline by Redis's clock, however it got there."""
    issued = await machine.world.issue()
    code = machine.world.router.extract_code()

    await machine.step(+1)

    with pytest.raises((ChallengeExpired, ChallengeNotFound)):
        await machine.world.verify(issued, code)


async def test_a_clock_that_goes_back_gives_no_code_a_second_life(machine: Machine) -> None:
    """R81: what Redis has dropped stays so, also when its deadline is in the future again."""
    await machine.step(+1)
    issued = await machine.world.issue()
    code = machine.world.router.extract_code()
    secret = await machine.world.list_keys("*:secret:*")
    await machine.step(+2)
    with pytest.raises((ChallengeExpired, ChallengeNotFound)):
        await machine.world.verify(issued, code)
    # A script that only reads leaves an expired key to Redis's own round, ten times a second.
    assert not await machine.world.script_client.read_from(None, "EXISTS", *secret)

    await machine.step(+1)

    with pytest.raises((ChallengeExpired, ChallengeNotFound)):
        await machine.world.verify(issued, code)


async def test_a_lock_and_the_order_of_the_log_survive_a_stepped_clock(machine: Machine) -> None:
    """R81, R67: a row of failures is no window; entries never go back in time."""
    world = machine.world
    issued = await world.issue()
    partition = int(world.get_challenge_id(issued)[1:3])
    name = world.store.key_names.bucket_key(
        partition, Bucket(Limit.CONSECUTIVE_FAILURES, "shop", "+447400123456")
    )
    await world.script_client.read_from(
        None,
        "HSET",
        name,
        "count",
        MAX_CONSECUTIVE_FAILURES,
        "last",
        issued.now,
        "subject",
        "x",
    )

    for hours in (+1, -1, 0):
        await machine.step(hours)
        with pytest.raises(NumberLocked):
            await world.issue()

    entries = [tuple(map(int, e["entry"].split("-"))) for e in await world.read_events()]
    assert sorted(entries) == entries
    assert len(entries) == len({entry[1] for entry in entries})


async def test_a_clock_that_was_a_day_ahead_stops_nothing_after_its_correction(
    machine: Machine,
) -> None:
    """R81: one message 26 h ahead refused a country for 25 h, and its code lived as long."""
    world = machine.world
    await machine.step(+26)
    ahead = await world.issue(client_ip="203.0.113.9", account="u-81")
    code = world.router.extract_code()
    await machine.step(0)

    with pytest.raises(ChallengeExpired):
        await world.verify(ahead, code)
    with pytest.raises(RateLimited) as refusal:
        await world.issue(client_ip="203.0.113.9", account="u-81")
    assert refusal.value.retry_after <= 30
    issued = await world.issue("+447400123457", client_ip="203.0.113.9", account="u-81")
    await world.verify(issued, world.router.extract_code())


async def test_a_code_that_was_reported_as_expired_is_not_revived(machine: Machine) -> None:
    """R81: Redis keeps the secret for seconds after the deadline, and the clock is set back."""
    world = machine.world
    issued = await world.issue()
    code = world.router.extract_code()
    world.advance_clock(305_000)
    with pytest.raises(ChallengeExpired):
        await world.verify(issued, code)
    world.advance_clock(-305_000)

    with pytest.raises(ChallengeExpired):
        await world.verify(issued, code)
