"""What operators call: unlock and the health checks."""

import pytest

from tests.contract.support import (
    PLAIN,
    Challenge,
    Dev,
    assert_invalid,
    assert_problem,
    assert_rate_limited,
    client,
    fresh_number,
)


def test_unlock_is_always_204(dev: Dev) -> None:
    """The answer does not depend on a lock, and a repeat has the same one."""
    for _ in range(2):
        unlocked = dev.api.post("/v1/numbers/unlock", json={"phone_number": fresh_number()})
        assert (204, b"") == (unlocked.status_code, unlocked.content)


def test_unlock_needs_a_number(dev: Dev) -> None:
    """No other member is accepted."""
    for body in ({}, {"phone_number": 1}, {"phone_number": PLAIN, "tenant": "dev"}):
        assert_invalid(dev.api.post("/v1/numbers/unlock", json=body))
    refused = dev.api.post("/v1/numbers/unlock", json={"phone_number": "+1 202 555 0123"})
    assert_problem(refused, "invalid-phone-number", "invalid-request")


def test_unlocking_an_account_is_always_204(dev: Dev) -> None:
    """Whether or not the account or the tenant exists; the tenant is that of the key."""
    for more in ({}, {"tenant": "dev"}, {"tenant": None}, {"tenant": "unknown"}):
        body = {"account": "u-81", **more}
        unlocked = dev.api.post("/v1/accounts/unlock", json=body)
        assert (204, b"") == (unlocked.status_code, unlocked.content)


def test_unlocking_an_account_needs_an_account(dev: Dev) -> None:
    """No other member is accepted, and a tenant is a name."""
    bodies = [{}, {"account": ""}, {"account": "a" * 129}, {"account": 1}]
    bodies += [{"account": "u-81", "phone_number": PLAIN}, {"account": "u-81", "tenant": "A B"}]
    for body in bodies:
        assert_invalid(dev.api.post("/v1/accounts/unlock", json=body))


def test_unlock_keeps_the_budget_of_sends(challenge: Challenge) -> None:
    """The cooldown continues."""
    unlock = {"phone_number": challenge.number}
    assert 204 == challenge.dev.api.post("/v1/numbers/unlock", json=unlock).status_code

    assert_rate_limited(challenge.dev.issue(challenge.number))


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_needs_no_key(dev: Dev, path: str) -> None:
    """200, without authentication."""
    with client(str(dev.api.base_url)) as stranger:
        assert 200 == stranger.get(path).status_code


@pytest.mark.parametrize(
    "path", ["/inbox", "/inbox.json", "/openapi.yaml", "/docs", "/metrics", "/schema", "/debug"]
)
def test_the_public_listener_has_no_admin_pages(dev: Dev, path: str) -> None:
    """Pages, documents and metrics are on the admin listener."""
    assert_problem(dev.api.get(path), "not-found")
