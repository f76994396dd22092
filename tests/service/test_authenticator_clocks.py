"""The clock of Redis is ahead for a while, and is set back: what a code of an app is worth then."""

import pytest

from otp_service.core import errors
from tests.installation import HOUR_MS, MINUTE_MS, SECOND_MS, Installation
from tests.service.app_user import AppUser, empty, pass_time


async def touch_partition(user: AppUser) -> None:
    """Commit something in the partition of the account, which changes nothing of its authenticator."""
    token, secret = user.token, user.secret
    await user.create()
    user.token, user.secret = token, secret


async def expect_short_wait(user: AppUser, code: str) -> None:
    """Send a code that may have been used before, and wait as long as the answer says."""
    with pytest.raises(errors.RateLimited) as caught:
        await user.verify(code)
    assert "CodesAfterDataLoss" == caught.value.limit
    assert caught.value.retry_after <= 60
    user.installation.advance_clock(caught.value.retry_after * SECOND_MS)


@pytest.mark.parametrize("hours", [1, 12, 26])
async def test_an_epoch_that_began_in_the_future_delays_logins_by_a_minute_at_most(
    installation: Installation, hours: int
) -> None:
    """A machine starts Redis before its clock is right, for example with local time as UTC."""
    user = AppUser(installation)
    await user.enroll()
    installation.advance_clock(hours * HOUR_MS)
    await empty(installation)
    await touch_partition(user)
    installation.advance_clock(-hours * HOUR_MS)

    await expect_short_wait(user, await user.read_code(1))

    await user.verify(await user.read_code())


async def test_no_code_is_accepted_twice_because_the_clock_was_ahead(
    installation: Installation,
) -> None:
    """Its last step expired before its time: the correction of the clock counts as a loss of data."""
    user = AppUser(installation)
    await user.enroll()
    code = await user.read_new_code()
    await user.verify(code)
    await pass_time(installation, HOUR_MS)
    await touch_partition(user)
    installation.advance_clock(-HOUR_MS)

    await expect_short_wait(user, code)

    with pytest.raises((errors.CodeAlreadyUsed, errors.IncorrectCode)):
        await user.verify(code)
    await user.verify(await user.read_code())


async def test_a_small_correction_of_the_clock_delays_no_login(installation: Installation) -> None:
    """Records outlive the last match of a code by minutes, so nothing was lost."""
    user = AppUser(installation)
    await user.enroll()
    await user.start_step(10)
    installation.advance_clock(MINUTE_MS // 2)
    await touch_partition(user)
    installation.advance_clock(-MINUTE_MS // 2)

    await user.verify(await user.read_code())
