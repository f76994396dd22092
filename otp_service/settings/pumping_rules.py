"""Rules for [pumping], for the prices of providers, and for what tenants do with the brake."""

from collections.abc import Iterator, Mapping
from itertools import chain

from otp_service.core.pumping.prices import DEFAULT_CURRENCY, MICRO_UNITS, Money, format_money
from otp_service.core.pumping.scopes import BrakeMode
from otp_service.core.tenant import Scope
from otp_service.settings.country_codes import describe_unknown_countries
from otp_service.settings.decode import ConfigIssue, build_issues
from otp_service.settings.model import Settings
from otp_service.settings.pumping_table import DEFAULT_DAY_BUDGET, PumpingSettings
from otp_service.settings.tenant_tables import SCOPES_WITHOUT_SENDS


FLOOR_PERIODS = 2
"""Of an hour, then of a day."""

MAX_PLAUSIBLE_USD = 2 * MICRO_UNITS
"""Four times the highest list price in millionths of a US dollar: more is mostly a price in cents."""

BUDGET_REMEDY = (
    "must be set, like {}: what all messages of a day may cost, in {}. Once it is spent nothing is sent, "
    "so set it to the worst day that you would pay for (docs/pumping.md)"
)
SMALL_BUDGET_REMEDY = (
    "is {}, below the {} that the floors of new countries let pass in a day: an attack within them would "
    "use it up, and nothing is sent for the rest of the day. Raise it, or lower pumping.new_countries_floor"
)
WIDE_RANGE_REMEDY = (
    "is {}, above the {} of pumping.block_floor: a block has ten ranges, and refuses before this one does. "
    "Lower it, or raise pumping.block_floor"
)
RATE_REMEDY = (
    "is missing: what one US dollar costs in {}, like 0.92. The default prices are in US dollars"
)
NO_RATE_REMEDY = (
    "has no effect: amounts are in US dollars. Set pumping.currency too, or leave it out"
)
PRICE_REMEDY = "is {} for one message: write it in units of the currency, like 0.075"
OFF_REMEDY = 'is "off": no budget bounds what its messages cost. "record" refuses only beyond the budget of a day'
DELIVERY_REMEDY = (
    'is "refuse", and its keys only deliver: codes that are checked elsewhere never verify here, so they '
    "are compared with their usual volume, and a launch may be refused (docs/pumping.md)"
)


def find_errors(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield what is missing, unknown or contradictory."""
    pumping = settings.pumping
    if settings.mode == "live" and pumping.day_budget is None and _list_braked_tenants(settings):
        example = pumping.convert_usd(DEFAULT_DAY_BUDGET)
        yield ConfigIssue("pumping.day_budget", BUDGET_REMEDY.format(example, pumping.currency))
    yield from build_issues("pumping", _find_rate_errors(pumping))
    yield from build_issues("pumping", find_floor_errors(pumping))
    for path, prices in _list_price_tables(settings):
        if unknown := describe_unknown_countries(prices):
            yield ConfigIssue(path, f"has {unknown}: use ISO 3166 codes like GB")


def find_warnings(settings: Settings) -> Iterator[ConfigIssue]:
    """Yield a budget that floors use up, a floor without effect, prices in cents, and modes that do not
    suit their tenant.
    """
    if not find_floor_errors(settings.pumping):
        yield from _find_small_budget(settings)
        yield from _find_wide_range(settings.pumping)
    highest, currency = settings.pumping.convert_usd(MAX_PLAUSIBLE_USD), settings.pumping.currency
    for path, prices in _list_price_tables(settings):
        for country, price in prices.items():
            if price > highest:
                remedy = PRICE_REMEDY.format(format_money(price.micro_units, currency))
                yield ConfigIssue(f"{path}.{country}", remedy)
    for name in sorted(settings.sending_tenants):
        mode = settings.tenant_settings[name].pumping
        if mode is BrakeMode.OFF and settings.mode == "live":
            yield ConfigIssue(f"tenants.{name}.pumping", OFF_REMEDY)
        if mode is BrakeMode.REFUSE and _only_delivers(settings, name):
            yield ConfigIssue(f"tenants.{name}.pumping", DELIVERY_REMEDY)


def _find_rate_errors(pumping: PumpingSettings) -> Iterator[tuple[str, str]]:
    is_default = pumping.currency == DEFAULT_CURRENCY
    if is_default and pumping.usd_rate is not None:
        yield "usd_rate", NO_RATE_REMEDY
    if not is_default and pumping.usd_rate is None:
        yield "usd_rate", RATE_REMEDY.format(pumping.currency)


def find_floor_errors(pumping: PumpingSettings) -> list[tuple[str, str]]:
    """Return the error of each floor that is not one for an hour and at least as much for a day."""
    errors = []
    for name in (name for name in pumping.__struct_fields__ if name.endswith("_floor")):
        floor = getattr(pumping, name)
        if floor and len(floor) != FLOOR_PERIODS:
            errors.append((name, "must be two values: of an hour, and of a day"))
        elif floor and floor[0] > floor[1]:
            errors.append(
                (name, "has less for a day than for an hour: write that of the hour first")
            )
    return errors


def _find_small_budget(settings: Settings) -> Iterator[ConfigIssue]:
    budget = settings.pumping.day_budget
    floor = settings.pumping.build_floors().new_countries_money[1]
    passing = floor * len(_list_braked_tenants(settings))
    if budget is not None and budget.micro_units < passing:
        currency = settings.pumping.currency
        amounts = (format_money(amount, currency) for amount in (budget.micro_units, passing))
        remedy = SMALL_BUDGET_REMEDY.format(*amounts)
        yield ConfigIssue("pumping.day_budget", remedy)


def _find_wide_range(pumping: PumpingSettings) -> Iterator[ConfigIssue]:
    floors = pumping.build_floors()
    pairs = zip(floors.range_sends, floors.block_sends, strict=True)
    if any(of_range > of_block for of_range, of_block in pairs):
        texts = (f"{hour}, {day}" for hour, day in (floors.range_sends, floors.block_sends))
        yield ConfigIssue("pumping.range_floor", WIDE_RANGE_REMEDY.format(*texts))


def _list_braked_tenants(settings: Settings) -> list[str]:
    """Return the tenants that can send, and for which the brake is not off."""
    tables = settings.tenant_settings
    return [name for name in settings.sending_tenants if tables[name].pumping is not BrakeMode.OFF]


def _list_price_tables(settings: Settings) -> Iterator[tuple[str, Mapping[str, Money]]]:
    """Yield each table of prices with its path."""
    yield "pumping.prices", settings.pumping.prices
    for name, provider in settings.providers.items():
        yield f"providers.{name}.prices", provider.prices


def _only_delivers(settings: Settings, tenant: str) -> bool:
    """Whether every send of a tenant is of a code that another product checks."""
    keys = settings.tenant_settings[tenant].keys
    scopes = frozenset(chain.from_iterable(key.scopes for key in keys)) - SCOPES_WITHOUT_SENDS
    return scopes <= {Scope.DELIVER}
