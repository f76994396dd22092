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


class ExemptTime(msgspec.Struct, frozen=True, array_like=True):
    """The span in which a number is exempt, if nothing is sent to it and it does not verify."""

    # Stored by position in the reply of a commit: never reorder the fields.
    starts_at: int
    """It may be ahead: the exemption of a day is used up until then."""
    ends_at: int | None = None
    """Exclusive; None if no time ends it."""

    def has_instant(self, instant: int) -> bool:
        return self.starts_at <= instant and (self.ends_at is None or instant < self.ends_at)


def is_exempt(known: KnownNumber | None, now: int) -> bool:
    """Return whether a send to this number draws on no debt but the budget of the day."""
    if known is None or now - known.verified_at >= KNOWN_NUMBER_TTL_MS:
        return False
    today = sum(instant > now - DAY_MS for instant in known.unpaid_at)
    return today < MAX_DAILY_EXEMPT_SENDS and len(known.unpaid_at) < MAX_UNPAID_SENDS


def find_exempt_time(
    known: KnownNumber | None, now: int, *, is_assumed_known: bool = False
) -> ExemptTime | None:
    """Return when sends to this number are exempt, from `now` on; None for never.

    `is_assumed_known` is what a trusted caller says of it: it counts while there is no record.
    """
    if known is None or now - known.verified_at >= KNOWN_NUMBER_TTL_MS:
        return ExemptTime(0) if is_assumed_known else None
    expires_at = known.verified_at + KNOWN_NUMBER_TTL_MS
    starts_at = min(_find_exemption(known, expires_at), expires_at)
    if is_assumed_known:
        return ExemptTime(starts_at)
    return ExemptTime(starts_at, expires_at) if starts_at < expires_at else None


def _find_exemption(known: KnownNumber, expires_at: int) -> int:
    """Return the instant from which so few unpaid sends are within a day that the number is exempt."""
    if len(known.unpaid_at) >= MAX_UNPAID_SENDS:
        return expires_at
    newest = sorted(known.unpaid_at, reverse=True)[:MAX_DAILY_EXEMPT_SENDS]
    return newest[-1] + DAY_MS if len(newest) == MAX_DAILY_EXEMPT_SENDS else 0


def note_exempt_send(known: KnownNumber, now: int) -> KnownNumber:
    """Return the record with one more exempt send."""
    return KnownNumber(known.verified_at, (*known.unpaid_at, now))


def note_verification(now: int) -> KnownNumber:
    """Return the record of a number that has verified: all of its sends are paid."""
    return KnownNumber(now)


def can_count(known: KnownNumber | None, now: int) -> bool:
    """Return whether a verification raises the allowance: once a day for each number."""
    return known is None or now - known.verified_at >= DAY_MS
