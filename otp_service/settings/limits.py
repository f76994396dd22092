"""What limits a configuration may ask for: the caps have to be there, and shares are shares."""

import math
from collections.abc import Iterator, Sequence

from otp_service.core.limits import CAPS, DEFAULTS, NUMBERS_OWN, Kind, Limit, Window
from otp_service.settings.model import Settings
from otp_service.settings.reading import Fault


PER_TENANT = frozenset(
    {
        Limit.SENDS_NUMBER_TENANT,
        Limit.FAILURES_NUMBER,
        Limit.FAILURES_ACCOUNT,
        Limit.FAILURES_ADDRESS,
        Limit.SENDS_ADDRESS,
        Limit.SENDS_ACCOUNT,
        Limit.SENDS_TENANT,
    }
)
"""The limits whose buckets belong to one tenant. The others are one bucket over all tenants: two
sizes of it would let one tenant's arithmetic eat another's budget."""

ELSEWHERE = {
    Limit.COOLDOWN: "is set by policy.cooldown: take it out here",
    Limit.ROW: "is 100, the ceiling of NIST SP 800-63B-4: take it out here",
}

ONLY_TIGHTER = frozenset({Limit.GIVE_BACKS})
"""Each give-back is a message that may have been sent after all (3 in 10 minutes at most)."""

LARGEST_LOG = 1000
"""Exact limits keep every instant: more than this in a bucket costs Redis more than it saves."""


def as_tight(limit: Limit, inner: Sequence[Window], outer: Sequence[Window]) -> bool:
    """Whether the inner windows never let pass what one of the outer ones refuses."""
    implies = _exact_implies if limit.kind is Kind.EXACT else _gcra_implies
    return all(any(implies(window, bound) for window in inner) for bound in outer)


def _exact_implies(window: Window, bound: Window) -> bool:
    return window.count * math.ceil(bound.period / window.period) <= bound.count


def _gcra_implies(window: Window, bound: Window) -> bool:
    """A smaller burst and a slower refill: GCRA's count is its burst, not its sum."""
    slower = window.count * bound.period <= bound.count * window.period
    return window.count <= bound.count and slower


def faults(settings: Settings) -> Iterator[Fault]:
    """Tell which limits are missing, unknown to this place, or looser than they may be."""
    for cap in CAPS:
        if settings.mode == "live" and cap not in settings.limits:
            example = ", ".join(f'"{window}"' for window in DEFAULTS[cap])
            yield Fault(f"limits.{cap}", f"has to be set, like [{example}]: it caps what you pay")
    for limit, windows in settings.limits.items():
        yield from _limit_faults(f"limits.{limit}", limit, windows)
        if limit in ONLY_TIGHTER and not as_tight(limit, windows, DEFAULTS[limit]):
            yield Fault(f"limits.{limit}", f"can only be tighter than {shown(DEFAULTS[limit])}")
    for name, table in settings.tenant_tables.items():
        for limit, windows in table.limits.items():
            path = f"tenants.{name}.limits.{limit}"
            yield from _limit_faults(path, limit, windows)
            yield from _share_faults(path, limit, windows, settings.rates[limit])


def _limit_faults(path: str, limit: Limit, windows: Sequence[Window]) -> Iterator[Fault]:
    if limit in ELSEWHERE:
        yield Fault(path, ELSEWHERE[limit])
    if not windows:
        yield Fault(path, "is empty, which would be no limit: leave it out for the default")
    if limit.kind is Kind.EXACT and any(window.count > LARGEST_LOG for window in windows):
        yield Fault(path, f"is kept exactly: at most {LARGEST_LOG} in a window")


def _share_faults(
    path: str, limit: Limit, windows: Sequence[Window], general: Sequence[Window]
) -> Iterator[Fault]:
    if limit in ELSEWHERE:
        return
    if limit not in PER_TENANT:
        yield Fault(path, "is one bucket over all tenants: a share is set with SendsPerTenant")
    elif not as_tight(limit, windows, general):
        yield Fault(path, f"is looser than limits.{limit} ({shown(general)}): it is a share of it")


def warnings(settings: Settings) -> Iterator[Fault]:
    """Tell which of a number's own limits are looser than their defaults."""
    for limit, windows in settings.limits.items():
        known = limit in NUMBERS_OWN and limit not in ELSEWHERE
        if known and windows and not as_tight(limit, windows, DEFAULTS[limit]):
            yield Fault(f"limits.{limit}", f"is looser than the default, {shown(DEFAULTS[limit])}")


def shown(windows: Sequence[Window]) -> str:
    """Return the windows as the configuration writes them."""
    return ", ".join(str(window) for window in windows)
