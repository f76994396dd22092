"""What one send was charged, in limits and in debts, and how each of it is reversed."""

from typing import Any

import msgspec
from msgspec.structs import replace

from otp_service.core.commit import Committed, Refund
from otp_service.core.limits import Charge
from otp_service.core.pumping.commits import (
    DebtOutcome,
    DebtRefund,
    DebtRepayment,
    DebtSettlement,
    SendDebt,
)
from otp_service.core.pumping.send_debts import Measure
from otp_service.service.brake import DebtPlan


class NamedDebts(msgspec.Struct, frozen=True):
    """The debts of a send, with the operation ids of the commits that charge them."""

    plan: DebtPlan
    number_operation_id: str
    shared_operation_id: str | None
    """None if the commit of what all share was not applied."""


class SendCharges(msgspec.Struct, frozen=True):
    """The charges of one send. They are named before they are applied, so some may not be."""

    number_charges: tuple[Charge, ...]
    operation_id: str
    """Of the commit of the charges to the number."""
    limit_key_id: str
    """Of the limit key that names the buckets of all of them."""
    caller_refunds: tuple[Refund, ...]
    shared_refunds: tuple[Refund, ...]
    debts: tuple[NamedDebts, ...] = ()
    """Empty where the brake is off; two if the risk service has ended the exemption of the send."""
    outcome: DebtOutcome = DebtOutcome()
    """What became of the newest debts, once all commits were applied."""
    charged_at: int = 0
    has_range_left: bool = False
    """Whether the range is charged although a wider scope was over in record mode: the earlier commit
    did not know it. The commit that stores the send repays it."""

    @property
    def number_refunds(self) -> tuple[Refund, ...]:
        """The reversal of every charge to the number, the cooldown included."""
        charged = (charge for charge in self.number_charges if charge.cost)
        return tuple(Refund(charge, self.operation_id) for charge in charged)

    @property
    def other_refunds(self) -> tuple[Refund, ...]:
        """The reversal of the charges in other partitions."""
        return (*self.caller_refunds, *self.shared_refunds)

    @property
    def number_debt_refunds(self) -> tuple[DebtRefund, ...]:
        """The reversal of the debts in the partition of the number."""
        return tuple(
            DebtRefund(named.plan.number, named.number_operation_id)
            for named in self.debts
            if named.plan.number is not None
        )

    @property
    def shared_debt_refunds(self) -> tuple[DebtRefund, ...]:
        """The reversal of the debts that all share."""
        return tuple(
            DebtRefund(named.plan.shared, named.shared_operation_id)
            for named in self.debts
            if named.shared_operation_id is not None
        )

    @property
    def price(self) -> int | None:
        """The price of the message; None where the brake is off."""
        return self.debts[0].plan.price if self.debts else None

    @property
    def debt(self) -> SendDebt | None:
        """What a verification repays of this send; None if that is nothing."""
        if not self.debts or not self.outcome.is_charged:
            return None
        return self.debts[-1].plan.build_debt(self.charged_at, self.limit_key_id)

    @property
    def range_settlement(self) -> DebtSettlement | None:
        """The repayment of a range that should not have been charged; it raises no allowance."""
        if not self.has_range_left:
            return None
        plan = self.debts[-1].plan
        debt = plan.build_debt(self.charged_at, self.limit_key_id)
        assert plan.range_bucket
        assert debt
        return DebtSettlement(repayments=(DebtRepayment.from_debts(plan.range_bucket, (debt,)),))

    def add_outcome(self, number: Committed, shared: Committed) -> "SendCharges":
        """Return the charges with what came of the newest debts."""
        if not self.debts:
            return self
        first, second = number.debts, shared.debts
        has_range = self.debts[-1].plan.range_bucket is not None
        return replace(
            self,
            outcome=DebtOutcome(first.is_exempt, first.over or second.over),
            charged_at=number.now,
            has_range_left=has_range and first.is_charged and second.over is not None,
        )

    def without_shared(self) -> "SendCharges":
        """Return the charges without those of the commit of what all share, which was refused."""
        unshared = (replace(named, shared_operation_id=None) for named in self.debts)
        return replace(self, shared_refunds=(), debts=tuple(unshared))

    def without_repaid_range(self) -> "SendCharges":
        """Return the charges of a send that was stored, and with it `range_settlement`."""
        if not self.has_range_left:
            return self
        *earlier, newest = self.debts
        stripped = replace(newest, plan=replace(newest.plan, number=None))
        return replace(self, debts=(*earlier, stripped), has_range_left=False)

    def without_repaid_debts(self) -> "SendCharges":
        """Return the charges of a send whose debts the verification of its challenge has repaid.

        Only the budget of the day is left of them.
        """
        kept = (replace(named, plan=named.plan.without_repaid()) for named in self.debts)
        return replace(self, debts=tuple(kept), has_range_left=False)

    def select_newest_debts(self) -> "SendCharges":
        """Return the newest debts alone, for their refund."""
        newest = self.debts[-1]
        return SendCharges(
            (), newest.number_operation_id, self.limit_key_id, (), (), debts=(newest,)
        )

    def build_event_fields(self) -> dict[str, Any]:
        """Return the fields of the event of the send; none where the brake is off."""
        if not self.debts:
            return {}
        plan, over = self.debts[-1].plan, self.outcome.over
        fields: dict[str, Any] = {
            "price": plan.price,
            "measure": (Measure.EXEMPT if self.outcome.is_exempt else plan.measure).value,
        }
        if over is not None:
            fields["over_limit"] = over.bucket.limit.value
            fields["unverified"], fields["allowance"] = over.unverified, over.allowance
        return fields
