"""Verifying: an attempt is paid before it is compared, and the right code wins once."""

import msgspec
import pytest

from otp_service.core.challenge import Status
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    ChallengeCanceled,
    ChallengeExpired,
    ChallengeLocked,
    ChallengeNotFound,
    IncorrectCode,
    MalformedCode,
    NumberLocked,
    RateLimited,
)
from otp_service.core.limits import Limit, Window
from tests.installation import HOUR, MINUTE, SECOND, World, together, wrong


async def test_the_right_code_verifies_once(world: World) -> None:
    """R4: the second time it is a replay."""
    issued = await world.issue()
    code = world.phones.code()

    verified = await world.verify(issued, code)

    assert verified.challenge is not None
    assert Status.VERIFIED == verified.challenge.status(verified.now)
    with pytest.raises(ChallengeAlreadyVerified):
        await world.verify(issued, code)


async def test_of_thirty_right_answers_at_once_one_wins(world: World) -> None:
    """R4, A3: check-then-delete would let all of them in."""
    issued = await world.issue()
    code = world.phones.code()

    answers = await together(*(world.verify(issued, code) for _ in range(30)))

    assert 1 == sum(not isinstance(answer, Exception) for answer in answers)
    kinds = {type(answer) for answer in answers if isinstance(answer, Exception)}
    assert kinds <= {ChallengeAlreadyVerified, ChallengeLocked}


async def test_of_two_hundred_guesses_at_once_five_are_compared(world: World) -> None:
    """R15, A2: the claim is paid before argon2 runs."""
    issued = await world.issue()
    code = world.phones.code()
    before = world.hasher.runs

    answers = await together(*(world.verify(issued, wrong(code, i + 1)) for i in range(200)))

    assert 5 == world.hasher.runs - before
    assert 5 == sum(isinstance(answer, IncorrectCode) for answer in answers)
    assert 195 == sum(isinstance(answer, ChallengeLocked) for answer in answers)


async def test_a_right_answer_among_four_wrong_ones_in_flight_wins(world: World) -> None:
    """R15: a claim paid in time wins whatever claims came after it."""
    issued = await world.issue()
    code = world.phones.code()

    answers = await together(
        *(world.verify(issued, wrong(code, i + 1)) for i in range(4)),
        world.verify(issued, code),
    )

    assert 1 == sum(not isinstance(answer, Exception) for answer in answers)


async def test_the_fifth_wrong_answer_locks_even_for_the_right_code(world: World) -> None:
    """R16: at most five attempts a challenge (PSD2 RTS 4(3)(b))."""
    issued = await world.issue()
    code = world.phones.code()

    left = []
    for i in range(5):
        with pytest.raises(IncorrectCode) as refusal:
            await world.verify(issued, wrong(code, i + 1))
        left.append(refusal.value.attempts_left)

    assert [4, 3, 2, 1, 0] == left
    with pytest.raises(ChallengeLocked):
        await world.verify(issued, code)


@pytest.mark.parametrize(
    "code", ["12345", "1234567", "abcdef", "", "１２３４５６", "123456\n", "٠١٢٣٤٥", "12345²"]
)
async def test_a_malformed_code_costs_nothing_and_is_never_compared(
    world: World, code: str
) -> None:
    """R8, R23: other scripts' digits and trailing newlines are no code."""
    issued = await world.issue()
    before = world.hasher.runs

    with pytest.raises(MalformedCode):
        await world.verify(issued, code)

    assert before == world.hasher.runs
    now = await world.service.view(world.caller(), world.id_of(issued))
    assert now.challenge is not None
    assert 5 == now.challenge.attempts_left


async def test_spaces_and_hyphens_in_a_code_are_ignored(world: World) -> None:
    """People type what they see."""
    issued = await world.issue()
    code = world.phones.code()

    verified = await world.verify(issued, f" {code[:3]}-{code[3:]} ")

    assert verified.challenge is not None
    assert Status.VERIFIED == verified.challenge.status(verified.now)


