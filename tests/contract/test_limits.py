"""Rate limits, cooldowns and the headers that announce them."""

import datetime as dt
import time

import pytest

from tests.contract.support import (
    COOLDOWN,
    Challenge,
    Dev,
    assert_problem,
    assert_rate_limited,
    at_once,
    fresh_number,
)


@pytest.mark.parametrize("address", ["203.0.113.201", "::ffff:203.0.113.202"])
def test_an_address_gets_thirty_messages_an_hour(dev: Dev, address: str) -> None:
    """An IPv4-mapped IPv6 address is the same address; a refused issue sends nothing."""
    other = address.removeprefix("::ffff:") if "ffff" in address else f"::ffff:{address}"
    for spelling in [address, other] * 15:
        assert 201 == dev.issue(client_ip=spelling).status_code
    number = fresh_number()

    refused = dev.issue(number, client_ip=other)

    assert_rate_limited(refused)
    assert "SendsPerClientAddress" == refused.json()["limit"]
    assert [] == dev.inbox(number)
    assert 201 == dev.issue(client_ip="203.0.113.203").status_code


def test_an_ipv6_network_is_one_address(dev: Dev) -> None:
    """By /64, however it is spelled."""
    for host in range(30):
        assert 201 == dev.issue(client_ip=f"2001:db8:0:64::{host:x}").status_code

    assert_rate_limited(dev.issue(client_ip="2001:DB8:0:64:ffff:0:0:1"))
    assert 201 == dev.issue(client_ip="2001:db8:0:65::1").status_code


def test_a_prefix_gets_sixty_messages(dev: Dev) -> None:
    """Numbers that differ in their last four digits share them; the next prefix has its own."""
    began, replies = time.monotonic(), [dev.issue("+447400700000")]
    while replies[-1].status_code == 201:
        replies.append(dev.issue(f"+4474007{len(replies):05}"))

    # One more is allowed each ten seconds, and a busy machine may need that for sixty.
    assert 0 <= len(replies[:-1]) - 60 <= (time.monotonic() - began) // 10
    assert_rate_limited(replies[-1])
    assert "SendsPerPrefix" == replies[-1].json()["limit"]
    assert 201 == dev.issue("+447400710000").status_code


def test_an_account_gets_ten_messages_an_hour(dev: Dev) -> None:
    """The limit counts over all numbers."""
    for _ in range(10):
        assert 201 == dev.issue(account="ten-an-hour").status_code
    number = fresh_number()

    refused = dev.issue(number, account="ten-an-hour")

    assert_rate_limited(refused)
    assert "SendsPerAccount" == refused.json()["limit"]
    assert [] == dev.inbox(number)


def test_a_refusal_of_another_bucket_leaves_the_number_free(dev: Dev) -> None:
    """The tokens spent before it are refunded: the same number gets its code at once."""
    for _ in range(10):
        dev.issue(account="gives-back")
    number = fresh_number()
    assert_rate_limited(dev.issue(number, account="gives-back"))

    assert 201 == dev.issue(number, account="gives-back-not").status_code


def test_headers_about_the_client_are_not_believed(dev: Dev) -> None:
    """Only `client_ip` names the end user; what proxies write is ignored."""
    names = ["X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"]
    for count in range(30):
        headers = dict.fromkeys(names, f"198.51.100.{count}")
        dev.issue(client_ip="203.0.113.210", headers=headers)

    assert_rate_limited(dev.issue(client_ip="203.0.113.210", headers={names[0]: "198.51.100.99"}))


def test_failures_count_for_the_account(dev: Dev) -> None:
    """After ten in an hour on two numbers, a third is neither compared nor charged."""
    for _ in range(2):
        dev.challenge(account="guessed").fail(5)
    third = dev.challenge(account="guessed")

    refused = third.verify()

    assert_rate_limited(refused)
    assert "FailuresPerAccount" == refused.json()["limit"]
    assert ("pending", 5) == (third.view()["status"], third.view()["attempts_left"])


def test_failures_count_for_the_client_ip(dev: Dev) -> None:
    """The limit is fifty in an hour over all numbers; another address is not affected."""
    address = "198.51.100.50"
    for _ in range(10):
        guessed = dev.challenge()
        for _ in range(5):
            refused = guessed.verify(guessed.wrong, client_ip=address)
            assert_problem(refused, "incorrect-code")
    challenge = dev.challenge()

    refused = challenge.verify(client_ip=address)

    assert_rate_limited(refused)
    assert "FailuresPerClientAddress" == refused.json()["limit"]
    assert 200 == challenge.verify(client_ip="198.51.100.51").status_code


def test_a_second_issue_waits_for_the_cooldown(challenge: Challenge) -> None:
    """It is refused, sends nothing, and leaves the first code alone."""
    code = challenge.code

    for purpose in ("login", "payment"):
        refused = challenge.dev.issue(challenge.number, purpose=purpose)
        assert assert_rate_limited(refused) <= COOLDOWN

    assert 1 == len(challenge.dev.inbox(challenge.number))
    assert 200 == challenge.verify(code).status_code


def test_an_early_resend_waits_for_the_cooldown(challenge: Challenge) -> None:
    """It is refused until `resend_at`, and has no effect."""
    before = challenge.view()

    wait = assert_rate_limited(challenge.resend())

    promised = dt.datetime.fromisoformat(before["resend_at"])
    left = promised - dt.datetime.now(dt.UTC)
    assert wait == pytest.approx(left.total_seconds(), abs=2)
    assert before == challenge.view()
    assert 1 == len(challenge.dev.inbox(challenge.number))


def test_fifty_issues_at_once_are_one_message(dev: Dev) -> None:
    """They are for one number; all other calls are 429."""
    number = fresh_number()

    replies = at_once(*[lambda: dev.issue(number)] * 50)

    statuses = [reply.status_code for reply in replies]
    assert 1 == statuses.count(201)
    assert {201, 429, 503} >= set(statuses)
    assert 1 == len(dev.inbox(number))


def test_limit_fields_stand_on_429_only(dev: Dev) -> None:
    """The headers describe a limit only when it refuses."""
    issued = dev.issue()

    assert not {"ratelimit", "ratelimit-policy", "retry-after"} & set(issued.headers)
