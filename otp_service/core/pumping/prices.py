"""The price of one message by country: of a provider, of the settings, or of a default table.

Prices of countries differ by a factor of 60, so the budgets of countries are in money: the number of
messages that is harmless in the United States pays for an attack in Madagascar. Amounts are integers, in
millionths of one currency for the whole service.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec


DEFAULT_CURRENCY: Final = "USD"
"""The currency of DEFAULT_PRICES: a code of ISO 4217."""
MICRO_UNITS: Final = 1_000_000
"""The parts of one unit of the currency: every amount is an integer, so that sums are exact."""
MAX_MONEY_UNITS: Final = 1_000_000_000
"""The highest amount of a setting. Redis adds in doubles, which are exact to nine times as much."""

MONEY_RULE: Final = (
    "must be an amount of money like 0.075: over 0, at most 1000000000, exact to a millionth"
)

PRICES_CHECKED_ON: Final = "2026-03"
"""The newest of the sources: a notice of Alibaba Cloud (2025-03) and sendapi.co (2026-03)."""

DEFAULT_PRICES: Final[Mapping[str, int]] = {
    "BZ": 250_000,
    "DE": 75_000,
    "EG": 370_000,
    "FR": 65_000,
    "GA": 280_000,
    "GB": 40_000,
    "HT": 350_000,
    "ID": 360_000,
    "IN": 9_000,  # its domestic route
    "IR": 340_000,
    "JO": 400_000,
    "KG": 330_000,
    "MG": 490_000,
    "ML": 220_000,
    "MV": 250_000,
    "PH": 200_000,
    "RS": 310_000,
    "US": 8_000,
    "ZA": 28_000,
}
"""List prices by libphonenumber region, in millionths of a US dollar. A contract has other ones:
settings replace them."""

OTHER_COUNTRY_PRICE: Final = 250_000
"""The price of a country that has no row: rather too high, so that its budget has fewer messages.

Countries that pumping targets cost 0.20 to 0.49, and the cheap ones are in the table.
"""


class Money(msgspec.Struct, frozen=True, order=True):
    """An amount of the currency, more than 0 and at most MAX_MONEY_UNITS."""

    micro_units: int

    @classmethod
    def from_number(cls, value: object) -> "Money":
        """Return the amount of a number or its text. Raises ValueError with the rule.

        A float is read by its shortest decimal form: 0.075 is exactly 75,000 millionths.
        """
        try:
            amount = Decimal(str(value)) * MICRO_UNITS
            is_valid = 0 < amount <= MAX_MONEY_UNITS * MICRO_UNITS and amount % 1 == 0
        except InvalidOperation:  # no number
            is_valid = False
        if not is_valid:
            raise ValueError(MONEY_RULE)
        return cls(int(amount))

    def __str__(self) -> str:
        """Return the amount in units of the currency, without zeros at its end."""
        units, rest = divmod(self.micro_units, MICRO_UNITS)
        return f"{units}.{rest:06}".rstrip("0").rstrip(".")


def format_money(amount: int, currency: str) -> str:
    """Return an amount with all its digits and the code of its currency: '0.075 EUR'."""
    return f"{_format_digits(amount)} {currency}"


def format_use(used: int, allowance: int, currency: str) -> str:
    """Return an amount of its allowance: '0.64 of 2.00 EUR'."""
    return f"{_format_digits(used)} of {format_estimate(allowance, currency)}"


def format_estimate(amount: int, currency: str) -> str:
    """Return an amount that was computed from shares: from a unit on, its hundredths, rounded half up."""
    if amount >= MICRO_UNITS:
        hundredth = MICRO_UNITS // 100
        amount = (amount + hundredth // 2) // hundredth * hundredth
    return format_money(amount, currency)


def _format_digits(amount: int) -> str:
    """Return an amount in units, with at least two digits after the point.

    A float would lose some: 0.075 is a little less than that.
    """
    units, rest = divmod(abs(amount), MICRO_UNITS)
    sign, digits = "-" if amount < 0 else "", f"{rest:06}".rstrip("0")
    return f"{sign}{units:,}.{digits:0<2}"


ONE_UNIT: Final = Money(MICRO_UNITS)


class PriceSource(StrEnum):
    """Where a price is from, the most specific one first."""

    PROVIDER = "provider"
    SETTINGS = "settings"
    DEFAULT = "default"
    OTHER_COUNTRY = "other country"
    """No table has the country."""


class Price(NamedTuple):
    """What one message costs, in millionths of the currency, and where that is from."""

    micro_units: int
    source: PriceSource


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of one message, by country and provider."""

    currency: str = DEFAULT_CURRENCY
    usd_rate: Money = ONE_UNIT
    """What one US dollar costs in this currency, for the default prices."""
    by_country: Mapping[str, int] = {}
    """The configured prices, whichever provider sends."""
    by_provider: Mapping[str, Mapping[str, int]] = {}
    """The prices of a provider's contract, by the name of the provider and the country."""

    def find_price(self, country: str, provider: str | None = None) -> int:
        """Return the price of a message to a country, in millionths of the currency."""
        return self.look_up(country, provider).micro_units

    def look_up(self, country: str, provider: str | None = None) -> Price:
        """Return the price of a message to a country, with its source."""
        of_provider = self.by_provider.get(provider, {}) if provider else {}
        if country in of_provider:
            return Price(of_provider[country], PriceSource.PROVIDER)
        if country in self.by_country:
            return Price(self.by_country[country], PriceSource.SETTINGS)
        if country in DEFAULT_PRICES:
            return Price(self.convert_usd(DEFAULT_PRICES[country]), PriceSource.DEFAULT)
        return Price(self.convert_usd(OTHER_COUNTRY_PRICE), PriceSource.OTHER_COUNTRY)

    def convert_usd(self, micro_usd: int) -> int:
        """Return an amount of US dollars in this currency: rounded, and at least one millionth."""
        return max(1, (micro_usd * self.usd_rate.micro_units + MICRO_UNITS // 2) // MICRO_UNITS)


DEFAULT_PRICE_TABLE: Final = PriceTable()
