"""Calls for fictitious numbers in development and test mode, which relaxed limits do not stop."""

from typing import Any

import msgspec
import pytest

from otp_service.core.errors import IncorrectCode, RateLimited
from otp_service.core.limits import DEFAULT_LIMITS, Limit
from otp_service.core.policy import Policy
from otp_service.core.relaxed_limits import relax_limits
from tests.installation import Installation, make_wrong_code


FICTITIOUS = "+447700900123"
CLIENT: dict[str, Any] = {"account": "u-1", "client_ip": "127.0.0.1"}


@pytest.fixture
def relaxed(installation: Installation) -> Installation:
    """An installation in development, with a cooldown of one second."""
    other = installation.restart(policy=Policy(cooldown=1))
    limits = relax_limits(DEFAULT_LIMITS)
    other.tenants["shop"] = msgspec.structs.replace(other.tenants["shop"], relaxed_limits=limits)
    return other


async def test_a_ci_job_logs_in_again_and_again(relaxed: Installation) -> None:
    """One number, one account and 127.0.0.1: production would refuse the sixth login."""
    for _ in range(40):
        issued = await relaxed.issue(FICTITIOUS, **CLIENT)
        await relaxed.verify(issued, relaxed.router.extract_code(-1), **CLIENT)
        relaxed.advance_clock(30_000)


async def test_a_test_of_wrong_codes_locks_neither_its_number_nor_its_account(
    relaxed: Installation,
) -> None:
    """A hundred failures in a row, without a delay; the next login succeeds."""
    for _ in range(21):
        issued = await relaxed.issue(FICTITIOUS, **CLIENT)
        wrong = make_wrong_code(relaxed.router.extract_code(-1))
        for _ in range(5):
            with pytest.raises(IncorrectCode):
                await relaxed.verify(issued, wrong, **CLIENT)
        relaxed.advance_clock(30_000)

    issued = await relaxed.issue(FICTITIOUS, **CLIENT)
    await relaxed.verify(issued, relaxed.router.extract_code(-1), **CLIENT)


async def test_resends_have_the_relaxed_limits_too(relaxed: Installation) -> None:
    """Three challenges of three sends each: production would refuse the sixth send."""
    for _ in range(3):
        issued = await relaxed.issue(FICTITIOUS, **CLIENT)
        for _ in range(2):
            relaxed.advance_clock(30_000)
            await relaxed.resend(issued)
        relaxed.advance_clock(30_000)


async def test_a_real_number_keeps_the_limits_of_production(relaxed: Installation) -> None:
    """They protect a person, also from a test that names a wrong number."""
    for _ in range(5):
        await relaxed.issue(**CLIENT)
        relaxed.advance_clock(30_000)

    with pytest.raises(RateLimited) as refusal:
        await relaxed.issue(**CLIENT)

    assert Limit.SENDS_NUMBER_TENANT == refusal.value.limit


async def test_the_cooldown_stays(relaxed: Installation) -> None:
    """`policy.cooldown` sets it; a login page has to handle it."""
    await relaxed.issue(FICTITIOUS)

    with pytest.raises(RateLimited) as refusal:
        await relaxed.issue(FICTITIOUS)

    assert Limit.COOLDOWN == refusal.value.limit
