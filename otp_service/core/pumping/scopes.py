"""The scopes that debts are kept for, named what-per-subject as limits are, and their floors."""

from enum import StrEnum
from typing import Final

import msgspec

from otp_service.core.pumping.prices import MICRO_UNITS


class BrakeMode(StrEnum):
    """What the brake does for a tenant."""

    OFF = "off"
    RECORD = "record"
    """Every message is sent, and what refuse mode would have refused is recorded."""
    REFUSE = "refuse"


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
    def counts_countries(self) -> bool:
        """Whether its figures are countries, and not money."""
        return self is DebtLimit.UNVERIFIED_COUNTRIES


class ScopeBucket(msgspec.Struct, frozen=True):
    """One limit for one subject; `tenant` is empty if one bucket counts all tenants."""

    limit: DebtLimit
    tenant: str = ""
    subject: str = ""


class Floors(msgspec.Struct, frozen=True):
    """What is admitted without history, in an hour and in a day.

    Narrow scopes have messages, since a range has one country. Wide ones have money.
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
