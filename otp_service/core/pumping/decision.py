"""Decides whether a send may draw on the debts of its scopes.

All scopes of a call are charged, or none: a refusal in a narrow scope never charges a wider one, so an
attack on one range cannot use up the country. The store charges the scopes of each partition in one
commit. What an earlier commit has charged is repaid exactly if a later one refuses.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from otp_service.core.pumping.allowance import Terms, compute_allowance
from otp_service.core.pumping.debt import (
    EMPTY_DEBT,
    PERIODS_MS,
    Debt,
    charge_debt,
    count_other_countries,
    repay_debt,
    settle_debt,
)
from otp_service.core.pumping.scopes import ScopeBucket


class DebtCharge(msgspec.Struct, frozen=True):
    """What a send is charged in one scope."""

    bucket: ScopeBucket
    terms: Terms
    price: int
    """Of the message, in the unit of the limit; 1 if the scope counts countries."""
    refuses: bool = True
    """False if a full scope is only recorded."""
    is_always_charged: bool = False
    """Whether the send is charged also if it is exempt, or if another scope that only records is full."""
    open_until: int = 0
    """The instant until which an operator has opened the scope: it is charged, and not full; 0 for not open."""
    closed_until: int = 0
    """The instant until which an operator has closed the scope: it is full, also if it is open; 0 for not closed."""
    recorded_from: int = 0
    """The instant from which a full scope is only recorded, if it refuses because it is closed; else 0."""
    country: str | None = None
    """The country of the message, if the scope counts countries; else None."""

    def refuses_at(self, instant: int) -> bool:
        """Return whether the scope refuses a send while it is full."""
        return self.refuses and (not self.recorded_from or instant < self.recorded_from)


ALWAYS_OPEN: Final = 2**53
"""The end of an opening that has none: an instant that every number in Lua can be compared with."""


class DebtRefusal(msgspec.Struct, frozen=True):
    """The narrowest scope that refuses, with the figures of its first full window, for the event."""

    bucket: ScopeBucket
    unverified: int
    allowance: int
    period_ms: int = 0
    """The length of that window, one of PERIODS_MS."""


class SendDecision(msgspec.Struct, frozen=True):
    """Whether a message is sent, and the buckets that change."""

    is_sent: bool
    debts: dict[ScopeBucket, Debt]
    refusal: DebtRefusal | None = None
    """The message is sent all the same if the charge of this scope only records."""


def decide_send(
    debts: Mapping[ScopeBucket, Debt],
    charges: Sequence[DebtCharge],
    now: int,
    *,
    is_uncharged: bool = False,
) -> SendDecision:
    """Return the decision about a send; `charges` are in order, the narrowest scope first.

    A full scope that only records keeps the send from being charged, except where it always is. So
    record mode decides each send as refuse mode does, and its count of refusals is that of refuse mode.
    `is_uncharged` is true for an exempt send, and if an earlier commit has found such a scope.
    """
    charged: dict[ScopeBucket, Debt] = {}
    over = None
    for charge in charges:
        if not charge.is_always_charged and (is_uncharged or over):
            continue
        debt = settle_debt(debts.get(charge.bucket, EMPTY_DEBT), now)
        refusal = _find_refusal(debt, charge, now)
        if refusal is not None and charge.refuses_at(now):
            return SendDecision(is_sent=False, debts={}, refusal=refusal)
        if refusal is not None:
            charged, over = {}, refusal
        else:
            charged[charge.bucket] = charge_debt(debt, charge.price, now, charge.country)
    return SendDecision(is_sent=True, debts=charged, refusal=over)


def repay_send(
    debts: Mapping[ScopeBucket, Debt],
    charges: Sequence[DebtCharge],
    charged_at: int,
    now: int,
    *,
    is_counted: bool,
) -> dict[ScopeBucket, Debt]:
    """Return the buckets after one send of a challenge that has verified.

    `is_counted` is true for one send of the challenge, and false if its number has verified within a
    day: a person who verifies again and again raises the allowance of others once a day. A country has
    verified in either case.
    """
    return {
        charge.bucket: repay_charge(
            debts,
            charge,
            charged_at,
            now,
            verified=charge.price if is_counted or charge.country is not None else 0,
        )
        for charge in charges
        if charge.bucket.limit.is_repaid
    }


def repay_charge(
    debts: Mapping[ScopeBucket, Debt],
    charge: DebtCharge,
    charged_at: int,
    now: int,
    *,
    verified: int = 0,
) -> Debt:
    """Return the bucket of a charge without it, as `repay_debt` has it."""
    debt = debts.get(charge.bucket, EMPTY_DEBT)
    return repay_debt(
        debt, charge.price, charged_at, now, verified=verified, country=charge.country
    )


def _find_refusal(debt: Debt, charge: DebtCharge, now: int) -> DebtRefusal | None:
    """Return why a settled bucket has no room for the charge, or None."""
    if now < charge.closed_until:
        return DebtRefusal(charge.bucket, _sum_unverified(debt, charge, 0), 0, PERIODS_MS[0])
    if now < charge.open_until:
        return None
    price = charge.price
    for index, window in enumerate(debt.windows):
        unverified = _sum_unverified(debt, charge, index)
        if unverified + price <= charge.terms.floors[index]:
            continue  # what is learned only adds to the floor
        allowance = compute_allowance(charge.terms, index, sum(window.verified), price)
        if unverified + price > allowance:
            return DebtRefusal(charge.bucket, unverified, allowance, PERIODS_MS[index])
    return None


def _sum_unverified(debt: Debt, charge: DebtCharge, index: int) -> int:
    """Return what is unverified in the window `index` of PERIODS_MS; countries have none of an hour."""
    if charge.country is None:
        return sum(debt.windows[index].unverified)
    return count_other_countries(debt, charge.country) if index else 0
