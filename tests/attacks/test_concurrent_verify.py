"""A2, A3: guesses and right answers at once, over two worker processes."""

import asyncio
import itertools
import os
import signal
from collections import Counter

import pytest

from tests.installation import wrong
from tests.processes import Answer, Gateway, Line, Service, request, verify_path


pytestmark = pytest.mark.slow

GUESSES = 200


def guess(service: Service, issued: Answer, code: str, key: str = "") -> bytes:
    """Return a try as it goes over the wire."""
    return request(
        "POST",
        verify_path(issued),
        body={"code": code},
        key=service.keys["shop"],
        headers={"Idempotency-Key": key} if key else {},
    )


def outcomes(answers: list[Answer]) -> Counter[str]:
    """Count the answers by their problem, or by their status where there is none."""
    return Counter(answer.problem or str(answer.status) for answer in answers)


async def test_of_two_hundred_guesses_at_once_five_are_compared(
    service: Service, gateway: Gateway, number: str
) -> None:
    """R15, A2: the claim is paid before argon2 runs, whichever worker runs it."""
    issued = service.issue(number)
    code = gateway.code_for(number)
    guesses = [guess(service, issued, wrong(code, i + 1)) for i in range(GUESSES)]
    before = service.count("otp_argon2_seconds_count")

    answers = await service.at_once(guesses)

    assert {"incorrect-code": 5, "challenge-locked": GUESSES - 5} == outcomes(answers)
    assert 5 == service.count("otp_argon2_seconds_count") - before
    left = [answer.json["attempts_left"] for answer in answers if answer.status == 422]
    assert [0, 1, 2, 3, 4] == sorted(left)


async def test_of_two_hundred_bodies_that_were_half_sent_five_are_compared(
    service: Service, gateway: Gateway, number: str
) -> None:
    """R24, covid-alert-server 121: nothing is checked before the whole body is there."""
    issued = service.issue(number)
    code = gateway.code_for(number)
    guesses = [guess(service, issued, wrong(code, i + 1)) for i in range(GUESSES)]
    before = service.count("otp_argon2_seconds_count")

    answers = await service.at_once(guesses, held=9)

    assert {"incorrect-code": 5, "challenge-locked": GUESSES - 5} == outcomes(answers)
    assert 5 == service.count("otp_argon2_seconds_count") - before


async def test_the_right_code_is_dead_after_five_guesses_at_once(
    service: Service, gateway: Gateway, number: str
) -> None:
    """R16: also for the guess that would have been the sixth."""
    issued = service.issue(number)
    code = gateway.code_for(number)
    guesses = [guess(service, issued, wrong(code, i + 1)) for i in range(5)]

    await service.at_once(guesses)

    assert "challenge-locked" == service.verify(issued, code).problem
    assert "locked" == service.view(issued).json["status"]


async def test_of_thirty_right_answers_at_once_one_is_accepted(
    service: Service, gateway: Gateway, number: str
) -> None:
    """R4, A3: check-then-delete would accept all of them."""
    issued = service.issue(number)
    right = guess(service, issued, gateway.code_for(number))

    answers = await service.at_once([right] * 30)

    assert 1 == outcomes(answers)["200"]
    assert outcomes(answers).keys() <= {"200", "challenge-already-verified", "challenge-locked"}
    told = [e["type"] for e in service.events(challenge=issued.json["id"])]
    assert 1 == told.count("otp.verified")


async def test_a_right_answer_among_four_wrong_ones_in_flight_wins(
    service: Service, gateway: Gateway, another
) -> None:
    """R15: a claim that was paid in time wins, in whatever order they arrive."""
    for place in range(5):
        number = another()
        issued = service.issue(number)
        code = gateway.code_for(number)
        tries = [guess(service, issued, wrong(code, i + 1)) for i in range(4)]
        tries.insert(place, guess(service, issued, code))

        answers = await service.at_once(tries)

        assert 200 == answers[place].status
        assert "verified" == service.view(issued).json["status"]


async def test_a_worker_that_is_killed_lets_nobody_in_twice(
    service: Service, gateway: Gateway, another
) -> None:
    """R4: whatever it had decided before it died, the second submission is no second success."""
    numbers = [another() for _ in range(24)]
    issued = [service.issue(number) for number in numbers]
    rights = [
        guess(service, one, gateway.code_for(number), f"try-{number[1:]}")
        for one, number in zip(issued, numbers, strict=True)
    ]
    victim = service.workers()[0]

    firsts = await _killed_meanwhile(service, rights, victim)
    decided = [_successes(service, one) for one in issued]
    seconds = [
        service.verify(one, gateway.code_for(number))
        for one, number in zip(issued, numbers, strict=True)
    ]

    assert 0 < sum(decided)
    assert any(first is None for first in firsts)
    for first, was_decided, second in zip(firsts, decided, seconds, strict=True):
        assert was_decided or first is None
        assert ("challenge-already-verified" if was_decided else "") == second.problem
    assert [1] * 24 == [_successes(service, one) for one in issued]


async def test_the_same_call_again_is_told_what_the_killed_worker_had_decided(
    service: Service, gateway: Gateway, another
) -> None:
    """R54: with its Idempotency-Key it is one success, however often it is told."""
    numbers = [another() for _ in range(24)]
    issued = [service.issue(number) for number in numbers]
    keys = [f"try-{number[1:]}" for number in numbers]
    rights = [
        guess(service, one, gateway.code_for(number), key)
        for one, number, key in zip(issued, numbers, keys, strict=True)
    ]
    victim = service.workers()[0]

    await _killed_meanwhile(service, rights, victim)
    seconds = [
        service.verify(one, gateway.code_for(number), key=key)
        for one, number, key in zip(issued, numbers, keys, strict=True)
    ]

    assert [200] * 24 == [second.status for second in seconds]
    assert [1] * 24 == [_successes(service, one) for one in issued]


async def _killed_meanwhile(
    service: Service, rights: list[bytes], victim: int
) -> list[Answer | None]:
    """Send right answers to both workers, and kill one of them once the first are accepted."""
    async with service.lines(len(rights)) as lines:
        await service.begin_all(lines, rights)
        answering = [asyncio.create_task(_answer(line)) for line in lines]
        for answered in itertools.islice(asyncio.as_completed(answering), 4):
            await answered
        os.kill(victim, signal.SIGKILL)
        return list(await asyncio.gather(*answering))


async def _answer(line: Line) -> Answer | None:
    """Return the answer, or None if whoever was to give it is dead."""
    try:
        return await line.answer()
    except (OSError, asyncio.IncompleteReadError):
        return None


def _successes(service: Service, issued: Answer) -> int:
    """Count how often a challenge was verified; an answer that is repeated is not another."""
    told = service.events(challenge=issued.json["id"], type="otp.verified")
    return sum(not event.get("repeated") for event in told)
