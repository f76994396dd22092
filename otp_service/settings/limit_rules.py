"""Rules for [limits]: spending caps are required, and a tenant's limits may only be tighter.

`find_warnings` compares limits with one another: a limit that one subject of another can exhaust
refuses all others.
"""

import math
from collections.abc import Iterator, Sequence

from otp_service.core.limits import (
    ACCOUNT_RECORD_LIMITS,
    CONSECUTIVE_LIMITS,
    DEFAULT_LIMITS,
    SPENDING_CAPS,
    Limit,
    Window,
)
from otp_service.core.tenant_share import SHARE_LIMITS, WHOLE_PERCENT, apply_share, scale_windows
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings


TENANT_LIMITS = {
    Limit.SENDS_NUMBER_TENANT,
    Limit.FAILURES_NUMBER,
    Limit.CONSECUTIVE_FAILURES,
    Limit.FAILURES_ACCOUNT,
    Limit.CONSECUTIVE_FAILURES_ACCOUNT,
    *ACCOUNT_RECORD_LIMITS,
    Limit.FAILURES_ADDRESS,
    Limit.FAILURES_TENANT,
    Limit.SENDS_ADDRESS,
    Limit.SENDS_ACCOUNT,
    Limit.SENDS_TENANT,
    *SHARE_LIMITS,
}
"""The limits whose buckets belong to one tenant. The others have one bucket for all tenants, which
needs one size: with two, one tenant would spend another's budget."""

NESTED_LIMITS = (
    (Limit.SENDS_NUMBER_TENANT, Limit.SENDS_NUMBER, "tenant"),
    (Limit.SENDS_NUMBER, Limit.SENDS_PREFIX, "number"),
    (Limit.SENDS_PREFIX_TENANT, Limit.SENDS_PREFIX, "tenant"),
    (Limit.SENDS_PREFIX, Limit.SENDS_COUNTRY, "prefix"),
    (Limit.SENDS_COUNTRY_TENANT, Limit.SENDS_COUNTRY, "tenant"),
    (Limit.SENDS_COUNTRY, Limit.SENDS_OVERALL, "country"),
    (Limit.SENDS_ADDRESS, Limit.SENDS_TENANT, "address"),
    (Limit.SENDS_ACCOUNT, Limit.SENDS_TENANT, "account"),
    (Limit.FAILURES_NUMBER, Limit.FAILURES_TENANT, "number"),
    (Limit.FAILURES_ACCOUNT, Limit.FAILURES_TENANT, "account"),
    (Limit.AUTHENTICATOR_FAILURES, Limit.FAILURES_TENANT, "account"),
    (Limit.RECOVERY_FAILURES, Limit.FAILURES_TENANT, "account"),
    (Limit.FAILURES_ADDRESS, Limit.FAILURES_TENANT, "address"),
)
"""An inner limit, an outer one that counts the same calls of more subjects, and the inner subject."""

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
    for name in settings.tenant_settings:
        yield from _check_tenant_limits(settings, name)


def _check_tenant_limits(settings: Settings, tenant: str) -> Iterator[ConfigIssue]:
    general = settings.effective_limits
    shares = apply_share(general, settings.limits, settings.get_share_percent(tenant))
    for limit, windows in settings.tenant_settings[tenant].limits.items():
        path = f"tenants.{tenant}.limits.{limit}"
        bound = shares[limit] if limit in SHARE_LIMITS else general[limit]
        yield from _check_limit(path, limit, windows)
        if limit not in TENANT_LIMITS | FIXED_LIMIT_REMEDIES.keys():
            remedy = f"is one bucket over all tenants: set {_name_share(limit)} for a share"
            yield ConfigIssue(path, remedy)
        elif limit in TENANT_LIMITS and not _is_as_tight(windows, bound):
            remedy = f"is looser than limits.{limit} ({format_windows(bound)})"
            yield ConfigIssue(path, remedy)


def find_warnings(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield each limit that admits more than a limit that counts more subjects in the same period.

    For each tenant, it also yields a SendsPerTenant above the tenant's share of SendsOverall.
    """
    general = settings.effective_limits
    for inner, outer, subject in NESTED_LIMITS:
        if inner in SHARE_LIMITS and inner not in settings.limits:
            continue  # it is computed from the outer one
        for window, bound in _find_looser_windows(general[inner], general[outer]):
            remedy = (
                f"has {window}, above limits.{outer} ({bound}): one {subject} can exhaust it for all "
                f"others. Lower {inner} or raise {outer}"
            )
            yield ConfigIssue(f"limits.{inner}", remedy)
    yield from _find_exceeded_shares(settings)


def _find_exceeded_shares(settings: Settings) -> Iterator[ConfigIssue]:
    overall = settings.effective_limits[Limit.SENDS_OVERALL]
    for name, table in settings.tenant_settings.items():
        percent = settings.get_share_percent(name)
        windows = table.limits.get(
            Limit.SENDS_TENANT, settings.effective_limits[Limit.SENDS_TENANT]
        )
        share = scale_windows(overall, percent) if percent < WHOLE_PERCENT else ()
        for window, bound in _find_looser_windows(windows, share):
            remedy = (
                f"has {window}, above the tenant's share of SendsOverall ({percent} %: {bound}), which "
                f"applies. Set tenants.{name}.share_percent if it should be more"
            )
            yield ConfigIssue(f"tenants.{name}.limits.{Limit.SENDS_TENANT}", remedy)


def _find_looser_windows(
    inner: Sequence[Window], outer: Sequence[Window]
) -> Iterator[tuple[Window, Window]]:
    """Yield each pair of windows of the same period of which the inner one admits more."""
    for window in inner:
        for bound in outer:
            if window.period_seconds == bound.period_seconds and window.count > bound.count:
                yield window, bound


def _name_share(limit: Limit) -> Limit:
    """Return the limit that is a tenant's share of another one."""
    shares = (share for share, shared in SHARE_LIMITS.items() if shared is limit)
    return next(shares, Limit.SENDS_TENANT)


def _check_limit(path: str, limit: Limit, windows: Sequence[Window]) -> Iterator[ConfigIssue]:
    if limit in FIXED_LIMIT_REMEDIES:
        yield ConfigIssue(path, FIXED_LIMIT_REMEDIES[limit])
    elif limit in CONSECUTIVE_LIMITS and not _is_failure_window(windows):
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