@pytest.mark.parametrize(
    "other", [{"purpose": "payment"}, {"account": "u-82"}, {"phone_number": "+447400123457"}]
)
async def test_a_code_for_another_purpose_account_or_number_costs_an_attempt(
    world: World, other: dict[str, str]
) -> None:
    """R5: only the diagonal of the matrix verifies."""
    issued = await world.issue(account="u-81")
    code = world.phones.code()

    with pytest.raises(IncorrectCode) as refusal:
        await world.verify(issued, code, **other)

    assert 4 == refusal.value.attempts_left
    await world.verify(issued, code, purpose="login", account="u-81", phone_number="+447400123456")


async def test_another_tenants_challenge_does_not_exist(world: World) -> None:
    """R5: the id comes from the URL, the tenant from the API key."""
    issued = await world.issue()

    with pytest.raises(ChallengeNotFound):
        await world.verify(issued, world.phones.code(), tenant="bank")


async def test_a_code_is_good_until_its_deadline_and_not_at_it(world: World) -> None:
    """R3: 300 s by default, by Redis's clock."""
    issued = await world.issue()
    assert issued.challenge is not None
    code = world.phones.code()

    world.wait(issued.challenge.deadline - issued.now)
    with pytest.raises(ChallengeExpired):
        await world.verify(issued, code)
    world.wait(-5 * SECOND)
    await world.verify(issued, code)


async def test_an_ended_challenge_tells_its_status_for_an_hour(world: World) -> None:
    """The contract's states: then everything is 404."""
    issued = await world.issue()
    await world.service.cancel(world.caller(), world.id_of(issued))

    world.wait(HOUR - MINUTE)
    with pytest.raises(ChallengeCanceled):
        await world.verify(issued, world.phones.code())
    world.wait(2 * MINUTE)
    with pytest.raises(ChallengeNotFound):
        await world.verify(issued, world.phones.code())


async def test_what_is_secret_is_gone_when_a_challenge_ends(world: World) -> None:
    """R14: neither hash nor number outlives the answer; nor the deadline."""
    for end in ("verified", "canceled", "locked"):
        number = {"verified": "+447400123451", "canceled": "+447400123452"}.get(
            end, "+447400123453"
        )
        issued = await world.issue(number)
        code = world.phones.code()
        if end == "verified":
            await world.verify(issued, code)
        elif end == "canceled":
            await world.service.cancel(world.caller(), world.id_of(issued))
        else:
            await together(*(world.verify(issued, wrong(code, i + 1)) for i in range(5)))

        stored = await world.store.fetch("shop", world.id_of(issued))
        assert stored.secret is None, end
        assert stored.challenge is not None


async def test_guessing_over_many_challenges_stops_at_the_numbers_budget(world: World) -> None:
    """R17: resends and new challenges refill no failures; ten an hour."""
    answers = []
    for _ in range(4):
        world.wait(10 * MINUTE)
        issued = await world.issue()
        code = world.phones.code()
        answers += [(await together(world.verify(issued, wrong(code, i + 1))))[0] for i in range(4)]

    assert 10 == sum(isinstance(answer, IncorrectCode) for answer in answers)
    assert ["FailuresPerNumber"] * 6 == [
        answer.limit for answer in answers if isinstance(answer, RateLimited)
    ]


async def test_a_row_may_be_shorter_than_the_ceiling(world: World) -> None:
    """R18: at most a hundred; a tenant may be stricter."""
    strict = {**world.tenants["shop"].rates, Limit.ROW: (Window(2, 90 * 86400),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], rates=strict)
    issued = await world.issue()
    code = world.phones.code()
    for by in (1, 2):
        with pytest.raises(IncorrectCode):
            await world.verify(issued, wrong(code, by))

    with pytest.raises(NumberLocked):
        await world.verify(issued, code)

    locked = [e["reason"] for e in await world.events() if e["type"] == "otp.locked"]
    assert ["number_locked"] == locked
