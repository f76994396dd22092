"""What limits a configuration may ask for: the caps have to be there, and shares are shares."""

import math
from collections.abc import Iterator, Sequence

from otp_service.core.limits import CAPS, DEFAULTS, Limit, Window
from otp_service.settings.decode import Fault
from otp_service.settings.model import Settings


PER_TENANT = frozenset(
    {
        Limit.SENDS_NUMBER_TENANT,
        Limit.FAILURES_NUMBER,
        Limit.ROW,
        Limit.FAILURES_ACCOUNT,
        Limit.FAILURES_ADDRESS,
        Limit.SENDS_ADDRESS,
        Limit.SENDS_ACCOUNT,
        Limit.SENDS_TENANT,
    }
)
"""The limits whose buckets belong to one tenant. The others are one bucket over all tenants: two
sizes of it would let one tenant's arithmetic eat another's budget."""

FIXED = {
    Limit.COOLDOWN: "is set by policy.cooldown: take it out here",
    Limit.GIVE_BACKS: "is 3 in 10 min, for each may have been sent after all: take it out here",
}


def faults(settings: Settings) -> Iterator[Fault]:
    """Tell which limits are missing, set elsewhere, or looser than they may be."""
    for cap in CAPS:
        if settings.mode == "live" and cap not in settings.limits:
            example = ", ".join(f'"{window}"' for window in DEFAULTS[cap])
            yield Fault(f"limits.{cap}", f"has to be set, like [{example}]: it caps what you pay")
    for limit, windows in settings.limits.items():
        yield from _limit_faults(f"limits.{limit}", limit, windows)
    for name, table in settings.tenant_tables.items():
        for limit, windows in table.limits.items():
            path, general = f"tenants.{name}.limits.{limit}", settings.rates[limit]
            yield from _limit_faults(path, limit, windows)
            if limit not in PER_TENANT | FIXED.keys():
                yield Fault(path, "is one bucket over all tenants: SendsPerTenant is a share")
            elif limit in PER_TENANT and not _as_tight(windows, general):
                yield Fault(path, f"is looser than limits.{limit} ({shown(general)})")


def _limit_faults(path: str, limit: Limit, windows: Sequence[Window]) -> Iterator[Fault]:
    if limit in FIXED:
        yield Fault(path, FIXED[limit])
    elif limit is Limit.ROW and not _is_row(windows):
        yield Fault(
            path, "is one of '1 in 90 d' to '100 in 90 d', the ceiling of NIST SP 800-63B-4"
        )
    elif not windows:
        yield Fault(path, "is empty, which would be no limit: leave it out for the default")


def _is_row(windows: Sequence[Window]) -> bool:
    (most,) = DEFAULTS[Limit.ROW]
    return len(windows) == 1 and windows[0].period == most.period and windows[0].count <= most.count


def _as_tight(inner: Sequence[Window], outer: Sequence[Window]) -> bool:
    """Whether the inner windows never let pass what one of the outer ones refuses.

    That is so where those of the inner ones that fit into an outer one admit no more in all.
    """
    return all(
        any(one.count * math.ceil(bound.period / one.period) <= bound.count for one in inner)
        for bound in outer
    )


def shown(windows: Sequence[Window]) -> str:
    """Return the windows as the configuration writes them."""
    return ", ".join(str(window) for window in windows)
