"""Verify: right, wrong and malformed codes, one after another and at once."""

from typing import Any

import pytest

from tests.contract.support import (
    PLAIN,
    RFC_3339_UTC,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    at_once,
)


def test_verify_checks_its_address_too(challenge: Challenge) -> None:
    """An invalid one charges nothing."""
    assert_invalid(challenge.verify(client_ip="203.0.113.9:443"))

    assert 5 == challenge.view()["attempts_left"]
    assert 200 == challenge.verify(client_ip="203.0.113.77").status_code


def test_the_right_code_is_right_once(challenge: Challenge) -> None:
    """200 and `verified`, then 410, also for the right code."""
    code = challenge.code

    verified = challenge.verify(code)

    assert 200 == verified.status_code
    assert "verified" == verified.json()["status"]
    assert challenge.id == verified.json()["id"]
    assert RFC_3339_UTC.fullmatch(verified.json()["verified_at"])
    assert_problem(challenge.verify(code), "challenge-already-verified")
    assert_problem(challenge.verify("000000"), "challenge-already-verified")
    assert_problem(challenge.resend(), "challenge-already-verified")
    assert_problem(challenge.cancel(), "challenge-already-verified")
    assert verified.json() == challenge.view()


@pytest.mark.parametrize("spaces", ["{}{}{} {}{}{}", "{}{}{}-{}{}{}", " {}-{} {} -{}{}{} "])
def test_spaces_and_hyphens_are_ignored(challenge: Challenge, spaces: str) -> None:
    """People type codes as they read them."""
    assert 200 == challenge.verify(spaces.format(*challenge.code)).status_code


def test_a_wrong_code_costs_an_attempt(challenge: Challenge) -> None:
    """422 with the attempts that are left, and the right one still works."""
    for left in (4, 3, 2, 1):
        problem = assert_problem(challenge.verify(challenge.wrong), "incorrect-code")
        assert left == problem["attempts_left"] == challenge.view()["attempts_left"]

    assert 200 == challenge.verify().status_code


def test_five_wrong_codes_lock(challenge: Challenge) -> None:
    """The fifth has no attempts left; after it the right code is 410."""
    code = challenge.code
    challenge.fail(4)
    problem = assert_problem(challenge.verify(challenge.wrong), "incorrect-code")

    assert 0 == problem["attempts_left"]
    assert_problem(challenge.verify(code), "challenge-locked")
    assert_problem(challenge.resend(), "challenge-locked")
    assert_problem(challenge.cancel(), "challenge-locked")
    view = challenge.view()
    assert ("locked", 0) == (view["status"], view["attempts_left"])


def test_a_number_in_another_spelling_does_not_open(challenge: Challenge) -> None:
    """A spelling other than E.164 does not match, although the code is right."""
    number = challenge.number

    for spelling in ("", number[1:], f"{number[:3]} {number[3:]}", f"{number} ", number + "0"):
        refused = challenge.verify(phone_number=spelling)
        if refused.status_code != 422:
            assert_invalid(refused)
        else:
            assert_problem(refused, "incorrect-code", "invalid-phone-number")
    assert "verified" != challenge.view()["status"]


def test_codes_that_have_no_shape_cost_nothing(challenge: Challenge) -> None:
    """They are answered 400 and never compared."""
    digits = challenge.code
    full_width = "".join(chr(0xFF10 + int(digit)) for digit in digits)
    arabic = "".join(chr(0x0660 + int(digit)) for digit in digits)
    malformed = ["", "12345", "1234567", "abcdef", " ", "-", "12345a", "+12345", "1e5", "0x1234"]
    malformed += [
        f"{digits}\n",
        f"{digits}\x00",
        f"{digits}\t",
        f"{digits}\u00a0",
        f"\u200b{digits}",
    ]
    malformed += [full_width, arabic, "12345\u00b2", "1" * 8000]

    for code in malformed:
        assert_problem(challenge.verify(code), "malformed-code")

    assert 5 == challenge.view()["attempts_left"]
    assert 200 == challenge.verify(digits).status_code


