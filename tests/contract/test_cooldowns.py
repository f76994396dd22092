"""Resends and second challenges, which wait for a cooldown.

It is shorter than that of the contract, which test_view.py finds in an answer: the cooldown passes by the
clock of Redis, which is that of the machine.
"""

import datetime as dt
import secrets
import time
from collections.abc import Iterator

import pytest

from tests.contract.support import (
    KEY,
    Challenge,
    Dev,
    assert_problem,
    assert_rate_limited,
    running,
)


pytestmark = pytest.mark.slow

COOLDOWN_SECONDS = 4
"""Long enough for the calls of a test within it on a busy machine."""

LIFETIME_SECONDS = 293
"""A text that is sent within the first three seconds says 5 minutes, and one after the cooldown 4."""


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The service with a short cooldown; the tests use it in place of the one that all others share."""
    data = tmp_path_factory.mktemp("cooldowns") / "data"
    options = ("--cooldown", str(COOLDOWN_SECONDS), "--lifetime", str(LIFETIME_SECONDS))
    with running(data, *options, DEV_API_KEY=KEY) as dev:
        yield dev


@pytest.fixture(scope="module")
def early(dev: Dev) -> Iterator[Challenge]:
    """Challenges issued at the start, so that the tests share the wait."""
    return iter([dev.challenge() for _ in range(7)])


def wait(challenge: Challenge) -> None:
    """Wait until the cooldown has passed that the challenge's last message began."""
    over = dt.datetime.fromisoformat(challenge.issued["resend_at"])
    time.sleep(max(0.0, (over - dt.datetime.now(dt.UTC)).total_seconds()))


def resend(challenge: Challenge) -> None:
    """Wait for the cooldown, and send another message."""
    wait(challenge)
    again = challenge.resend()
    assert 200 == again.status_code, again.text
    challenge.issued = again.json()


def test_a_resend_is_another_message(early: Iterator[Challenge]) -> None:
    """It uses a send, restores neither attempts nor lifetime, and starts its cooldown."""
    challenge = next(early)
    challenge.fail(1)

    resend(challenge)
    refused = challenge.resend()

    assert 0 < assert_rate_limited(refused) <= COOLDOWN_SECONDS
    before, after = challenge.view(), challenge.issued
    assert before == after
    assert ("pending", 1, 4) == (after["status"], after["sends_left"], after["attempts_left"])
    lifetime = dt.datetime.fromisoformat(after["expires_at"]) - dt.datetime.fromisoformat(
        after["created_at"]
    )
    assert lifetime.total_seconds() == pytest.approx(LIFETIME_SECONDS, abs=1)
    assert 2 == len(challenge.sent()) == len(after["delivery"]["submissions"])
    assert 2 == len(set(challenge.sent()))
    again, first = challenge.dev.inbox(challenge.number)
    assert "5 min" in first["text"]
    assert "4 min" in again["text"]


@pytest.mark.parametrize("which", [0, 1])
def test_two_codes_live(early: Iterator[Challenge], which: int) -> None:
    """The newest code and the one before it are valid; verifying either ends both."""
    challenge = next(early)
    resend(challenge)
    codes = challenge.sent()

    assert 200 == challenge.verify(codes[which]).status_code
    assert_problem(challenge.verify(codes[1 - which]), "challenge-already-verified")


def test_a_resend_is_repeated_with_its_key(early: Iterator[Challenge]) -> None:
    """The answer is the same, and one message is sent."""
    challenge = next(early)
    wait(challenge)
    headers = {"Idempotency-Key": secrets.token_hex()}

    replies = [challenge.resend(**headers) for _ in range(2)]

    assert [200, 200] == [reply.status_code for reply in replies]
    assert replies[0].json() == replies[1].json()
    assert 2 == len(challenge.sent())


def test_a_second_challenge_leaves_the_first_alone(early: Iterator[Challenge]) -> None:
    """A caller that requests a code cannot end the challenge of another user."""
    first = next(early)
    code = first.code
    wait(first)

    second = first.dev.challenge(first.number)

    assert "pending" == first.view()["status"]
    assert 200 == first.verify(code).status_code
    assert 200 == second.verify().status_code


def test_a_third_code_drives_out_the_first(early: Iterator[Challenge]) -> None:
    """Three sends leave two valid codes, a fourth is refused, and `Retry-After` is exact."""
    resent = next(early)
    resend(resent)
    time.sleep(assert_rate_limited(resent.resend()))
    third = resent.resend()

    assert (200, 0) == (third.status_code, third.json()["sends_left"])
    _, second, first = resent.sent()
    assert_problem(resent.resend(), "sends-exhausted")  # This is checked before the cooldown.
    assert 3 == len(resent.sent())
    assert_problem(resent.verify(first), "incorrect-code")
    assert 200 == resent.verify(second).status_code


def test_ten_failures_stop_a_number_until_it_is_unlocked(early: Iterator[Challenge]) -> None:
    """A new challenge does not help; an operator's unlock does. Five failed on another one."""
    first = next(early)
    first.fail(5)
    wait(first)
    failed = first.dev.challenge(first.number)
    failed.fail(5)
    wait(failed)
    third = failed.dev.challenge(failed.number)

    refused = third.verify()
    assert_rate_limited(refused)
    assert "FailuresPerNumber" == refused.json()["limit"]
    assert 5 == third.view()["attempts_left"]

    unlock = failed.dev.api.post("/v1/numbers/unlock", json={"phone_number": failed.number})

    assert 204 == unlock.status_code
    assert 200 == third.verify().status_code
