"""A repeated call during the first one, and the order of refusals."""

import asyncio

import msgspec
import pytest

from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeNotFound,
    IdempotencyKeyInUse,
    NumberLocked,
    SendsExhausted,
)
from otp_service.core.limits import DEFAULT_LIMITS, Bucket, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import Commit, IdempotencyRecord
from tests.installation import SECOND_MS, Installation, gather_results


NUMBER = "+447400123456"


async def lock_number(installation: Installation) -> None:
    """Count a hundred consecutive failures of the number."""
    failure_charge = build_consecutive_failure_charge(
        installation.tenants["shop"], parse_number(NUMBER)
    )
    charge = msgspec.structs.replace(failure_charge, cost=100, force=True)
    partition = installation.store.get_number_partition(NUMBER)
    await installation.store.commit(
        Commit(partition=partition, operation_id="lock", charges=(charge,))
    )


async def count_failures(installation: Installation) -> int:
    """Return the number of failures that are counted for the number."""
    bucket = Bucket(Limit.FAILURES_NUMBER, "shop", NUMBER)
    name = installation.store.key_names.bucket_key(
        installation.store.get_number_partition(NUMBER), bucket
    )
    return int(
        await installation.script_client.read_from(
            await installation.script_client.find_master(name), "ZCARD", name
        )
    )


async def test_a_verify_that_is_repeated_while_it_runs_is_answered_as_the_first(
    installation: Installation,
) -> None:
    """R54: a client that timed out repeats its call before the response."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    answers = await gather_results(*(installation.verify(issued, code, key="k") for _ in range(4)))

    assert [] == [answer for answer in answers if isinstance(answer, Exception)]
    verified = [
        e.get("repeated", False)
        for e in await installation.read_events()
        if e["type"] == "otp.verified"
    ]
    assert [False, True, True, True] == sorted(verified)
    assert await count_failures(installation) == 0


async def test_another_call_in_flight_is_not_answered_as_the_first(
    installation: Installation,
) -> None:
    """R4: with its own key it is a second success."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    answers = await gather_results(
        *(installation.verify(issued, code, key=f"k{i}") for i in range(4))
    )

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [ChallengeAlreadyVerified] * 3 == [type(answer) for answer in refused]


async def test_a_right_code_after_the_winning_one_is_not_a_failure(
    installation: Installation,
) -> None:
    """Ten impatient clicks must not use up the number's failures."""
    issued = await installation.issue()
    code = installation.router.extract_code()

    await gather_results(*(installation.verify(issued, code) for _ in range(5)))

    assert await count_failures(installation) == 0


async def test_a_repeat_may_contain_further_matching_fields(
    installation: Installation,
) -> None:
    """The contract: same tenant, challenge, key and code."""
    issued = await installation.issue(account="u-1")
    code = installation.router.extract_code()
    await installation.verify(issued, code, key="k")

    await installation.verify(issued, code, key="k", purpose="login", account="u-1")

    for other_fields in (
        {"purpose": "payment"},
        {"account": "u-2"},
        {"phone_number": "+447400123457"},
    ):
        with pytest.raises(ChallengeAlreadyVerified):
            await installation.verify(issued, code, key="k", **other_fields)


async def test_of_two_workers_that_both_saw_a_fresh_key_one_sends(
    installation: Installation,
) -> None:
    """R53, A13: only Redis knows which worker was first, whatever each worker has read."""
    # otherwise it would stop the second worker
    rates = {**DEFAULT_LIMITS, Limit.COOLDOWN: (Window(9, 30),)}
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=rates
    )
    workers = (installation, installation.restart())
    both_looked = asyncio.Barrier(2)
    for worker in workers:
        worker.tenants.update(installation.tenants)
        _pause_after_lookup(worker, both_looked)

    answers = await gather_results(*(worker.issue(key="k") for worker in workers))

    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert [IdempotencyKeyInUse] == [type(answer) for answer in refused]
    assert 1 == len(installation.router.messages)


def _pause_after_lookup(worker: Installation, barrier: asyncio.Barrier) -> None:
    """Make a worker wait between its lookup of an Idempotency-Key and its claim."""
    get_record = worker.store.get_idempotency_record

    async def get_record_and_wait(tenant: str, key: str) -> tuple[int, IdempotencyRecord | None]:
        record = await get_record(tenant, key)
        await barrier.wait()
        return record

    worker.store.get_idempotency_record = get_record_and_wait  # type: ignore[method-assign]


async def test_an_issue_that_is_repeated_while_it_sends_sees_its_challenge(
    installation: Installation,
) -> None:
    """The contract: 201 with the view of the existing challenge; only one message is sent."""
    seen = []

    async def repeat_issue() -> None:
        seen.append(installation.get_challenge_id(await installation.issue(key="k")))

    installation.router.on_send = repeat_issue

    issued = await installation.issue(key="k")

    assert [installation.get_challenge_id(issued)] == seen
    assert 1 == len(installation.router.messages)


async def test_a_resend_that_is_repeated_while_it_sends_is_in_use(
    installation: Installation,
) -> None:
    """The challenge existed before, so it does not show that the resend was done."""
    issued = await installation.issue()
    installation.advance_clock(30 * SECOND_MS)
    seen = []

    async def repeat_resend() -> None:
        try:
            await installation.resend(issued, key="k")
        except IdempotencyKeyInUse as error:
            seen.append(error)

    installation.router.on_send = repeat_resend

    await installation.resend(issued, key="k")

    assert 1 == len(seen)
    assert 2 == len(installation.router.messages)


async def test_a_resend_finds_no_challenge_or_an_ended_one_before_its_key(
    installation: Installation,
) -> None:
    """The contract's order: 404 and 410 before 409 and 422."""
    issued = await installation.issue()
    other = await installation.issue("+447400123457")
    installation.advance_clock(30 * SECOND_MS)
    await installation.resend(other, key="k")
    await installation.service.cancel(
        installation.build_caller(), installation.get_challenge_id(issued)
    )

    with pytest.raises(ChallengeCanceled):
        await installation.resend(issued, key="k")
    unknown_id = installation.get_challenge_id(issued)[:-4] + "0000"
    with pytest.raises(ChallengeNotFound):
        await installation.service.resend(installation.build_caller(), unknown_id, "k")


async def test_a_locked_number_is_refused_before_exhausted_sends(
    installation: Installation,
) -> None:
    """The contract's order: 403 number-locked before 409 sends-exhausted."""
    issued = await installation.issue()
    for _ in range(2):
        installation.advance_clock(30 * SECOND_MS)
        await installation.resend(issued)
    with pytest.raises(SendsExhausted):
        await installation.resend(issued)
    await lock_number(installation)

    with pytest.raises(NumberLocked):
        await installation.resend(issued)
