"""What a worker has learned about the traffic of each tenant's countries: one record for all processes.

The worker (`app/brake_sync.py`) computes it once a minute from hourly totals and debts, and each process
reads it. Without a record every scope has its floors alone.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.allowance import (
    NO_FIGURES,
    Figures,
    Terms,
    compute_allowance,
    is_strained,
)
from otp_service.core.pumping.debt import Debt, settle_debt
from otp_service.core.pumping.send_debts import BrakeSettings, Outage
from otp_service.core.pumping.usual_traffic import (
    DEFAULT_LEARNING,
    HourTotals,
    Learning,
    learn_figures,
    learn_volume_figures,
)


class ScopeFigures(msgspec.Struct, frozen=True):
    """What is learned about one country of one tenant."""

    unverified: Figures = NO_FIGURES
    volume: Figures = NO_FIGURES
    """Of deliveries, and of sends during an outage."""
    is_strained: bool = False
    """Whether ranges and blocks have their smaller floors (`allowance.is_strained`)."""
    has_refusals: bool = False
    """Whether its budget has refused a send in this hour or the last one, or would have in record mode."""
    debt: tuple[int, int] = (0, 0)
    """What was unverified when this was computed, for each of `debt.PERIODS_MS`."""
    allowance: tuple[int, int] = (0, 0)
    """How much was allowed then."""


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
    day_spend: int = 0
    """The price of all messages that counted in the budget of the day."""

    def get(self, tenant: str, country: str) -> ScopeFigures:
        """Return what is learned about a country of a tenant; empty figures if that is nothing."""
        return self.scopes.get(name_scope(tenant, country), _NO_SCOPE_FIGURES)


def name_scope(tenant: str, country: str) -> str:
    """Return the name of a country of a tenant in the record, and in the index of the totals."""
    return f"{tenant} {country}"


def learn_traffic(
    totals: Mapping[str, Sequence[HourTotals]],
    find_price: Callable[[str], int],
    learning: Learning = DEFAULT_LEARNING,
) -> dict[str, ScopeFigures]:
    """Return the figures of each scope. Its totals are those of the last HISTORY_DAYS, oldest first.

    `find_price` returns the price of a message to a country.
    """
    learned = {}
    for name, hours in totals.items():
        price = find_price(parse_country(name))
        learned[name] = ScopeFigures(
            learn_figures(hours, price, learning), learn_volume_figures(hours)
        )
    return learned


def measure_scope(
    scope: ScopeFigures, debt: Debt, price: int, settings: BrakeSettings, now: int
) -> ScopeFigures:
    """Return the figures with how strained a country of a tenant is; `debt` is its bucket."""
    terms = Terms(settings.floors.country_money, scope.unverified, settings.deviations)
    settled = settle_debt(debt, now)
    hour, day = (
        (sum(window.unverified), compute_allowance(terms, index, sum(window.verified), price))
        for index, window in enumerate(settled.windows)
    )
    return replace(
        scope,
        is_strained=is_strained(terms, settled, price, settings.strained_parts),
        debt=(hour[0], day[0]),
        allowance=(hour[1], day[1]),
    )


def parse_country(scope_name: str) -> str:
    """Return the country in a name of `name_scope`."""
    return scope_name.rpartition(" ")[2]


def parse_tenant(scope_name: str) -> str:
    """Return the tenant in a name of `name_scope`."""
    return scope_name.rpartition(" ")[0]
