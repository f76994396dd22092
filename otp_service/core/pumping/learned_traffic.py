"""What a worker has learned about the traffic of each tenant's countries: one record for all processes.

The worker (`app/brake_sync.py`) computes it once a minute from hourly totals and debts, and each process
reads it. Without a record every scope has its floors alone.
"""

import msgspec

from otp_service.core.pumping.allowance import NO_FIGURES, Figures
from otp_service.core.pumping.send_debts import Outage


class ScopeFigures(msgspec.Struct, frozen=True):
    """What is learned about one country of one tenant."""

    unverified: Figures = NO_FIGURES
    volume: Figures = NO_FIGURES
    """Of deliveries, and of sends during an outage."""
    is_strained: bool = False
    """Whether ranges and blocks have their smaller floors (`allowance.is_strained`)."""
    has_refusals: bool = False
    """Whether its budget has refused a send in this hour or the last one, or would have in record mode."""


_NO_SCOPE_FIGURES = ScopeFigures()


class LearnedTraffic(msgspec.Struct, frozen=True):
    """The record."""

    computed_at: int = 0
    hour: int = 0
    """The hour since 1970 that the totals end before: the figures change with it."""
    scopes: dict[str, ScopeFigures] = {}
    """By `name_scope`."""
    outages: tuple[Outage, ...] = ()
    """Those that last, and those that ended within the last hour."""

    def get(self, tenant: str, country: str) -> ScopeFigures:
        """Return what is learned about a country of a tenant; empty figures if that is nothing."""
        return self.scopes.get(name_scope(tenant, country), _NO_SCOPE_FIGURES)


def name_scope(tenant: str, country: str) -> str:
    """Return the name of a country of a tenant in the record, and in the index of the totals."""
    return f"{tenant} {country}"
