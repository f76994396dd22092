"""A14 to A16: one tenant cannot use up the limits of another."""

import pytest

from otp_service.store.embedded import EmbeddedServer
from tests.installation import make_wrong_code
from tests.processes import GatewayServer, RunningService, delete_cooldowns


pytestmark = pytest.mark.slow


def burn_sends(service: RunningService, redis: EmbeddedServer, number: str) -> None:
    """Send to a number as the tenant `shop` until it is refused."""
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
    """Guess codes of a number as the tenant `shop` until it is refused."""
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


def test_one_tenants_sends_leave_a_share_for_another(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R25, A16: a tenant that has used up its share of a number has not used up the number."""
    burn_sends(service, redis, number)
    delete_cooldowns(redis)

    issued = service.issue(number, by="bank")
    verified = service.verify(issued, gateway.find_code(number), by="bank")

    assert (201, 200) == (issued.status, verified.status)


def test_one_tenants_failures_lock_no_number_for_another(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R17, R20: a guess at one tenant is no guess at another, and locks nothing there."""
    burn_failures(service, gateway, redis, number)
    delete_cooldowns(redis)

    issued = service.issue(number, by="bank")
    verified = service.verify(issued, gateway.find_code(number), by="bank")

    assert (201, 200) == (issued.status, verified.status)


def test_a_live_challenge_survives_the_actions_of_another_tenant(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R7, R30: its code remains valid, and another tenant cannot use its id."""
    issued = service.issue(number, by="bank")
    code = gateway.find_code(number)
    delete_cooldowns(redis)

    burn_sends(service, redis, number)
    guesses = [service.verify(issued, make_wrong_code(code, i + 1)) for i in range(6)]
    foreign_verify = service.verify(issued, code)

    assert {"challenge-not-found"} == {answer.problem_type for answer in (*guesses, foreign_verify)}
    assert 5 == service.view(issued, by="bank").json["attempts_left"]
    assert 200 == service.verify(issued, code, by="bank").status


def test_a_loop_of_issue_and_four_guesses_stops_at_the_failure_limit(
    service: RunningService, gateway: GatewayServer, redis: EmbeddedServer, number: str
) -> None:
    """R17: ten failures an hour over all challenges, not ten for each."""
    compared = 0
    before = count_verify_hashes(service)

    for _ in range(5):
        issued = service.issue(number)
        assert 201 == issued.status
        code = gateway.find_code(number)
        answers = [service.verify(issued, make_wrong_code(code, i + 1)) for i in range(4)]
        compared += sum(answer.problem_type == "incorrect-code" for answer in answers)
        delete_cooldowns(redis)

    assert 10 == compared
    assert 10 == count_verify_hashes(service) - before


def count_verify_hashes(service: RunningService) -> int:
    """Return the runs of argon2 that no issue needed: an issue hashes where no code is prepared."""
    issued = service.count_samples("otp_prepared_code_requests_total", outcome="missing")
    return service.count_samples("otp_argon2_seconds_count") - issued
