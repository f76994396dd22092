"""A failover to a replica whose clock is an hour off, under load.

Redis decides by its own clock, which therefore jumps at the failover.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.failover.books import GUESSES_PER_HOUR
from tests.failover.login_load import LoginLoad
from tests.failover.sentinel_lab import SentinelLab
from tests.store import redis_servers
from tests.store.stepped_clock import write_server_with_clock


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORKERS, ATTACKERS = 4, 3

GUESSING_SECONDS = 3
"""As long as attackers need for one guess more than the limit admits."""


@pytest.fixture
def skewed_lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SentinelLab]:
    """The replica that Sentinel prefers has a clock that is `request.param` hours ahead."""
    program, clock = write_server_with_clock(tmp_path / "program")
    clock.write_text(f"{request.param:+d}h\n")
    with redis_servers.start_sentinel_of(tmp_path, [10, 100], binaries={0: program}) as servers:
        yield SentinelLab(*servers)


async def run_failover(lab: SentinelLab, load: LoginLoad, *, hours: int) -> None:
    """Let attackers reach the limit, and fail over to the skewed replica under load."""
    old = lab.master
    async with load.run(workers=WORKERS, attackers=ATTACKERS):
        await load.wait_for_logins(5)
        await load.wait_for_guesses(GUESSES_PER_HOUR * ATTACKERS)
        await asyncio.to_thread(lab.command_failover)
        await asyncio.to_thread(lab.follow_master, old)
        await load.wait_for_logins(10)
        if hours > 0:
            await load.wait_for_guesses(2 * GUESSES_PER_HOUR * ATTACKERS)
        await asyncio.sleep(GUESSING_SECONDS)
        assert_clock_is_off(lab, hours)
    assert load.refused_count


def assert_clock_is_off(lab: SentinelLab, hours: int) -> None:
    with redis_servers.open_client(lab.master) as client:
        seconds, _ = client.time()
    assert abs(seconds - time.time() - 3600 * hours) < 60


@pytest.mark.parametrize("skewed_lab", [+1], indirect=True)
async def test_a_clock_that_jumps_ahead_at_a_failover_keeps_every_promise(
    skewed_lab: SentinelLab,
) -> None:
    """R81: an hour has passed for every limit, and for no code.

    Redis drops the records of charges with the jump. So what the calls of that moment were charged
    stays, at most once for each of them.
    """
    async with skewed_lab.connect() as link:
        load = LoginLoad(link)
        await run_failover(skewed_lab, load, hours=+1)
        await load.assert_promises_kept(hours=2, max_unknown=WORKERS + ATTACKERS)


@pytest.mark.parametrize("skewed_lab", [-1], indirect=True)
async def test_a_clock_that_jumps_back_at_a_failover_keeps_every_promise(
    skewed_lab: SentinelLab,
) -> None:
    """R81: guesses in the future count as guesses of now, so there is no second hour of guesses."""
    async with skewed_lab.connect() as link:
        load = LoginLoad(link)
        await run_failover(skewed_lab, load, hours=-1)
        await load.assert_promises_kept()
