"""Guesses at an authenticator with the limits in force by default, over simulated days."""

import pytest

from otp_service.core import errors
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
