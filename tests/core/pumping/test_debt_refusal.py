"""What a caller reads when the brake refuses."""

import pytest

from otp_service.core.commit import OverDebt
from otp_service.core.pumping.decision import DebtRefusal
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import HOUR_MS


@pytest.mark.parametrize(
    ("limit", "allowance", "detail"),
    [
        (DebtLimit.UNVERIFIED_RANGE, 640_000, "Too many messages were not verified."),
        (DebtLimit.UNVERIFIED_RANGE, 0, "An operator has closed this limit."),
        (DebtLimit.VOLUME_COUNTRY, 640_000, "More messages were sent than usual."),
        (DebtLimit.SPEND_OVERALL, 640_000, "The budget of the day is spent."),
    ],
)
def test_the_detail_says_what_is_used_up(limit: DebtLimit, allowance: int, detail: str) -> None:
    """Messages that nobody can verify, or a closed scope, are not 'not verified'."""
    refusal = DebtRefusal(ScopeBucket(limit, "shop", "GB"), 640_000, allowance, HOUR_MS)

    error = OverDebt(refusal, price=40_000, wait_ms=1000).to_error()

    assert f"{detail} Wait for the seconds in Retry-After." == str(error)