@pytest.mark.parametrize("code", [123456, 123456.0, None, True, ["123456"], {"code": "123456"}])
def test_a_code_is_a_string(challenge: Challenge, code: Any) -> None:
    """Another type costs nothing either."""
    url = f"/v1/challenges/{challenge.id}/verify"

    refused = challenge.dev.api.post(url, json={"code": code})

    assert_problem(refused, "invalid-request", "malformed-code")
    assert 5 == challenge.view()["attempts_left"]


@pytest.mark.parametrize("body", [{}, {"cod": "1"}, {"code": "123456", "status": "verified"}])
def test_verify_takes_what_it_knows(challenge: Challenge, body: Any) -> None:
    """A code is required, and unknown fields are refused."""
    assert_invalid(challenge.dev.api.post(f"/v1/challenges/{challenge.id}/verify", json=body))
    assert 5 == challenge.view()["attempts_left"]


@pytest.mark.parametrize("code", ["000000", "123456", "111111", "999999", "654321"])
def test_no_code_is_magic(challenge: Challenge, code: str) -> None:
    """No code is always accepted."""
    if code in challenge.sent():
        pytest.xfail("one in a million")

    assert_problem(challenge.verify(code), "incorrect-code")


@pytest.mark.parametrize(
    ("name", "other"), [("purpose", "payment"), ("account", "u-2"), ("phone_number", PLAIN)]
)
def test_what_belongs_to_another_challenge_is_a_wrong_code(dev: Dev, name: str, other: str) -> None:
    """Another purpose, account or number costs an attempt; the right ones verify."""
    challenge = dev.challenge(purpose="login", account="u-1")
    bound = {"purpose": "login", "account": "u-1", "phone_number": challenge.number}

    problem = assert_problem(challenge.verify(**bound | {name: other}), "incorrect-code")

    assert 4 == problem["attempts_left"]
    assert 200 == challenge.verify(**bound).status_code


def test_an_account_does_not_fit_where_there_is_none(challenge: Challenge) -> None:
    """A challenge without an account matches no account."""
    assert_problem(challenge.verify(account="u-1"), "incorrect-code")


def test_the_code_of_another_challenge_is_wrong(dev: Dev) -> None:
    """A code belongs to one challenge."""
    one, other = dev.challenge(), dev.challenge()
    if one.code == other.code:
        pytest.xfail("one in a million")

    assert_problem(one.verify(other.code), "incorrect-code")


def test_a_right_answer_wins_once_among_many(challenge: Challenge) -> None:
    """Of twenty right codes at once, one gets 200."""
    code = challenge.code

    replies = at_once(*[lambda: challenge.verify(code)] * 20)

    assert 1 == [reply.status_code for reply in replies].count(200)
    assert "verified" == challenge.view()["status"]
    assert {200, 410} <= {reply.status_code for reply in replies} <= {200, 409, 410, 503}


def test_a_right_answer_wins_among_wrong_ones(challenge: Challenge) -> None:
    """Four concurrent wrong codes do not prevent it."""
    code, wrong = challenge.code, challenge.wrong

    replies = at_once(*[lambda: challenge.verify(wrong)] * 4, lambda: challenge.verify(code))

    assert 200 == replies[-1].status_code
    assert {410, 422} >= {reply.status_code for reply in replies[:-1]}


def test_forty_guesses_at_once_are_five(challenge: Challenge) -> None:
    """Of all concurrent guesses, five are compared."""
    wrong = challenge.wrong

    replies = at_once(*[lambda: challenge.verify(wrong)] * 40)

    statuses = [reply.status_code for reply in replies]
    assert 5 == statuses.count(422)
    assert {422, 410, 503} >= set(statuses)
    lefts = [reply.json()["attempts_left"] for reply in replies if reply.status_code == 422]
    assert [0, 1, 2, 3, 4] == sorted(lefts)
