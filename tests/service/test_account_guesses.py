"""Guesses at one account: ten in any hour."""

from itertools import count

import msgspec
import pytest

from otp_service.core.errors import IncorrectCode, RateLimited
from otp_service.core.limits import DEFAULT_LIMITS, Limit, Window
from tests.installation import HOUR_MS, MINUTE_MS, Installation, make_wrong_code


NUMBERS = (f"+4474001{i:05d}" for i in count())
"""Numbers of the account, each used once, so that no limit of a number refuses."""


@pytest.fixture
def installation(installation: Installation) -> Installation:
    """Return an installation at which only failures are limited."""
    sends = {limit: (Window(1000, 3600),) for limit in Limit if limit.startswith("Sends")}
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits={**DEFAULT_LIMITS, **sends}
    )
    return installation


async def guess(installation: Installation, **fields: str) -> bool:
    """Enter a wrong code for a new challenge of the account. Return whether it was compared."""
    issued = await installation.issue(next(NUMBERS), account="u-81")
    wrong = make_wrong_code(installation.router.extract_code())
    try:
        await installation.verify(issued, wrong, **fields)
    except IncorrectCode:
        return True
    except RateLimited:
        return False
    raise AssertionError


async def test_an_account_has_ten_guesses_in_any_hour(installation: Installation) -> None:
    """R17: a burst of ten is followed by none until an hour after the first of them."""
    compared_at: list[int] = []
    for minute in range(0, 130, 5):
        tries = 10 if minute == 0 else 1
        compared_at += [minute for _ in range(tries) if await guess(installation)]
        installation.advance_clock(5 * MINUTE_MS)

    for minute in range(130 - HOUR_MS // MINUTE_MS):
        in_hour = [m for m in compared_at if minute <= m < minute + HOUR_MS // MINUTE_MS]
        assert 10 >= len(in_hour)
    assert [0] * 10 == compared_at[:10]
    assert 60 == compared_at[10]
