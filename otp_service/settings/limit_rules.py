"""Rules for [limits]: spending caps are required, and a tenant's limits may only be tighter."""

import math
from collections.abc import Iterator, Sequence

from otp_service.core.limits import DEFAULT_LIMITS, SPENDING_CAPS, Limit, Window
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings


TENANT_LIMITS = {
    Limit.SENDS_NUMBER_TENANT,
    Limit.FAILURES_NUMBER,
    Limit.CONSECUTIVE_FAILURES,
    Limit.FAILURES_ACCOUNT,
    Limit.FAILURES_ADDRESS,
    Limit.SENDS_ADDRESS,
    Limit.SENDS_ACCOUNT,
    Limit.SENDS_TENANT,
}
"""The limits whose buckets belong to one tenant. The others have one bucket for all tenants, which
needs one size: with two, one tenant would spend another's budget."""

FIXED_LIMIT_REMEDIES = {
    Limit.COOLDOWN: "is set by policy.cooldown: remove it here",
    Limit.REFUNDS: "is always 3 in 10 min, because a refunded message may have been sent: remove it here",
}


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield the limits that are missing, set in another place, or too loose."""
    for cap in SPENDING_CAPS:
        if settings.mode == "live" and cap not in settings.limits:
            example = ", ".join(f'"{window}"' for window in DEFAULT_LIMITS[cap])
            remedy = f"must be set, like [{example}]: it caps what you pay"
            yield ConfigIssue(f"limits.{cap}", remedy)
    for limit, windows in settings.limits.items():
        yield from _check_limit(f"limits.{limit}", limit, windows)
    for name, table in settings.tenant_settings.items():
        for limit, windows in table.limits.items():
            path, general = f"tenants.{name}.limits.{limit}", settings.effective_limits[limit]
            yield from _check_limit(path, limit, windows)
            if limit not in TENANT_LIMITS | FIXED_LIMIT_REMEDIES.keys():
                remedy = "is one bucket over all tenants: set SendsPerTenant for a share"
                yield ConfigIssue(path, remedy)
            elif limit in TENANT_LIMITS and not _is_as_tight(windows, general):
                remedy = f"is looser than limits.{limit} ({format_windows(general)})"
                yield ConfigIssue(path, remedy)


def _check_limit(path: str, limit: Limit, windows: Sequence[Window]) -> Iterator[ConfigIssue]:
    if limit in FIXED_LIMIT_REMEDIES:
        yield ConfigIssue(path, FIXED_LIMIT_REMEDIES[limit])
    elif limit is Limit.CONSECUTIVE_FAILURES and not _is_failure_window(windows):
        remedy = "must be '1 in 90 d' to '100 in 90 d', the maximum of NIST SP 800-63B-4"
        yield ConfigIssue(path, remedy)
    elif not windows:
        yield ConfigIssue(path, "is empty, which would be no limit: remove it to use the default")


def _is_failure_window(windows: Sequence[Window]) -> bool:
    (maximum,) = DEFAULT_LIMITS[Limit.CONSECUTIVE_FAILURES]
    periods = [window.period_seconds for window in windows]
    return periods == [maximum.period_seconds] and windows[0].count <= maximum.count


def _is_as_tight(inner: Sequence[Window], outer: Sequence[Window]) -> bool:
    """Whether the inner windows never admit what an outer one refuses.

    For each outer window there is an inner one that, repeated over the outer period, admits at
    most as many.
    """

    def is_bounded(window: Window, bound: Window) -> bool:
        repeats = math.ceil(bound.period_seconds / window.period_seconds)
        return window.count * repeats <= bound.count

    return all(any(is_bounded(window, bound) for window in inner) for bound in outer)


def format_windows(windows: Sequence[Window]) -> str:
    """Return the windows in the syntax of the configuration."""
    return ", ".join(str(window) for window in windows)
