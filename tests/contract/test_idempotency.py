"""Idempotency keys on issue and verify; test_cooldowns has those of resend."""

import secrets

import pytest

from tests.contract.support import (
    PLAIN,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    at_once,
    fresh_number,
)


def test_an_issue_is_repeated_with_its_key(dev: Dev) -> None:
    """The answer is the same challenge, with one message; quotes make no difference."""
    number = fresh_number()
    name = secrets.token_hex()
    first = dev.issue(number, headers={"Idempotency-Key": f'"{name}"'})

    for key in (f'"{name}"', name):
        repeated = dev.issue(number, headers={"Idempotency-Key": key})
        assert (201, first.json()["id"]) == (repeated.status_code, repeated.json()["id"])
        assert first.headers["location"] == repeated.headers["location"]
    assert 1 == len(dev.inbox(number))


def test_a_repeat_shows_the_challenge_as_it_is(dev: Dev) -> None:
    """It may have ended in the meantime."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers)
    assert 200 == challenge.verify().status_code

    repeated = dev.issue(challenge.number, headers=headers)

    assert 201 == repeated.status_code
    assert challenge.view() == repeated.json()


@pytest.mark.parametrize(
    "fields",
    [
        {"number": PLAIN},
        {"purpose": "payment"},
        {"account": "u-2"},
        {"locale": "de"},
        {"bot_check": "passed"},
    ],
)
def test_a_key_is_for_one_request(dev: Dev, fields: dict[str, str]) -> None:
    """With another request it is refused, and nothing is sent."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers, account="u-1k")
    same = {"number": challenge.number, "account": "u-1k"}
    before = len(dev.inbox(PLAIN))

    refused = dev.issue(**same | fields, headers=headers)

    assert_problem(refused, "idempotency-key-reused")
    assert 1 == len(dev.inbox(challenge.number))
    assert before == len(dev.inbox(PLAIN))


def test_the_order_of_fields_makes_no_other_request(dev: Dev) -> None:
    """Spaces do not matter either: a fingerprint is of the parsed content."""
    headers = {"Idempotency-Key": secrets.token_hex(), "Content-Type": "application/json"}
    number = fresh_number()
    one = f'{{"phone_number":"{number}","purpose":"login"}}'
    other = f'{{ "purpose": "login", "phone_number": "{number}" }}'

    replies = [
        dev.api.post("/v1/challenges", content=body, headers=headers) for body in (one, other)
    ]

    assert [201, 201] == [reply.status_code for reply in replies]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_fifty_calls_with_one_key_are_one_message(dev: Dev) -> None:
    """They get the same challenge, or 409 while it is being issued."""
    number = fresh_number()
    headers = {"Idempotency-Key": secrets.token_hex()}

    replies = at_once(*[lambda: dev.issue(number, headers=headers)] * 50)

    assert 1 == len({reply.json()["id"] for reply in replies if reply.status_code == 201})
    for reply in replies:
        if reply.status_code != 201:
            assert_problem(reply, "idempotency-key-in-use", "overloaded")
    assert 1 == len(dev.inbox(number))


def test_a_refusal_frees_the_key(dev: Dev) -> None:
    """It can be used again, also for a different request."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert_problem(dev.issue("+19002345678", headers=headers), "number-not-allowed")
    number = dev.challenge().number
    assert_rate_limited(dev.issue(number, headers=headers))

    assert 201 == dev.issue(headers=headers).status_code


@pytest.mark.parametrize("key", ["", '""', '"open', "a b\tc", "\u00e9", "x" * 5000])
def test_malformed_keys_are_refused(dev: Dev, key: str) -> None:
    """A key is a short string of visible ASCII."""
    number = fresh_number()

    refused = dev.issue(number, headers={"Idempotency-Key": key.encode()})

    assert_problem(refused, "invalid-request")
    assert [] == dev.inbox(number)


def test_a_verify_is_repeated_with_its_key(challenge: Challenge) -> None:
    """The same key and code get the same 200; without the key, or another, 410."""
    code = challenge.code
    headers = {"Idempotency-Key": secrets.token_hex()}
    first = challenge.verify(code, headers=headers)

    repeated = challenge.verify(code, headers=headers)

    assert (200, 200) == (first.status_code, repeated.status_code)
    assert first.json() == repeated.json()
    assert_problem(challenge.verify(code), "challenge-already-verified")
    other = {"Idempotency-Key": secrets.token_hex()}
    assert_problem(challenge.verify(code, headers=other), "challenge-already-verified")


def test_a_key_does_not_open_for_another_code(challenge: Challenge) -> None:
    """Another code makes it another request."""
    code, wrong = challenge.code, challenge.wrong
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert 200 == challenge.verify(code, headers=headers).status_code

    refused = challenge.verify(wrong, headers=headers)

    assert_problem(refused, "challenge-already-verified", "idempotency-key-reused")


@pytest.mark.parametrize(
    "binding", [{"purpose": "payment"}, {"account": "u-2"}, {"phone_number": PLAIN}]
)
def test_a_repeat_is_bound_like_the_first_call(
    challenge: Challenge, binding: dict[str, str]
) -> None:
    """A code verified for one purpose, account and number is never 200 for another."""
    code = challenge.code
    headers = {"Idempotency-Key": secrets.token_hex()}
    assert 200 == challenge.verify(code, headers=headers).status_code

    refused = challenge.verify(code, headers=headers, **binding)

    assert_problem(refused, "challenge-already-verified", "idempotency-key-reused")


def test_an_issues_key_is_none_for_a_resend(dev: Dev) -> None:
    """A resend is another request; verify stores its keys in the challenge and ignores others."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    challenge = dev.challenge(headers=headers)

    assert_problem(challenge.resend(**headers), "idempotency-key-reused", "rate-limited")
    assert 1 == len(challenge.sent())
    assert 200 == challenge.verify(headers=headers).status_code


def test_malformed_keys_are_refused_everywhere(challenge: Challenge) -> None:
    """The refused requests charge nothing."""
    headers = {"Idempotency-Key": '"open'}

    assert_invalid(challenge.verify(headers=headers))
    assert_invalid(challenge.resend(**headers))
    assert 5 == challenge.view()["attempts_left"]


def test_a_key_of_one_challenge_is_fresh_for_another(dev: Dev) -> None:
    """The keys of verify are stored in their challenge."""
    headers = {"Idempotency-Key": secrets.token_hex()}
    one, other = dev.challenge(), dev.challenge()

    assert 200 == one.verify(headers=headers).status_code
    assert 200 == other.verify(headers=headers).status_code
