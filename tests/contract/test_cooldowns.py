"""Resends and second challenges, which wait for a cooldown; the first test waits for all."""

import datetime as dt
import secrets
import time
from collections.abc import Iterator

import pytest

from tests.contract.support import (
    COOLDOWN,
    Challenge,
    assert_problem,
    assert_rate_limited,
)


pytestmark = pytest.mark.timeout(110)  # two cooldowns, and a start


def wait(challenge: Challenge, cooldowns: int = 1) -> None:
    """Wait until that many cooldowns have passed since a challenge was asked for."""
    over = challenge.asked_at + cooldowns * (COOLDOWN + 1)
    time.sleep(max(0.0, over - time.monotonic()))


@pytest.fixture(scope="module")
def resent(early: Iterator[Challenge]) -> Challenge:
    """A challenge that was sent twice, and tried once in between."""
    challenge = next(early)
    challenge.fail(1)
    wait(challenge)
    again = challenge.resend()
    assert 200 == again.status_code, again.text
    challenge.issued = again.json()
    return challenge


@pytest.fixture(scope="module")
def failed(early: Iterator[Challenge]) -> Challenge:
    """A challenge whose number has failed ten times, five of them on another."""
    first = next(early)
    first.fail(5)
    wait(first)
    second = first.dev.challenge(first.number)
    second.fail(5)
    return second


@pytest.mark.slow
def test_a_resend_is_another_message(resent: Challenge, failed: Challenge) -> None:
    """It uses a send, restores neither attempts nor lifetime, and starts its cooldown."""
    assert failed.number != resent.number  # Both cooldowns start here.
    before, after = resent.view(), resent.issued

    assert before == after
    assert ("pending", 1, 4) == (after["status"], after["sends_left"], after["attempts_left"])
    lifetime = dt.datetime.fromisoformat(after["expires_at"]) - dt.datetime.fromisoformat(
        after["created_at"]
    )
    assert lifetime.total_seconds() == pytest.approx(300, abs=1)
    assert 2 == len(resent.sent()) == len(after["delivery"]["submissions"])
    assert 2 == len(set(resent.sent()))
    assert assert_rate_limited(resent.resend()) <= COOLDOWN
    assert "4 min" in resent.dev.inbox(resent.number)[0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_two_codes_live(early: Iterator[Challenge], which: int) -> None:
    """The newest code and the one before it are valid; verifying either ends both."""
    challenge = next(early)
    wait(challenge)
    assert 200 == challenge.resend().status_code
    codes = challenge.sent()

    assert 200 == challenge.verify(codes[which]).status_code
    assert_problem(challenge.verify(codes[1 - which]), "challenge-already-verified")


@pytest.mark.slow
def test_a_resend_is_repeated_with_its_key(early: Iterator[Challenge]) -> None:
    """The answer is the same, and one message is sent."""
    challenge = next(early)
    wait(challenge)
    headers = {"Idempotency-Key": secrets.token_hex()}

    replies = [challenge.resend(**headers) for _ in range(2)]

    assert [200, 200] == [reply.status_code for reply in replies]
    assert replies[0].json() == replies[1].json()
    assert 2 == len(challenge.sent())


@pytest.mark.slow
def test_a_second_challenge_leaves_the_first_alone(early: Iterator[Challenge]) -> None:
    """A caller that requests a code cannot end the challenge of another user."""
    first = next(early)
    code = first.code
    wait(first)

    second = first.dev.challenge(first.number)

    assert "pending" == first.view()["status"]
    assert 200 == first.verify(code).status_code
    assert 200 == second.verify().status_code


@pytest.mark.slow
def test_a_third_code_drives_out_the_first(resent: Challenge) -> None:
    """Three sends leave two valid codes, a fourth is refused, and `Retry-After` is exact."""
    time.sleep(assert_rate_limited(resent.resend()))
    third = resent.resend()

    assert (200, 0) == (third.status_code, third.json()["sends_left"])
    _, second, first = resent.sent()
    assert_problem(resent.resend(), "sends-exhausted")  # This is checked before the cooldown.
    assert 3 == len(resent.sent())
    assert_problem(resent.verify(first), "incorrect-code")
    assert 200 == resent.verify(second).status_code


@pytest.mark.slow
def test_ten_failures_stop_a_number_until_it_is_unlocked(failed: Challenge) -> None:
    """A new challenge does not help; an operator's unlock does."""
    wait(failed)
    third = failed.dev.challenge(failed.number)
    refused = third.verify()
    assert_rate_limited(refused)
    assert "FailuresPerNumber" == refused.json()["limit"]
    assert 5 == third.view()["attempts_left"]

    unlock = failed.dev.api.post("/v1/numbers/unlock", json={"phone_number": failed.number})

    assert 204 == unlock.status_code
    assert 200 == third.verify().status_code
