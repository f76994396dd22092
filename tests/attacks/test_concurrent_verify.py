"""A2, A3: guesses and right answers at once, over two worker processes."""

import asyncio
import itertools
import os
import signal
from collections import Counter

import pytest

from tests.installation import make_wrong_code
from tests.processes import (
    GatewayServer,
    HttpResponse,
    RawConnection,
    RunningService,
    build_request,
    build_verify_path,
)


pytestmark = pytest.mark.slow

GUESSES = 200


def guess(service: RunningService, issued: HttpResponse, code: str, key: str = "") -> bytes:
    """Return a try as it goes over the wire."""
    return build_request(
        "POST",
        build_verify_path(issued),
        body={"code": code},
        key=service.keys["shop"],
        headers={"Idempotency-Key": key} if key else {},
    )


def outcomes(answers: list[HttpResponse]) -> Counter[str]:
    """Count the answers by their problem, or by their status where there is none."""
    return Counter(answer.problem_type or str(answer.status) for answer in answers)


async def test_of_two_hundred_guesses_at_once_five_are_compared(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R15, A2: the claim is paid before argon2 runs, whichever worker runs it."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [guess(service, issued, make_wrong_code(code, i + 1)) for i in range(GUESSES)]
    before = service.count_samples("otp_argon2_seconds_count")

    answers = await service.send_together(guesses)

    assert {"incorrect-code": 5, "challenge-locked": GUESSES - 5} == outcomes(answers)
    assert 5 == service.count_samples("otp_argon2_seconds_count") - before
    left = [answer.json["attempts_left"] for answer in answers if answer.status == 422]
    assert [0, 1, 2, 3, 4] == sorted(left)


async def test_of_two_hundred_bodies_that_were_half_sent_five_are_compared(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R24, covid-alert-server 121: nothing is checked before the whole body is there."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [guess(service, issued, make_wrong_code(code, i + 1)) for i in range(GUESSES)]
    before = service.count_samples("otp_argon2_seconds_count")

    answers = await service.send_together(guesses, held_bytes=9)

    assert {"incorrect-code": 5, "challenge-locked": GUESSES - 5} == outcomes(answers)
    assert 5 == service.count_samples("otp_argon2_seconds_count") - before


async def test_the_right_code_is_dead_after_five_guesses_at_once(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R16: also for the guess that would have been the sixth."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [guess(service, issued, make_wrong_code(code, i + 1)) for i in range(5)]

    await service.send_together(guesses)

    assert "challenge-locked" == service.verify(issued, code).problem_type
    assert "locked" == service.view(issued).json["status"]


async def test_of_thirty_right_answers_at_once_one_is_accepted(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R4, A3: check-then-delete would accept all of them."""
    issued = service.issue(number)
    right = guess(service, issued, gateway.find_code(number))

    answers = await service.send_together([right] * 30)

    assert 1 == outcomes(answers)["200"]
    assert outcomes(answers).keys() <= {"200", "challenge-already-verified", "challenge-locked"}
    told = [e["type"] for e in service.fetch_events(challenge=issued.json["id"])]
    assert 1 == told.count("otp.verified")


async def test_a_right_answer_among_four_wrong_ones_in_flight_wins(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R15: a claim that was paid in time wins, in whatever order they arrive."""
    for place in range(5):
        number = generate_number()
        issued = service.issue(number)
        code = gateway.find_code(number)
        tries = [guess(service, issued, make_wrong_code(code, i + 1)) for i in range(4)]
        tries.insert(place, guess(service, issued, code))

        answers = await service.send_together(tries)

        assert 200 == answers[place].status
        assert "verified" == service.view(issued).json["status"]


async def test_a_worker_that_is_killed_lets_nobody_in_twice(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R4: whatever it had decided before it died, the second submission is no second success."""
    numbers = [generate_number() for _ in range(24)]
    issued = [service.issue(number) for number in numbers]
    rights = [
        guess(service, one, gateway.find_code(number), f"try-{number[1:]}")
        for one, number in zip(issued, numbers, strict=True)
    ]
    victim = service.list_worker_pids()[0]

    firsts = await _killed_meanwhile(service, rights, victim)
    decided = [_successes(service, one) for one in issued]
    seconds = [
        service.verify(one, gateway.find_code(number))
        for one, number in zip(issued, numbers, strict=True)
    ]

    assert 0 < sum(decided)
    assert any(first is None for first in firsts)
    for first, was_decided, second in zip(firsts, decided, seconds, strict=True):
        assert was_decided or first is None
        assert ("challenge-already-verified" if was_decided else "") == second.problem_type
    assert [1] * 24 == [_successes(service, one) for one in issued]


async def test_the_same_call_again_is_told_what_the_killed_worker_had_decided(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R54: with its Idempotency-Key it is one success, however often it is told."""
    numbers = [generate_number() for _ in range(24)]
    issued = [service.issue(number) for number in numbers]
    keys = [f"try-{number[1:]}" for number in numbers]
    rights = [
        guess(service, one, gateway.find_code(number), key)
        for one, number, key in zip(issued, numbers, keys, strict=True)
    ]
    victim = service.list_worker_pids()[0]

    await _killed_meanwhile(service, rights, victim)
    seconds = [
        service.verify(one, gateway.find_code(number), key=key)
        for one, number, key in zip(issued, numbers, keys, strict=True)
    ]

    assert [200] * 24 == [second.status for second in seconds]
    assert [1] * 24 == [_successes(service, one) for one in issued]


async def _killed_meanwhile(
    service: RunningService, rights: list[bytes], victim: int
) -> list[HttpResponse | None]:
    """Send right answers to both workers, and kill one of them once the first are accepted."""
    async with service.open_connections(len(rights)) as lines:
        await service.start_together(lines, rights)
        answering = [asyncio.create_task(_answer(line)) for line in lines]
        for answered in itertools.islice(asyncio.as_completed(answering), 4):
            await answered
        os.kill(victim, signal.SIGKILL)
        return list(await asyncio.gather(*answering))


async def _answer(line: RawConnection) -> HttpResponse | None:
    """Return the answer, or None if whoever was to give it is dead."""
    try:
        return await line.read_response()
    except (OSError, asyncio.IncompleteReadError):
        return None


def _successes(service: RunningService, issued: HttpResponse) -> int:
    """Count how often a challenge was verified; an answer that is repeated is not another."""
    told = service.fetch_events(challenge=issued.json["id"], type="otp.verified")
    return sum(not event.get("repeated") for event in told)
