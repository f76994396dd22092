"""A2, A3: concurrent guesses and right answers, over two worker processes."""

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

GUESS_COUNT = 60

MAX_KILLS = 5
"""Until one of them is in time."""


def build_guess(service: RunningService, issued: HttpResponse, code: str, key: str = "") -> bytes:
    """Return the bytes of a verify request."""
    return build_request(
        "POST",
        build_verify_path(issued),
        body={"code": code},
        key=service.keys["shop"],
        headers={"Idempotency-Key": key} if key else {},
    )


def count_outcomes(answers: list[HttpResponse]) -> Counter[str]:
    """Count the responses by problem type, or by status where they have no problem type."""
    return Counter(answer.problem_type or str(answer.status) for answer in answers)


async def test_of_sixty_guesses_over_two_workers_five_are_compared(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R15, A2: the claim is charged before argon2 runs, whichever worker runs it."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [
        build_guess(service, issued, make_wrong_code(code, i + 1)) for i in range(GUESS_COUNT)
    ]
    before = service.count_samples("otp_argon2_seconds_count")

    answers = await service.send_together(guesses)

    assert {"incorrect-code": 5, "challenge-locked": GUESS_COUNT - 5} == count_outcomes(answers)
    assert 5 == service.count_samples("otp_argon2_seconds_count") - before
    left = [answer.json["attempts_left"] for answer in answers if answer.status == 422]
    assert [0, 1, 2, 3, 4] == sorted(left)


async def test_of_sixty_half_sent_bodies_five_are_compared(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R24, covid-alert-server 121: nothing is checked before the whole body has arrived."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [
        build_guess(service, issued, make_wrong_code(code, i + 1)) for i in range(GUESS_COUNT)
    ]
    before = service.count_samples("otp_argon2_seconds_count")

    answers = await service.send_together(guesses, held_bytes=9)

    assert {"incorrect-code": 5, "challenge-locked": GUESS_COUNT - 5} == count_outcomes(answers)
    assert 5 == service.count_samples("otp_argon2_seconds_count") - before


async def test_five_concurrent_guesses_lock_out_the_right_code(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R16: the lock also holds for the right code as the sixth attempt."""
    issued = service.issue(number)
    code = gateway.find_code(number)
    guesses = [build_guess(service, issued, make_wrong_code(code, i + 1)) for i in range(5)]

    await service.send_together(guesses)

    assert "challenge-locked" == service.verify(issued, code).problem_type
    assert "locked" == service.view(issued).json["status"]


async def test_of_thirty_right_answers_at_once_one_is_accepted(
    service: RunningService, gateway: GatewayServer, number: str
) -> None:
    """R4, A3: check-then-delete would accept all of them."""
    issued = service.issue(number)
    right = build_guess(service, issued, gateway.find_code(number))

    answers = await service.send_together([right] * 30)

    assert 1 == count_outcomes(answers)["200"]
    assert count_outcomes(answers).keys() <= {
        "200",
        "challenge-already-verified",
        "challenge-locked",
    }
    event_types = [e["type"] for e in service.fetch_events(challenge=issued.json["id"])]
    assert 1 == event_types.count("otp.verified")


async def test_a_right_answer_among_four_wrong_ones_wins_over_two_workers(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R15: a claim that was charged in time wins, in any order of arrival."""
    for place in range(5):
        number = generate_number()
        issued = service.issue(number)
        code = gateway.find_code(number)
        tries = [build_guess(service, issued, make_wrong_code(code, i + 1)) for i in range(4)]
        tries.insert(place, build_guess(service, issued, code))

        answers = await service.send_together(tries)

        assert 200 == answers[place].status
        assert "verified" == service.view(issued).json["status"]


async def test_a_killed_worker_verifies_no_challenge_twice(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R4: a second submission never succeeds again, whatever the killed worker had decided."""
    for _ in range(MAX_KILLS):
        numbers = [generate_number() for _ in range(24)]
        issued = [service.issue(number) for number in numbers]
        codes = [gateway.find_code(number) for number in numbers]
        if await _kill_worker_between_answers(service, issued, codes):
            return
    pytest.fail("no worker was killed before its last answer")


async def _kill_worker_between_answers(
    service: RunningService, issued: list[HttpResponse], codes: list[str]
) -> bool:
    """Assert what holds after a kill; return whether an answer was lost.

    On a busy machine this process may send the signal after the last answer.
    """
    guesses = [
        build_guess(service, challenge, code, f"try-{challenge.json['id']}")
        for challenge, code in zip(issued, codes, strict=True)
    ]
    victim = service.list_worker_pids()[0]

    firsts = await _send_and_kill_worker(service, guesses, victim)
    decided = [_count_successes(service, challenge) for challenge in issued]
    seconds = [
        service.verify(challenge, code) for challenge, code in zip(issued, codes, strict=True)
    ]

    assert 0 < sum(decided)
    for first, was_decided, second in zip(firsts, decided, seconds, strict=True):
        assert was_decided or first is None
        assert ("challenge-already-verified" if was_decided else "") == second.problem_type
    assert [1] * 24 == [_count_successes(service, challenge) for challenge in issued]
    return any(first is None for first in firsts)


async def test_a_repeated_call_returns_the_decision_of_a_killed_worker(
    service: RunningService, gateway: GatewayServer, generate_number
) -> None:
    """R54: with its Idempotency-Key the call is one success, however often it is repeated."""
    numbers = [generate_number() for _ in range(24)]
    issued = [service.issue(number) for number in numbers]
    keys = [f"try-{number[1:]}" for number in numbers]
    guesses = [
        build_guess(service, challenge, gateway.find_code(number), key)
        for challenge, number, key in zip(issued, numbers, keys, strict=True)
    ]
    victim = service.list_worker_pids()[0]

    await _send_and_kill_worker(service, guesses, victim)
    seconds = [
        service.verify(challenge, gateway.find_code(number), key=key)
        for challenge, number, key in zip(issued, numbers, keys, strict=True)
    ]

    assert [200] * 24 == [second.status for second in seconds]
    assert [1] * 24 == [_count_successes(service, challenge) for challenge in issued]


async def _send_and_kill_worker(
    service: RunningService, guesses: list[bytes], victim: int
) -> list[HttpResponse | None]:
    """Send right answers to both workers, and kill one of them once the first are accepted."""
    async with service.open_connections(len(guesses)) as lines:
        await service.start_together(lines, guesses)
        answering = [asyncio.create_task(_read_response_or_none(line)) for line in lines]
        for answered in itertools.islice(asyncio.as_completed(answering), 4):
            await answered
        os.kill(victim, signal.SIGKILL)
        return list(await asyncio.gather(*answering))


async def _read_response_or_none(line: RawConnection) -> HttpResponse | None:
    """Return the response, or None if the worker was killed before it responded."""
    try:
        return await line.read_response()
    except (OSError, asyncio.IncompleteReadError):
        return None


def _count_successes(service: RunningService, issued: HttpResponse) -> int:
    """Count the verifications of a challenge; a repeated response is not another one."""
    events = service.fetch_events(challenge=issued.json["id"], type="otp.verified")
    return sum(not event.get("repeated") for event in events)
