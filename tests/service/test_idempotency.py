"""The same call again while the first one runs, and which refusal comes first."""

import asyncio

import msgspec
import pytest

from otp_service.core.charges import row_of
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeNotFound,
    IdempotencyKeyInUse,
    NumberLocked,
    SendsExhausted,
)
from otp_service.core.limits import DEFAULTS, Bucket, Limit, Window
from otp_service.core.phone_number import parse
from otp_service.core.ports import Commit, Replayed
from tests.installation import SECOND, World, together


NUMBER = "+447400123456"


async def lock(world: World) -> None:
    """Count a hundred failures in a row."""
    row = row_of(world.tenants["shop"], parse(NUMBER))
    charge = msgspec.structs.replace(row, cost=100, force=True)
    partition = world.store.partition_of(NUMBER)
    await world.store.commit(Commit(partition=partition, operation="lock", charges=(charge,)))


async def failures(world: World) -> int:
    """Return how many failures are counted for the number."""
    bucket = Bucket(Limit.FAILURES_NUMBER, "shop", NUMBER)
    name = world.store.names.bucket(world.store.partition_of(NUMBER), bucket)
    return int(await world.link.ask(await world.link.master_of(name), "ZCARD", name))


async def test_a_verify_that_is_repeated_while_it_runs_is_answered_as_the_first(
    world: World,
) -> None:
    """R54: a client that has timed out asks again before we have answered."""
    issued = await world.issue()
    code = world.phones.code()

    answers = await together(*(world.verify(issued, code, key="k") for _ in range(4)))

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    verified = [
        e.get("repeated", False) for e in await world.events() if e["type"] == "otp.verified"
    ]
    assert [False, True, True, True] == sorted(verified)
    assert await failures(world) == 0


async def test_another_call_in_flight_is_not_answered_as_the_first(world: World) -> None:
    """R4: with a key of its own it is a second success."""
    issued = await world.issue()
    code = world.phones.code()

    answers = await together(*(world.verify(issued, code, key=f"k{i}") for i in range(4)))

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [ChallengeAlreadyVerified] * 3 == [type(answer) for answer in refused]


async def test_a_right_code_that_comes_second_is_no_failure(world: World) -> None:
    """Ten impatient clicks must not spend the number's budget of failures."""
    issued = await world.issue()
    code = world.phones.code()

    await together(*(world.verify(issued, code) for _ in range(5)))

    assert await failures(world) == 0


async def test_a_repeat_may_say_more_of_what_it_is_about_if_that_is_right(world: World) -> None:
    """The contract: same tenant, challenge, key and code."""
    issued = await world.issue(account="u-1")
    code = world.phones.code()
    await world.verify(issued, code, key="k")

    await world.verify(issued, code, key="k", purpose="login", account="u-1")

    for more in ({"purpose": "payment"}, {"account": "u-2"}, {"phone_number": "+447400123457"}):
        with pytest.raises(ChallengeAlreadyVerified):
            await world.verify(issued, code, key="k", **more)


async def test_of_two_workers_that_both_saw_a_fresh_key_one_sends(world: World) -> None:
    """R53, A13: only Redis can tell which of them was first, whatever each of them remembers."""
    rates = {**DEFAULTS, Limit.COOLDOWN: (Window(9, 30),)}  # or it would stop the second one
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], rates=rates)
    workers = (world, world.again())
    both_looked = asyncio.Barrier(2)
    for worker in workers:
        worker.tenants.update(world.tenants)
        _looks_and_waits(worker, both_looked)

    answers = await together(*(worker.issue(key="k") for worker in workers))

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [IdempotencyKeyInUse] == [type(answer) for answer in refused]
    assert 1 == len(world.phones.messages)


def _looks_and_waits(worker: World, until: asyncio.Barrier) -> None:
    """Have a worker wait between looking for an Idempotency-Key and claiming it."""
    recall = worker.store.recall

    async def look(tenant: str, key: str) -> tuple[int, Replayed | None]:
        found = await recall(tenant, key)
        await until.wait()
        return found

    worker.store.recall = look  # type: ignore[method-assign]


async def test_an_issue_that_is_repeated_while_it_sends_sees_its_challenge(world: World) -> None:
    """The contract: there, 201 with its view; only one message goes out."""
    seen = []

    async def ask_again() -> None:
        seen.append(world.id_of(await world.issue(key="k")))

    world.phones.meanwhile = ask_again

    issued = await world.issue(key="k")

    assert [world.id_of(issued)] == seen
    assert 1 == len(world.phones.messages)


async def test_a_resend_that_is_repeated_while_it_sends_is_in_use(world: World) -> None:
    """Its challenge proves nothing: it was there before."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    seen = []

    async def ask_again() -> None:
        try:
            await world.resend(issued, key="k")
        except IdempotencyKeyInUse as error:
            seen.append(error)

    world.phones.meanwhile = ask_again

    await world.resend(issued, key="k")

    assert 1 == len(seen)
    assert 2 == len(world.phones.messages)


async def test_a_resend_finds_no_challenge_or_an_ended_one_before_its_key(world: World) -> None:
    """The contract's order: 404 and 410 before 409 and 422."""
    issued = await world.issue()
    other = await world.issue("+447400123457")
    world.wait(30 * SECOND)
    await world.resend(other, key="k")
    await world.service.cancel(world.caller(), world.id_of(issued))

    with pytest.raises(ChallengeCanceled):
        await world.resend(issued, key="k")
    nowhere = world.id_of(issued)[:-4] + "0000"
    with pytest.raises(ChallengeNotFound):
        await world.service.resend(world.caller(), nowhere, "k")


async def test_a_locked_number_is_told_so_before_that_no_sends_are_left(world: World) -> None:
    """The contract's order: 403 number-locked before 409 sends-exhausted."""
    issued = await world.issue()
    for _ in range(2):
        world.wait(30 * SECOND)
        await world.resend(issued)
    with pytest.raises(SendsExhausted):
        await world.resend(issued)
    await lock(world)

    with pytest.raises(NumberLocked):
        await world.resend(issued)
