"""Guesses at an authenticator with the limits in force by default, over simulated days."""

import msgspec
import pytest

from otp_service.core import errors
from otp_service.core.limits import Limit, Window
from tests.installation import DAY_MS, MINUTE_MS, Installation
from tests.service.app_user import AppUser


MAX_CONSECUTIVE_FAILURES = 100
MAX_FAILURES_A_DAY = 20


async def guess(user: AppUser) -> bool:
    """Send a wrong code for a new enrolment. Return whether it was compared."""
    await user.create()
    try:
        await user.confirm(await user.read_wrong_code())
    except errors.IncorrectCode:
        return True
    except errors.RateLimited:
        return False
    raise AssertionError


async def test_an_attacker_without_pause_has_twenty_guesses_a_day(
    installation: Installation,
) -> None:
    """3 of a million codes are right at a time: 20 guesses a day are a chance of 0.006 %."""
    user = AppUser(installation)
    compared = 0
    for _ in range(2 * DAY_MS // (15 * MINUTE_MS)):
        compared += await guess(user)
        installation.advance_clock(15 * MINUTE_MS)

    assert MAX_FAILURES_A_DAY <= compared <= 2 * MAX_FAILURES_A_DAY


async def test_a_hundred_failures_over_days_lock_the_account_for_good(
    installation: Installation,
) -> None:
    """NIST SP 800-63B-4 §3.2.2. Neither a right code nor time ends the lock, and an operator does."""
    user = AppUser(installation)
    await user.enroll()
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        installation.advance_clock(75 * MINUTE_MS)
        with pytest.raises(errors.IncorrectCode):
            await user.verify(await user.read_wrong_code())

    for days in (0, 1, 30):
        installation.advance_clock(days * DAY_MS)
        with pytest.raises(errors.AccountLocked):
            await user.verify(await user.read_code())
    caller = installation.build_caller("shop")
    await installation.service.accounts.unlock_account(caller, "shop", user.account)

    await user.verify(await user.read_code())


async def test_a_new_enrolment_between_guesses_does_not_keep_the_lock_away(
    installation: Installation,
) -> None:
    """An attacker with the password can enrol and confirm at will: the secret is theirs."""
    user = AppUser(installation)
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        installation.advance_clock(75 * MINUTE_MS)
        await user.enroll()
        installation.advance_clock(75 * MINUTE_MS)
        with pytest.raises(errors.IncorrectCode):
            await user.verify(await user.read_wrong_code())

    installation.advance_clock(75 * MINUTE_MS)
    with pytest.raises(errors.AccountLocked):
        await user.verify(await user.read_code())


async def test_a_confirm_keeps_the_growing_delay(installation: Installation) -> None:
    """It restores the time of the failure before it: the delay neither ends nor grows."""
    user = AppUser(installation)
    for _ in range(10):
        installation.advance_clock(75 * MINUTE_MS)
        await user.create()
        with pytest.raises(errors.IncorrectCode):
            await user.confirm(await user.read_wrong_code())
    installation.advance_clock(75 * MINUTE_MS)
    await user.enroll()

    with pytest.raises(errors.IncorrectCode):
        await user.verify(await user.read_wrong_code())
    with pytest.raises(errors.RateLimited) as caught:
        await user.verify(await user.read_code(1))
    assert Limit.CONSECUTIVE_AUTHENTICATOR_FAILURES == caught.value.limit


async def test_a_confirm_takes_no_failure_from_the_tenant(installation: Installation) -> None:
    """R21: else free enrolments make room for guesses at other accounts."""
    tenant = installation.tenants["shop"]
    limits = {**tenant.limits, Limit.FAILURES_TENANT: (Window(3, 3600),)}
    installation.tenants["shop"] = msgspec.structs.replace(tenant, limits=limits)
    for number in range(3):
        guesser = AppUser(installation, f"u-{number}")
        await guesser.create()
        await guesser.confirm(await guesser.read_code())
        with pytest.raises(errors.IncorrectCode):
            await guesser.confirm(await guesser.read_wrong_code())

    other = AppUser(installation, "u-81")
    await other.create()
    with pytest.raises(errors.RateLimited) as caught:
        await other.confirm(await other.read_code())
    assert Limit.FAILURES_TENANT == caught.value.limit


async def test_a_confirm_gets_its_own_charges_back(installation: Installation) -> None:
    """Nothing of a right code stays charged: any number of enrolments is free."""
    for _ in range(12):
        await AppUser(installation).enroll()

    assert [] == await installation.list_keys("*:limit:*")
