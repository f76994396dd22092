"""The price of one message by country, in millionths of a US dollar.

Prices of countries differ by a factor of 60, so budgets are in money: the number of messages that is
harmless in the United States pays for an attack in Madagascar.
"""

from collections.abc import Mapping
from typing import Final


CURRENCY_CODE: Final = "USD"
MICRO_UNITS: Final = 1_000_000
"""The parts of one unit of the currency: every amount is an integer, so that sums are exact."""

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
"""List prices by libphonenumber region. A contract has other ones: settings replace them."""

OTHER_COUNTRY_PRICE: Final = 250_000
"""The price of a country that has no row: rather too high, so that its budget has fewer messages.

Countries that pumping targets cost 0.20 to 0.49, and the cheap ones are in the table.
"""


def find_price(country: str, configured: Mapping[str, int]) -> int:
    """Return the price of a message to a country; a configured price replaces the default."""
    return configured.get(country, DEFAULT_PRICES.get(country, OTHER_COUNTRY_PRICE))
