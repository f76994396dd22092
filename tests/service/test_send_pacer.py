"""The sends of a burst start a few at a time, in their order."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from otp_service.core.errors import StoreUnavailable
from otp_service.service.send_pacer import STARTS_PER_TURN, SendPacer
from tests.installation import Installation, gather_results


BURST_SIZE = 30


@pytest.fixture
async def started() -> list[int]:
    """The sends that have begun, in order."""
    return []


@pytest.fixture
async def burst(started: list[int]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Sends that were all requested in one turn of the event loop."""
    pacer = SendPacer()

    async def send(number: int) -> None:
        await pacer.wait_for_start()
        started.append(number)

    tasks = [asyncio.create_task(send(number)) for number in range(BURST_SIZE)]
    yield tasks
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_turn_starts_more_sends_than_its_share(
    burst: list[asyncio.Task[None]], started: list[int]
) -> None:
    counts = [0]
    while not all(task.done() for task in burst):
        await asyncio.sleep(0)
        counts.append(len(started))

    assert STARTS_PER_TURN == max(after - before for before, after in pairwise(counts))
    assert list(range(BURST_SIZE)) == started


async def test_a_canceled_send_takes_no_start_of_another_one(
    burst: list[asyncio.Task[None]], started: list[int]
) -> None:
    """After the first ones, all others are canceled but the last few: these start in the next turn."""
    while not started:  # noqa: ASYNC110  # a turn of the loop is the unit of a start
        await asyncio.sleep(0)
    first = len(started)
    for task in burst[first:-STARTS_PER_TURN]:
        task.cancel()
    for _ in range(3):  # the callers are canceled, the starts are given, the last ones run
        await asyncio.sleep(0)

    last = range(BURST_SIZE - STARTS_PER_TURN, BURST_SIZE)
    assert [*range(first), *last] == started


@pytest.mark.parametrize("kind", ["issue", "resend"])
async def test_a_verify_begins_before_the_sends_of_a_burst_that_came_first(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its first call to Redis is made when at most a few of them have made theirs."""
    challenges = [await installation.issue(f"+4474001234{i:02d}") for i in range(BURST_SIZE)]
    code = installation.router.extract_code(0)
    verified = installation.get_challenge_id(challenges[0])
    calls: list[str] = []

    async def list_call(_: str, challenge_id: str) -> Any:
        calls.append("verify" if challenge_id == verified else "resend")
        raise StoreUnavailable

    async def list_issue(*_: Any) -> Any:
        calls.append("issue")
        raise StoreUnavailable

    monkeypatch.setattr(installation.store, "fetch_challenge", list_call)
    monkeypatch.setattr(installation.store, "commit_in_turn", list_issue)
    if kind == "issue":
        sends = [installation.issue(f"+4474001235{i:02d}") for i in range(BURST_SIZE)]
    else:
        sends = [installation.resend(challenge) for challenge in challenges[1:]]
    await gather_results(*sends, installation.verify(challenges[0], code))

    assert len(sends) == calls.count(kind)
    assert calls.index("verify") <= STARTS_PER_TURN
