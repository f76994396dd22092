"""What limits a configuration may ask for: the caps have to be there, and shares are shares."""

import math
from collections.abc import Iterator, Sequence

from otp_service.core.limits import DEFAULT_LIMITS, SPENDING_CAPS, Limit, Window
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings


TENANT_LIMITS = frozenset(
    {
        Limit.SENDS_NUMBER_TENANT,
        Limit.FAILURES_NUMBER,
        Limit.CONSECUTIVE_FAILURES,
        Limit.FAILURES_ACCOUNT,
        Limit.FAILURES_ADDRESS,
        Limit.SENDS_ADDRESS,
        Limit.SENDS_ACCOUNT,
        Limit.SENDS_TENANT,
    }
)
"""The limits whose buckets belong to one tenant. The others are one bucket over all tenants: two
sizes of it would let one tenant's arithmetic eat another's budget."""

FIXED_LIMIT_REMEDIES = {
    Limit.COOLDOWN: "is set by policy.cooldown: take it out here",
    Limit.REFUNDS: "is 3 in 10 min, for each may have been sent after all: take it out here",
}


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Tell which limits are missing, set elsewhere, or looser than they may be."""
    for cap in SPENDING_CAPS:
        if settings.mode == "live" and cap not in settings.limits:
            example = ", ".join(f'"{window}"' for window in DEFAULT_LIMITS[cap])
            yield ConfigIssue(
                f"limits.{cap}", f"has to be set, like [{example}]: it caps what you pay"
            )
    for limit, windows in settings.limits.items():
        yield from _check_limit(f"limits.{limit}", limit, windows)
    for name, table in settings.tenant_settings.items():
        for limit, windows in table.limits.items():
            path, general = f"tenants.{name}.limits.{limit}", settings.effective_limits[limit]
            yield from _check_limit(path, limit, windows)
            if limit not in TENANT_LIMITS | FIXED_LIMIT_REMEDIES.keys():
                yield ConfigIssue(path, "is one bucket over all tenants: SendsPerTenant is a share")
            elif limit in TENANT_LIMITS and not _is_as_tight(windows, general):
                yield ConfigIssue(
                    path, f"is looser than limits.{limit} ({format_windows(general)})"
                )


def _check_limit(path: str, limit: Limit, windows: Sequence[Window]) -> Iterator[ConfigIssue]:
    if limit in FIXED_LIMIT_REMEDIES:
        yield ConfigIssue(path, FIXED_LIMIT_REMEDIES[limit])
    elif limit is Limit.CONSECUTIVE_FAILURES and not _is_failure_window(windows):
        yield ConfigIssue(
            path, "is one of '1 in 90 d' to '100 in 90 d', the ceiling of NIST SP 800-63B-4"
        )
    elif not windows:
        yield ConfigIssue(path, "is empty, which would be no limit: leave it out for the default")


def _is_failure_window(windows: Sequence[Window]) -> bool:
    (most,) = DEFAULT_LIMITS[Limit.CONSECUTIVE_FAILURES]
    return (
        len(windows) == 1
        and windows[0].period_seconds == most.period_seconds
        and windows[0].count <= most.count
    )


def _is_as_tight(inner: Sequence[Window], outer: Sequence[Window]) -> bool:
    """Whether the inner windows never let pass what one of the outer ones refuses.

    That is so where those of the inner ones that fit into an outer one admit no more in all.
    """
    return all(
        any(
            one.count * math.ceil(bound.period_seconds / one.period_seconds) <= bound.count
            for one in inner
        )
        for bound in outer
    )


def format_windows(windows: Sequence[Window]) -> str:
    """Return the windows as the configuration writes them."""
    return ", ".join(str(window) for window in windows)
