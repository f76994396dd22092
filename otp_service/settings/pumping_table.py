"""[pumping]: what messages cost, and how much of it may be unverified (docs/pumping.md)."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.prices import (
    DEFAULT_CURRENCY,
    MICRO_UNITS,
    ONE_UNIT,
    Money,
    PriceTable,
)
from otp_service.core.pumping.scopes import DEFAULT_FLOORS, BrakeMode, Floors
from otp_service.core.pumping.send_debts import BrakeSettings
from otp_service.settings.value_types import Count, Currency


DEFAULT_DAY_BUDGET: Final = 1_500 * MICRO_UNITS
"""In millionths of a US dollar, and only outside of live mode, where the budget is required: the cost of
20,000 messages to Germany, which is the limit SendsPerCountry of a day."""

Pair = tuple[int, int]
"""An amount or a number of messages, for an hour and for a day."""


class PumpingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[pumping]: each floor is for an hour and for a day."""

    currency: Currency = DEFAULT_CURRENCY
    """Of every amount of the configuration."""
    usd_rate: Money | None = None
    """What one US dollar costs, for the default prices and floors."""
    day_budget: Money | None = None
    """What all messages of a day may cost. Required in live mode, as the caps in [limits] are."""
    prices: dict[str, Money] = {}
    """By country (libphonenumber region). `prices` of a provider take precedence."""
    country_floor: tuple[Money, ...] = ()
    new_countries_floor: tuple[Money, ...] = ()
    range_floor: tuple[Count, ...] = ()
    block_floor: tuple[Count, ...] = ()

    def build_price_table(self, by_provider: Mapping[str, Mapping[str, Money]]) -> PriceTable:
        return PriceTable(
            currency=self.currency,
            usd_rate=self.usd_rate or ONE_UNIT,
            by_country=_list_amounts(self.prices),
            by_provider={name: _list_amounts(prices) for name, prices in by_provider.items()},
        )

    def build_brake_settings(self, mode: BrakeMode) -> BrakeSettings:
        budget = self.day_budget or self.convert_usd(DEFAULT_DAY_BUDGET)
        return BrakeSettings(budget.micro_units, mode, self.build_floors())

    def build_floors(self) -> Floors:
        """Return the floors in force.

        Those of a strained country are never above those of a calm one.
        """
        filled, default = self.fill_floors(), DEFAULT_FLOORS
        ranges, blocks = _to_pair(filled.range_floor), _to_pair(filled.block_floor)
        return Floors(
            range_sends=ranges,
            block_sends=blocks,
            strained_range_sends=_cap_pair(default.strained_range_sends, ranges),
            strained_block_sends=_cap_pair(default.strained_block_sends, blocks),
            country_money=_to_pair(_list_micro_units(filled.country_floor)),
            new_countries_money=_to_pair(_list_micro_units(filled.new_countries_floor)),
        )

    def fill_floors(self) -> "PumpingSettings":
        """Return these settings with the default of each floor that is not configured."""
        default = DEFAULT_FLOORS
        return replace(
            self,
            country_floor=self.country_floor or self._convert_pair(default.country_money),
            new_countries_floor=self.new_countries_floor
            or self._convert_pair(default.new_countries_money),
            range_floor=self.range_floor or default.range_sends,
            block_floor=self.block_floor or default.block_sends,
        )

    def convert_usd(self, micro_usd: int) -> Money:
        """Return an amount of US dollars in the currency."""
        return Money(self.build_price_table({}).convert_usd(micro_usd))

    def _convert_pair(self, pair: Pair) -> tuple[Money, Money]:
        return self.convert_usd(pair[0]), self.convert_usd(pair[1])


def _to_pair(values: Sequence[int]) -> Pair:
    """Return a value for an hour and one for a day. Raises ValueError for another number of values."""
    hour, day = values
    return hour, day


def _cap_pair(pair: Pair, bound: Pair) -> Pair:
    return min(pair[0], bound[0]), min(pair[1], bound[1])


def _list_micro_units(amounts: Sequence[Money]) -> list[int]:
    return [amount.micro_units for amount in amounts]


def _list_amounts(prices: Mapping[str, Money]) -> dict[str, int]:
    return {country: price.micro_units for country, price in prices.items()}
