"""Scopes that an operator has opened or closed for a time, against what the debts decide.

An open scope is charged and never full. A closed one is full, in record mode too: it is what an operator
has decided, and no estimate. A known number is charged in no scope but the budget of the day, so it
passes a closed one. All overrides are one record, which each process reads every few seconds.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS, HOUR_MS


MAX_OVERRIDES: Final = 200
"""Each send looks at all of its scopes here, and each process reads the record every few seconds."""

MAX_OPEN_MS: Final = 7 * DAY_MS
"""An open scope is a hole: a campaign of a week is the longest reason for one."""

MAX_CLOSED_MS: Final = 12 * HOUR_MS
"""A closed scope refuses people, and the one who closed it may be off duty by then."""

MAX_REASON_CHARS: Final = 200

_OVERRIDDEN_AS: Final[Mapping[DebtLimit, DebtLimit]] = {
    DebtLimit.VOLUME_COUNTRY: DebtLimit.UNVERIFIED_COUNTRY,
    DebtLimit.VOLUME_NEW_COUNTRIES: DebtLimit.UNVERIFIED_NEW_COUNTRIES,
    DebtLimit.UNVERIFIED_COUNTRIES: DebtLimit.UNVERIFIED_ADDRESS,
}
"""The budgets of volume are those of the same scope, for messages that cannot verify; the countries of
an address are of the same scope as its messages."""


def find_scope(bucket: ScopeBucket) -> ScopeBucket:
    """Return the bucket that names the scope of a bucket, to operators and in overrides."""
    limit = _OVERRIDDEN_AS.get(bucket.limit, bucket.limit)
    return ScopeBucket(limit, bucket.tenant, bucket.subject)


class TooManyOverrides(Exception):
    """MAX_OVERRIDES scopes are overridden already."""


class ScopeOverride(msgspec.Struct, frozen=True):
    """A scope that is open or closed until an instant."""

    limit: DebtLimit
    """Never one in _OVERRIDDEN_AS: an override of a scope is for all that is counted in it."""
    tenant: str
    subject: str
    action: Literal["open", "closed"]
    until: int
    """The instant of its end (exclusive), in milliseconds."""
    reason: str
    """What the operator wrote: at most MAX_REASON_CHARS, and nothing that a terminal would obey."""
    by: str
    at: int
    """The instant of the command."""

    @property
    def bucket(self) -> ScopeBucket:
        return ScopeBucket(self.limit, self.tenant, self.subject)


class Overrides(msgspec.Struct, frozen=True, dict=True):
    """Every override; at most one for each scope."""

    items: tuple[ScopeOverride, ...] = ()

    def apply(self, charges: tuple[DebtCharge, ...], now: int) -> tuple[DebtCharge, ...]:
        """Return the charges with what operators have decided of their scopes. An ended one has no effect."""
        if not self.items:
            return charges
        applied = tuple(self._apply_to_charge(charge, now) for charge in charges)
        closed_until = max((charge.closed_until for charge in applied), default=0)
        if now < closed_until:
            return tuple(_open_recording(charge, closed_until) for charge in applied)
        return applied

    def add_override(self, override: ScopeOverride, now: int) -> "Overrides":
        """Return the overrides with this one, which replaces that of its scope, and without ended ones.

        Raises TooManyOverrides.
        """
        others = self.remove_override(override.bucket, now).items
        if len(others) >= MAX_OVERRIDES:
            raise TooManyOverrides
        return Overrides((*others, override))

    def remove_override(self, bucket: ScopeBucket, now: int) -> "Overrides":
        """Return the overrides without that of a scope, and without ended ones."""
        return Overrides(
            tuple(item for item in self.items if now < item.until and item.bucket != bucket)
        )

    def find_override(self, bucket: ScopeBucket, now: int) -> ScopeOverride | None:
        """Return what is decided of the scope of a bucket, or None."""
        found = self._by_bucket.get(find_scope(bucket))
        return found if found is not None and now < found.until else None

    def _apply_to_charge(self, charge: DebtCharge, now: int) -> DebtCharge:
        override = self.find_override(charge.bucket, now)
        if override is None:
            return charge
        if override.action == "open":
            return replace(charge, open_until=override.until)
        return replace(
            charge,
            closed_until=override.until,
            refuses=True,
            recorded_from=0 if charge.refuses else override.until,
        )

    @cached_property
    def _by_bucket(self) -> dict[ScopeBucket, ScopeOverride]:
        return {item.bucket: item for item in self.items}


def _open_recording(charge: DebtCharge, until: int) -> DebtCharge:
    """Return a charge that keeps no closed scope from being asked until an instant.

    One that is over and only records would.
    """
    if charge.refuses and not charge.recorded_from:
        return charge
    return replace(charge, open_until=max(charge.open_until, until))
