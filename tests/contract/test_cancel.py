"""Cancel, and the status of a challenge that ended."""

from tests.contract.support import (
    Challenge,
    assert_problem,
)


def test_a_cancel_can_be_repeated(challenge: Challenge) -> None:
    """The answers are 204 and 204 without a body; no code verifies afterwards."""
    code = challenge.code

    for _ in range(2):
        canceled = challenge.cancel()
        assert (204, b"") == (canceled.status_code, canceled.content)

    assert "canceled" == challenge.view()["status"]
    assert_problem(challenge.verify(code), "challenge-canceled")
    assert_problem(challenge.resend(), "challenge-canceled")


def test_an_ended_challenge_comes_before_a_malformed_code(challenge: Challenge) -> None:
    """410 is checked before 400 `malformed-code`."""
    challenge.cancel()

    assert_problem(challenge.verify("abc"), "challenge-canceled")
