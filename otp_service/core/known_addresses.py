"""The addresses from which an account has verified: a part of its failures is kept back for them.

An attacker at the login of a victim fails on purpose until the limits of an hour refuse the victim's
right code (ASVS 6.1.1). So the last fifth of these limits is for attempts from an address that has
verified the same account before. It is taken out of the limit, not added to it: together they get no
more guesses. The account alone proves nothing, because the attacker names the victim's account.

An address is stored as a keyed tag, twice: with the account, and with the account and the number. What an
account has verified for its own number is no proof for the number of another account.
"""

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from otp_service.core.keys import Key
from otp_service.core.limits import Window
from otp_service.core.timestamps import DAY_MS


KNOWN_ADDRESS_TTL_MS: Final = 90 * DAY_MS
"""How long an address is known after it has verified the last time."""
MAX_TAGS: Final = 16
"""Of one account: eight addresses, if it has one number. A new one replaces the oldest."""
TAG_BYTES: Final = 8
KEPT_PERCENT: Final = 20


class AddressStanding(Enum):
    """What is known of the address of an attempt."""

    NOT_APPLICABLE = "not-applicable"
    """The attempt has no account or no address, or the account has no known address."""
    UNKNOWN = "unknown"
    KNOWN = "known"


class Account(msgspec.Struct, frozen=True):
    """An account at a tenant."""

    tenant: str
    name: str


class AddressTags(NamedTuple):
    """The two names of the address of an attempt."""

    account: bytes
    number: bytes


class AddressStandings(NamedTuple):
    """What the address of an attempt counts as at the limits of the account, and of the number."""

    account: AddressStanding
    number: AddressStanding


class KnownAddress(msgspec.Struct, frozen=True, array_like=True):
    """A tag and the instant of its last verification, in milliseconds."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    tag: bytes
    verified_at: int

    @property
    def expires_at(self) -> int:
        return self.verified_at + KNOWN_ADDRESS_TTL_MS


class KnownAddresses(msgspec.Struct, frozen=True, array_like=True):
    """The known addresses of one account, the latest first."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    addresses: tuple[KnownAddress, ...] = ()

    @property
    def expires_at(self) -> int:
        """The instant at which the last of them expires; 0 without one."""
        return max((address.expires_at for address in self.addresses), default=0)

    def add(self, tags: AddressTags, now: int) -> "KnownAddresses":
        """Return the addresses after a correct code. Drops those that have expired."""
        others = (one for one in self.addresses if one.tag not in tags and now < one.expires_at)
        added = (KnownAddress(tag, now) for tag in tags)
        return KnownAddresses((*added, *others)[:MAX_TAGS])

    def determine_standings(self, tags: AddressTags | None, now: int) -> AddressStandings:
        """Return the standings of an attempt; None for one without an account or an address."""
        live_tags = {one.tag for one in self.addresses if now < one.expires_at}
        if tags is None or not live_tags:
            return NO_STANDINGS
        known, unknown = AddressStanding.KNOWN, AddressStanding.UNKNOWN
        return AddressStandings(*(known if tag in live_tags else unknown for tag in tags))


NO_STANDINGS: Final = AddressStandings(
    AddressStanding.NOT_APPLICABLE, AddressStanding.NOT_APPLICABLE
)


def derive_address_tags(
    limit_key: Key, account: Account, client_ip_key: str, number: str
) -> AddressTags:
    """Return the tags of an address (IPv6: a /64), with the account and with the canonical number."""
    fields = [text.encode() for text in (account.tenant, account.name, client_ip_key)]
    with_account = limit_key.compute_mac("known address", *fields)
    with_number = limit_key.compute_mac("known address and number", *fields, number.encode())
    return AddressTags(with_account[:TAG_BYTES], with_number[:TAG_BYTES])


def reduce_window(window: Window) -> Window:
    """Return what an unknown address may use: without a fifth, at least one, unless that is all."""
    kept = min(window.count - 1, max(1, window.count * KEPT_PERCENT // 100))
    return Window(window.count - kept, window.period_seconds)
