"""The share of one tenant in what all tenants share: a prefix, a country, the whole service.

Without it, one tenant (a bug, SMS pumping) exhausts them for all others. With one tenant the share is
100 %, and the buckets of the share are not charged: they could refuse nothing that the shared bucket
admits.
"""

from collections.abc import Container, Sequence
from typing import Final

from otp_service.core.limits import Limit, LimitTable, Window


DEFAULT_SHARE_PERCENT: Final = 50
WHOLE_PERCENT: Final = 100

SHARE_LIMITS: Final = {
    Limit.SENDS_PREFIX_TENANT: Limit.SENDS_PREFIX,
    Limit.SENDS_COUNTRY_TENANT: Limit.SENDS_COUNTRY,
}
"""The limits on the share of one tenant, each with the limit that it is a share of."""


def apply_share(limits: LimitTable, configured: Container[Limit], percent: int) -> LimitTable:
    """Return the limits of a tenant that has `percent` (1 to 100) of what tenants share.

    A share that is among the `configured` limits keeps its windows. The share of the whole service
    is a part of `Limit.SENDS_TENANT`, because the subject of both is the tenant.
    """
    shares = {
        share: limits[share] if share in configured else scale_windows(limits[shared], percent)
        for share, shared in SHARE_LIMITS.items()
    }
    if percent != WHOLE_PERCENT:
        overall_share = scale_windows(limits[Limit.SENDS_OVERALL], percent)
        shares[Limit.SENDS_TENANT] = _cap_windows(limits[Limit.SENDS_TENANT], overall_share)
    return {**limits, **shares}


def scale_windows(windows: Sequence[Window], percent: int) -> tuple[Window, ...]:
    """Return the windows with `percent` of each count, at least 1."""
    return tuple(
        Window(max(1, window.count * percent // 100), window.period_seconds) for window in windows
    )


def _cap_windows(windows: Sequence[Window], caps: Sequence[Window]) -> tuple[Window, ...]:
    """Return one window for each period of both, with the smaller count."""
    counts: dict[int, int] = {}
    for window in (*windows, *caps):
        period = window.period_seconds
        counts[period] = min(window.count, counts.get(period, window.count))
    return tuple(Window(count, period) for period, count in counts.items())
