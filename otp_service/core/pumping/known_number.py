"""Numbers that have verified before: the exemption, and where it ends.

A person who logs in has verified lately, and draws on no debt of a range, block, country, tenant or
address. So an attack on a country refuses only numbers that are new. Fraudsters can read the messages
of ranges that they own, and so have known numbers too. Therefore the exemption is for few messages.
"""

from typing import Final

import msgspec

from otp_service.core.timestamps import DAY_MS


KNOWN_NUMBER_TTL_MS: Final = 90 * DAY_MS
MAX_DAILY_EXEMPT_SENDS: Final = 3
MAX_UNPAID_SENDS: Final = 6
"""Exempt sends without a verification after which the number counts as unknown until it verifies."""


class KnownNumber(msgspec.Struct, frozen=True):
    """The record of one number at one tenant. It is stored for KNOWN_NUMBER_TTL_MS."""

    verified_at: int
    unpaid_at: tuple[int, ...] = ()
    """The instants of its exempt sends since then."""


def is_exempt(known: KnownNumber | None, now: int) -> bool:
    """Return whether a send to this number draws on no debt but the budget of the day."""
    if known is None or now - known.verified_at >= KNOWN_NUMBER_TTL_MS:
        return False
    today = sum(instant > now - DAY_MS for instant in known.unpaid_at)
    return today < MAX_DAILY_EXEMPT_SENDS and len(known.unpaid_at) < MAX_UNPAID_SENDS


def note_exempt_send(known: KnownNumber, now: int) -> KnownNumber:
    """Return the record with one more exempt send."""
    return KnownNumber(known.verified_at, (*known.unpaid_at, now))


def note_verification(now: int) -> KnownNumber:
    """Return the record of a number that has verified: all of its sends are paid."""
    return KnownNumber(now)


def can_count(known: KnownNumber | None, now: int) -> bool:
    """Return whether a verification raises the allowance: once a day for each number."""
    return known is None or now - known.verified_at >= DAY_MS
