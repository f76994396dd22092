"""A repeated call during the first one, and the order of refusals."""

import asyncio
from typing import Any

import msgspec
import pytest

from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.delivery import Refused
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeExpired,
    ChallengeNotFound,
    DeliveryFailed,
    IdempotencyKeyInUse,
    NumberLocked,
    OtpError,
    SendsExhausted,
    Undeliverable,
)
from otp_service.core.limits import DEFAULT_LIMITS, Bucket, Limit, Window
from otp_service.core.phone_number import parse_number
from otp_service.core.ports import IdempotencyRecord
from tests.installation import (
    MINUTE_MS,
    PROVIDER_REFUSAL,
    RECIPIENT_REFUSAL,
    SECOND_MS,
    Installation,
    gather_results,
)


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
    (stored,) = await installation.script_client.read_each([name], "GET")
    return len(msgspec.msgpack.decode(stored)[::2]) if stored else 0


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
    repeats = []

    async def repeat_issue() -> None:
        repeats.append(asyncio.create_task(installation.issue(key="k")))
        await asyncio.sleep(0.2)
        assert not repeats[0].done()

    installation.router.on_send = repeat_issue

    issued = await installation.issue(key="k")

    again = await repeats[0]
    assert installation.get_challenge_id(issued) == installation.get_challenge_id(again)
    assert ["accepted"] == [one.outcome for one in again.require_challenge().submissions]
    assert 1 == len(installation.router.messages)


@pytest.mark.parametrize(
    ("reply", "error"), [(PROVIDER_REFUSAL, DeliveryFailed), (RECIPIENT_REFUSAL, Undeliverable)]
)
async def test_an_issue_that_fails_while_it_is_repeated_fails_for_both(
    installation: Installation, reply: Refused, error: type[OtpError]
) -> None:
    """R53: a back end got 201 for the repeat, and 502 for the first call, of one message."""
    repeats = []

    async def repeat_issue() -> None:
        repeats.append(asyncio.create_task(installation.issue(key="k")))
        await asyncio.sleep(0.2)

    installation.router.on_send = repeat_issue
    installation.router.queue_replies(reply)

    with pytest.raises(error) as first:
        await installation.issue(key="k")
    with pytest.raises(error) as second:
        await repeats[0]

    assert vars(first.value) == vars(second.value)
    assert [] == installation.router.messages


@pytest.mark.parametrize("minutes", [66, 23 * 60])
async def test_a_key_is_not_run_again_after_its_challenge_is_deleted(
    installation: Installation, minutes: int
) -> None:
    """R53: 24 hours; the challenge is deleted an hour after its end."""
    issued = await installation.issue(key="k")
    await installation.verify(issued, installation.router.extract_code())

    installation.advance_clock(minutes * MINUTE_MS)

    for _ in range(2):
        with pytest.raises(ChallengeExpired, match="fresh key"):
            await installation.issue(key="k")
    assert 1 == len(installation.router.messages)


async def test_a_key_whose_challenge_was_erased_is_not_run_again(
    installation: Installation,
) -> None:
    """R53: an operator erased the number, and the caller repeats its call at once."""
    await installation.issue(key="k")
    phone = parse_number(NUMBER)
    await installation.service.numbers.forget_number(
        installation.build_caller(), phone, lambda *_: None
    )

    with pytest.raises(ChallengeExpired):
        await installation.issue(key="k")

    assert 1 == len(installation.router.messages)


async def die_during_issue(installation: Installation) -> None:
    """Let a worker end after it has claimed the key, and before it stores a challenge."""
    compute_argon2id = installation.hasher.compute_argon2id

    async def die(*_: object, **__: object) -> bytes:
        raise asyncio.CancelledError

    installation.hasher.compute_argon2id = die  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await installation.issue(key="k")
    installation.hasher.compute_argon2id = compute_argon2id  # type: ignore[method-assign]


async def test_a_key_whose_first_call_died_runs_after_the_lease_and_not_after_an_hour(
    installation: Installation,
) -> None:
    """R53: after an hour it is unknown whether the challenge was stored, so nothing is sent."""
    await die_during_issue(installation)
    with pytest.raises(IdempotencyKeyInUse):
        await installation.issue(key="k")

    installation.advance_clock(61 * MINUTE_MS)
    with pytest.raises(ChallengeExpired):
        await installation.issue(key="k")
    installation.advance_clock(-60 * MINUTE_MS)
    await installation.issue(key="k")

    assert 1 == len(installation.router.messages)


async def test_a_message_whose_worker_died_is_not_sent_again(installation: Installation) -> None:
    """R53: the repeat waits for the lease, and then returns the challenge as it is."""

    async def die() -> None:
        raise asyncio.CancelledError

    installation.router.on_send = die
    with pytest.raises(asyncio.CancelledError):
        await installation.issue(key="k")
    repeat = asyncio.create_task(installation.issue(key="k"))
    await asyncio.sleep(0.2)
    assert not repeat.done()

    installation.advance_clock(19 * SECOND_MS)

    again = await asyncio.wait_for(repeat, 5)
    assert 1 == len(installation.router.messages)
    await installation.verify(again, installation.router.extract_code())


async def test_a_failed_issue_that_did_not_free_its_key_runs_again_for_another_challenge(
    installation: Installation,
) -> None:
    """R53: its worker ended between the refusal and the end of the lease."""
    installation.router.queue_replies(PROVIDER_REFUSAL)
    swap = installation.store.swap_idempotency_record

    async def keep_record(*arguments: Any) -> bool:
        return arguments[3] is None or await swap(*arguments)

    installation.store.swap_idempotency_record = keep_record  # type: ignore[method-assign,assignment]
    with pytest.raises(DeliveryFailed) as failed:
        await installation.issue(key="k")
    with pytest.raises(DeliveryFailed):
        await installation.issue(key="k")
    installation.advance_clock(31 * SECOND_MS)

    issued = await installation.issue(key="k")

    assert failed.value.challenge_id != installation.get_challenge_id(issued)
    await installation.verify(issued, installation.router.extract_code())


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
