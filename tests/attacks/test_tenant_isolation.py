"""A14 to A16: what one tenant burns is its own."""

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.installation import make_wrong_code
from tests.processes import GatewayServer, RunningService, delete_cooldowns


pytestmark = pytest.mark.slow


def burn_sends(service: RunningService, redis: EmbeddedServer, number: str) -> None:
    """Have the tenant `shop` send to a number until it may not."""
    for _ in range(9):
        if service.issue(number).problem_type:
            break
        delete_cooldowns(redis)
    refusal = service.issue(number)
    assert ("rate-limited", "SendsPerNumberAndTenant") == (
        refusal.problem_type,
        refusal.json["limit"],
    )


def burn_failures(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """Have the tenant `shop` guess at a number until it may not."""
    for _ in range(9):
        issued = service.issue(number)
        assert 201 == issued.status
        code = gateway.find_code(number)
        answers = [service.verify(issued, make_wrong_code(code, i + 1)) for i in range(5)]
        delete_cooldowns(redis)
        if "rate-limited" in {answer.problem_type for answer in answers}:
            break
    assert ("rate-limited", "FailuresPerNumber") == (
        answers[-1].problem_type,
        answers[-1].json["limit"],
    )


def test_one_tenants_sends_leave_enough_for_another(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R25, A16: whoever has used up its share of a number has not used up the number."""
    burn_sends(service, redis, number)
    delete_cooldowns(redis)

    issued = service.issue(number, by="bank")
    verified = service.verify(issued, gateway.find_code(number), by="bank")

    assert (201, 200) == (issued.status, verified.status)


def test_one_tenants_failures_lock_nobody_elses_number(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R17, R20: a guess at one tenant is no chance at another, and no lock there."""
    burn_failures(service, gateway, redis, number)
    delete_cooldowns(redis)

    issued = service.issue(number, by="bank")
    verified = service.verify(issued, gateway.find_code(number), by="bank")

    assert (201, 200) == (issued.status, verified.status)


def test_a_challenge_that_lives_survives_what_another_tenant_does(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R7, R30: its code stays valid, and its id is nothing to others."""
    issued = service.issue(number, by="bank")
    code = gateway.find_code(number)
    delete_cooldowns(redis)

    burn_sends(service, redis, number)
    guesses = [service.verify(issued, make_wrong_code(code, i + 1)) for i in range(6)]
    theft = service.verify(issued, code)

    assert {"challenge-not-found"} == {answer.problem_type for answer in (*guesses, theft)}
    assert 5 == service.view(issued, by="bank").json["attempts_left"]
    assert 200 == service.verify(issued, code, by="bank").status


def test_the_loop_of_issue_and_four_guesses_stops_at_the_numbers_budget(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R17: ten failures an hour, over however many challenges; not ten for each."""
    compared = 0
    before = service.count_samples("otp_argon2_seconds_count")

    for _ in range(5):
        issued = service.issue(number)
        assert 201 == issued.status
        before += 1
        code = gateway.find_code(number)
        answers = [service.verify(issued, make_wrong_code(code, i + 1)) for i in range(4)]
        compared += sum(answer.problem_type == "incorrect-code" for answer in answers)
        delete_cooldowns(redis)

    assert 10 == compared
    assert 10 == service.count_samples("otp_argon2_seconds_count") - before
