"""What a commit asks of debts: to charge a send, or to repay one that has verified or was not sent.

The scopes of a send are in two partitions. The commit to its number reads the record of a known number
and charges the range; the commit of what all share charges the other scopes. So the first one decides
whether the send is exempt, and the second one depends on it.
"""

from collections.abc import Iterable
from typing import Self

import msgspec

from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtUnit, ScopeBucket


class KnownNumberName(msgspec.Struct, frozen=True):
    """The record of a number that has verified at a tenant, in the partition of the number."""

    tenant: str
    number: str
    """Canonical."""


class TrafficName(msgspec.Struct, frozen=True):
    """The hourly totals of a country of a tenant, which a commit of its debts keeps as well."""

    tenant: str
    country: str


class DebtCommit(msgspec.Struct, frozen=True, kw_only=True):
    """The charges of one send in one partition, in the order in which they refuse."""

    charges: tuple[DebtCharge, ...]
    price: int = 0
    """Of the message, in money: what its refusal saves."""
    known_number: KnownNumberName | None = None
    """The number whose record may exempt the send; its exempt sends are noted there."""
    is_assumed_known: bool = False
    """Whether a caller that is trusted says that the number is known: it is exempt without a record."""
    is_uncharged: bool = False
    """Whether an earlier commit of the send was exempt, or over a limit that only records: what is not
    always charged is then left out. In one script the earlier commit says so itself."""
    is_exempt: bool = False
    """Whether an earlier commit of the send was exempt, which the hourly totals count."""
    traffic: TrafficName | None = None
    name: TrafficName | None = None
    """The tenant and the country of the send, where its totals are in another partition: for metrics."""
    exempt_time: ExemptTime | None = None
    """When an earlier commit has found that the number is exempt: a refusal may end with that."""


class DebtOutcome(msgspec.Struct, frozen=True):
    """What became of the debts of a commit that was done."""

    is_exempt: bool = False
    """Whether its number is known: nothing was charged but what always is."""
    over: DebtRefusal | None = None
    """The first scope that had no room in record mode. Nothing was charged but what always is."""
    is_uncharged: bool = False
    """Whether an earlier commit of the send was over a limit that only records."""
    exempt_time: ExemptTime | None = None
    """When sends to its number are exempt."""

    @property
    def is_charged(self) -> bool:
        return not (self.is_exempt or self.is_uncharged) and self.over is None


class DebtRefund(msgspec.Struct, frozen=True):
    """The reversal of debts of a send that was refused or that no provider took.

    It applies once, and only while the store has the reply of the commit that charged them. The other
    refunds of that commit must be in the same commit as this one.
    """

    debts: DebtCommit
    operation_id: str
    """Of that commit."""


class SendDebt(msgspec.Struct, frozen=True, array_like=True):
    """What a send of a challenge was charged. The secret of the challenge has one for each."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    charged_at: int
    price: int
    """Where money is counted."""
    limit_key_id: str
    """Of the limit key that names the buckets in which it is charged."""
    is_new_country: bool = False
    """Whether the budget of new countries was charged as well."""
    is_halved: bool = False
    """Whether a bot check has halved what it was charged, its price included."""

    def compute_charge(self, unit: DebtUnit) -> int:
        """Return what it was charged in a scope that counts this unit."""
        match unit:
            case DebtUnit.MONEY:
                return self.price
            case DebtUnit.MESSAGES:
                return halve_charge(MESSAGE_UNITS) if self.is_halved else MESSAGE_UNITS
            case DebtUnit.COUNTRIES:
                return 1


def halve_charge(amount: int) -> int:
    """Return what is charged of an amount after a bot check that has passed; at least 1."""
    return max(1, amount // 2)


class RepaidSend(msgspec.Struct, frozen=True, array_like=True):
    """What one send was charged in a scope, in the unit of the scope."""

    charged_at: int
    charge: int


class DebtRepayment(msgspec.Struct, frozen=True):
    """Sends of one challenge that has verified, in one scope."""

    bucket: ScopeBucket
    sends: tuple[RepaidSend, ...]
    country: str | None = None
    """Their country, if the scope counts countries: one message of it is repaid for each."""

    @classmethod
    def from_debts(
        cls, bucket: ScopeBucket, debts: Iterable[SendDebt], country: str | None = None
    ) -> Self:
        """Return the repayment of what these sends were charged in the scope."""
        unit = bucket.limit.unit
        sends = (RepaidSend(debt.charged_at, debt.compute_charge(unit)) for debt in debts)
        return cls(bucket, tuple(sends), country)


class DebtSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """The repayments of a challenge that has verified, in one partition."""

    repayments: tuple[DebtRepayment, ...] = ()
    known_number: KnownNumberName | None = None
    """The number that is known from now on. If it has not verified within a day, the verification
    raises what others may leave unverified, by one price: `Committed.raises_allowance`."""
    raises_allowance: bool = False
    """Of a settlement in another partition: what the commit to the number has replied."""
    pays_exempt_sends: bool = False
    """The same, of `Committed.pays_exempt_sends`, for the hourly totals."""
    traffic: TrafficName | None = None
