"""The scopes that debts are kept for, named what-per-subject as limits are, and their floors."""

from enum import StrEnum
from typing import Final

import msgspec

from otp_service.core.pumping.prices import MICRO_UNITS, format_use


class BrakeMode(StrEnum):
    """What the brake does for a tenant."""

    OFF = "off"
    RECORD = "record"
    """Every message is sent, and what refuse mode would have refused is recorded."""
    REFUSE = "refuse"


class DebtUnit(StrEnum):
    """What the figures of a scope are.

    Prices of countries differ by a factor of 60, so messages are compared with messages and money with
    money: one message for 0.25 is no 31 messages for 0.008.
    """

    MONEY = "money"
    """Millionths of the currency."""
    MESSAGES = "messages"
    """Millionths of a message, whatever it costs."""
    COUNTRIES = "countries"

    def format_use(self, used: int, allowance: int, currency: str) -> str:
        """Return figures as people read them: '0.64 of 2.00 EUR', '16 of 16 messages', '3 of 3 countries'."""
        match self:
            case DebtUnit.MONEY:
                return format_use(used, allowance, currency)
            case DebtUnit.MESSAGES:
                return f"{_format_messages(used)} of {_format_messages(allowance)} messages"
            case DebtUnit.COUNTRIES:
                return f"{used} of {allowance} countries"


MESSAGE_UNITS: Final = MICRO_UNITS
"""One message where messages are counted. It has parts, because a bot check halves it."""


def _format_messages(amount: int) -> str:
    """Return a number of messages, rounded down to a tenth: a part of a message admits none."""
    return f"{10 * amount // MESSAGE_UNITS / 10:,.1f}".removesuffix(".0")


class DebtLimit(StrEnum):
    """Every scope; the comment names its subject. Ranges and blocks count all tenants.

    A tenant has no budget over all its countries: an attack on one would use it up for the others. It
    has one for its countries without history, which an attacker could otherwise try in turn.

    Volumes are for codes that are checked elsewhere, and for times in which a provider fails: neither
    can verify, so they are compared with the usual volume and never repaid. Ranges and addresses have
    no budget of volume: SendsPerPrefix and SendsPerClientAddress of `core/limits.py` are that.
    """

    UNVERIFIED_RANGE = "UnverifiedPerRange"  # number without its last four digits
    UNVERIFIED_BLOCK = "UnverifiedPerOperatorBlock"  # number without its last five digits
    UNVERIFIED_COUNTRY = "UnverifiedPerCountryAndTenant"  # tenant, libphonenumber region
    UNVERIFIED_NEW_COUNTRIES = "UnverifiedInNewCountriesPerTenant"  # tenant
    UNVERIFIED_ADDRESS = "UnverifiedPerClientAddress"  # tenant, address (/64)
    UNVERIFIED_COUNTRIES = "UnverifiedCountriesPerClientAddress"  # tenant, address (/64)
    VOLUME_COUNTRY = "VolumePerCountryAndTenant"  # tenant, libphonenumber region
    VOLUME_NEW_COUNTRIES = "VolumeInNewCountriesPerTenant"  # tenant
    SPEND_OVERALL = "SpendOverall"  # none: the day's budget, of every message

    @property
    def is_repaid(self) -> bool:
        """Whether a verification takes back what its sends were charged."""
        return self.value.startswith("Unverified")

    @property
    def is_volume(self) -> bool:
        """Whether it counts messages that nothing can verify."""
        return self.value.startswith("Volume")

    @property
    def unit(self) -> DebtUnit:
        """What its figures are."""
        return _UNIT_BY_LIMIT.get(self, DebtUnit.MONEY)


_UNIT_BY_LIMIT: Final = {
    DebtLimit.UNVERIFIED_RANGE: DebtUnit.MESSAGES,
    DebtLimit.UNVERIFIED_BLOCK: DebtUnit.MESSAGES,
    DebtLimit.UNVERIFIED_ADDRESS: DebtUnit.MESSAGES,
    DebtLimit.UNVERIFIED_COUNTRIES: DebtUnit.COUNTRIES,
}
"""Of the narrow scopes. What a country or the whole service may lose is money."""


class ScopeBucket(msgspec.Struct, frozen=True):
    """One limit for one subject; `tenant` is empty if one bucket counts all tenants."""

    limit: DebtLimit
    tenant: str = ""
    subject: str = ""


class Floors(msgspec.Struct, frozen=True):
    """What is admitted without history, in an hour and in a day.

    Those of narrow scopes are messages, those of wide ones are money.
    """

    range_sends: tuple[int, int] = (16, 32)
    block_sends: tuple[int, int] = (32, 80)
    strained_range_sends: tuple[int, int] = (3, 4)
    strained_block_sends: tuple[int, int] = (3, 6)
    """While the country of the tenant is strained."""
    address_sends: tuple[int, int] = (16, 32)
    country_money: tuple[int, int] = (2 * MICRO_UNITS, 10 * MICRO_UNITS)
    new_countries_money: tuple[int, int] = (10 * MICRO_UNITS, 50 * MICRO_UNITS)
    """Of all countries together from which too little has verified to learn from."""
    address_countries: int = 3
    """To which messages from one address went in a day, and of which none has verified."""


DEFAULT_FLOORS: Final = Floors()

RANGE_DIGITS: Final = 4
BLOCK_DIGITS: Final = 5
"""Digits at the end of a number that do not name its operator block: a hundred thousand numbers."""


def derive_block(canonical_number: str) -> str:
    """Return the number without its last five digits."""
    return canonical_number[:-BLOCK_DIGITS]
