"""Spraying: one guess at each of many numbers, which only a tenant's own limits detect (R21)."""

import secrets
from typing import Any

import msgspec
import pytest

from otp_service.core.charges import build_factor_caller_charges
from otp_service.core.commit import Commit, CommitOutcome, Committed
from otp_service.core.errors import IncorrectCode, InvalidRequest, OtpError, RateLimited
from otp_service.core.factor import Factor
from otp_service.core.limits import DEFAULT_LIMITS, Bucket, Limit, LimitRefusal, Window
from otp_service.service.numbers import NumberService
from tests.installation import Installation, make_wrong_code


CLIENT: dict[str, Any] = {"account": "u-1", "client_ip": "203.0.113.9"}


def change_tenant(installation: Installation, **changes: Any) -> None:
    installation.tenants["shop"] = msgspec.structs.replace(installation.tenants["shop"], **changes)


async def log_in(installation: Installation, number: int, *, is_right: bool) -> None:
    """Issue to one of many numbers, and verify from an address of its own. Raises the refusal."""
    issued = await installation.issue(f"+4474001{number:05d}", account=f"u-{number}")
    code = installation.router.extract_code()
    address = f"2001:db8:{number // 1000:x}:{number % 1000:x}::1"
    if is_right:
        await installation.verify(issued, code, client_ip=address)
        return
    with pytest.raises(IncorrectCode):
        await installation.verify(issued, make_wrong_code(code), client_ip=address)


async def test_guesses_at_many_numbers_from_many_addresses_are_limited(
    installation: Installation,
) -> None:
    """Each number, account and address has one failure, and the tenant too many."""
    change_tenant(
        installation, limits={**DEFAULT_LIMITS, Limit.FAILURES_TENANT: (Window(5, 3600),)}
    )
    for number in range(10_000, 60_000, 10_000):
        await log_in(installation, number, is_right=False)

    with pytest.raises(RateLimited) as refusal:
        await log_in(installation, 70_000, is_right=True)

    assert Limit.FAILURES_TENANT == refusal.value.limit
    assert refusal.value.retry_after <= 720
    installation.advance_clock(refusal.value.retry_after * 1000)
    await log_in(installation, 80_000, is_right=True)


async def test_failures_are_counted_beyond_the_successes(installation: Installation) -> None:
    """A busy tenant is not refused for the usual mistakes of its users."""
    change_tenant(
        installation, limits={**DEFAULT_LIMITS, Limit.FAILURES_TENANT: (Window(3, 3600),)}
    )
    for number in range(10_000, 19_000, 1_000):
        await log_in(installation, number, is_right=False)
        await log_in(installation, number + 1, is_right=True)

    for number in range(50_000, 53_000, 1_000):
        await log_in(installation, number, is_right=False)
    with pytest.raises(RateLimited):
        await log_in(installation, 60_000, is_right=False)


async def test_successes_are_no_credit_for_later_failures(installation: Installation) -> None:
    """An empty bucket stays empty: an attacker cannot save up guesses by logging in."""
    change_tenant(
        installation, limits={**DEFAULT_LIMITS, Limit.FAILURES_TENANT: (Window(2, 3600),)}
    )
    for number in range(10_000, 15_000, 1_000):
        await log_in(installation, number, is_right=True)
    for number in range(50_000, 52_000, 1_000):
        await log_in(installation, number, is_right=False)

    with pytest.raises(RateLimited):
        await log_in(installation, 60_000, is_right=False)


@pytest.mark.parametrize("missing", ["account", "client_ip"])
async def test_a_tenant_can_require_what_the_limits_need(
    installation: Installation, missing: str
) -> None:
    """An issue and a verify without it are refused before anything is charged or compared."""
    change_tenant(installation, requires=frozenset({"client_ip", "account"}))
    given = {name: value for name, value in CLIENT.items() if name != missing}

    with pytest.raises(InvalidRequest) as refusal:
        await installation.issue(**given)
    assert [missing] == [path for path, _ in refusal.value.errors]
    assert [] == await installation.list_keys()
    issued = await installation.issue(**CLIENT)
    with pytest.raises(InvalidRequest) as refusal:
        await installation.verify(issued, installation.router.extract_code(), **given)
    assert [missing] == [path for path, _ in refusal.value.errors]
    await installation.verify(issued, installation.router.extract_code(), **CLIENT)


async def test_every_missing_member_is_named(installation: Installation) -> None:
    change_tenant(installation, requires=frozenset({"client_ip", "account"}))

    with pytest.raises(OtpError) as refusal:
        await installation.issue()

    assert isinstance(refusal.value, InvalidRequest)
    assert ["account", "client_ip"] == [path for path, _ in refusal.value.errors]


async def test_an_operator_resets_the_failures_of_a_tenant_at_every_factor(
    installation: Installation,
) -> None:
    """One bucket for each factor, and one command for all of them."""
    change_tenant(
        installation, limits={**DEFAULT_LIMITS, Limit.FAILURES_TENANT: (Window(1, 3600),)}
    )
    factors = (Factor.AUTHENTICATOR, Factor.RECOVERY_CODE)

    async def charge_factors() -> set[type]:
        outcomes = [await charge_failure(installation, factor) for factor in factors]
        return {type(outcome) for outcome in outcomes}

    assert {Committed} == await charge_factors()
    assert {LimitRefusal} == await charge_factors()

    bucket = Bucket(Limit.FAILURES_TENANT, "shop")
    numbers = NumberService(installation.dependencies)
    await numbers.reset_limit(installation.build_caller(), bucket)

    assert {Committed} == await charge_factors()


async def charge_failure(installation: Installation, factor: Factor) -> CommitOutcome:
    charges = build_factor_caller_charges(installation.tenants["shop"], factor, None)
    commit = Commit(
        partition=installation.store.get_bucket_partition(charges[0].bucket),
        operation_id=f"{factor}-{secrets.token_hex(8)}",
        charges=charges,
    )
    return await installation.store.commit(commit)
