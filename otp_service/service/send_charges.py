"""What one send was charged, in limits and in debts, and how each of it is reversed."""

from collections.abc import Callable
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
    """The debts of a send, with the operation ids of the commits that charge them.

    They are those of its limits, or commits of their own, once the risk service has answered.
    """

    plan: DebtPlan
    number_operation_id: str
    shared_operation_id: str | None
    """None if the commit of what all share was not applied."""
    are_apart: bool = False
    """Whether the commits of the limits leave them out."""


class SendCharges(msgspec.Struct, frozen=True):
    """The charges of one send. They are named before they are applied, so some may not be."""

    number_charges: tuple[Charge, ...]
    operation_id: str
    """Of the commit of the charges to the number."""
    limit_key_id: str
    """Of the limit key that names the buckets of all of them."""
    caller_refunds: tuple[Refund, ...]
    shared_refunds: tuple[Refund, ...]
    debts: NamedDebts | None = None
    """None where the brake is off."""
    outcome: DebtOutcome = DebtOutcome()
    """What became of the debts, once they were charged."""
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
    def plan_of_limits(self) -> DebtPlan | None:
        """The debts that the commits of the limits charge as well."""
        return self.debts.plan if self.debts and not self.debts.are_apart else None

    @property
    def number_debt_refunds(self) -> tuple[DebtRefund, ...]:
        """The reversal of the debts in the partition of the number."""
        if self.debts is None or self.debts.plan.number is None:
            return ()
        return (DebtRefund(self.debts.plan.number, self.debts.number_operation_id),)

    @property
    def shared_debt_refunds(self) -> tuple[DebtRefund, ...]:
        """The reversal of the debts that all share."""
        if self.debts is None or self.debts.shared_operation_id is None:
            return ()
        return (DebtRefund(self.debts.plan.shared, self.debts.shared_operation_id),)

    @property
    def price(self) -> int | None:
        """The price of the message; None where the brake is off."""
        return self.debts.plan.price if self.debts else None

    @property
    def debt(self) -> SendDebt | None:
        """What a verification repays of this send; None if that is nothing."""
        if not self.debts or not self.outcome.is_charged:
            return None
        return self.debts.plan.build_debt(self.charged_at, self.limit_key_id)

    @property
    def range_settlement(self) -> DebtSettlement | None:
        """The repayment of a range that should not have been charged; it raises no allowance."""
        if not self.has_range_left:
            return None
        assert self.debts
        plan = self.debts.plan
        debt = plan.build_debt(self.charged_at, self.limit_key_id)
        assert plan.range_bucket
        assert debt
        return DebtSettlement(repayments=(DebtRepayment.from_debts(plan.range_bucket, (debt,)),))

    def add_outcome(self, number: Committed, shared: Committed) -> "SendCharges":
        """Return the charges with what came of the debts, by the commits that have charged them."""
        if not self.debts:
            return self
        first, second = number.debts, shared.debts
        has_range = self.debts.plan.range_bucket is not None
        return replace(
            self,
            outcome=DebtOutcome(first.is_exempt, first.over or second.over),
            charged_at=number.now,
            has_range_left=has_range and first.is_charged and second.over is not None,
        )

    def end_exemption(self) -> "SendCharges":
        """Return the charges of a send to a number that is not exempt, before its debts are charged."""
        return self._change_plan(DebtPlan.end_exemption)

    def without_shared(self) -> "SendCharges":
        """Return the charges without those of the commit of what all share, which was refused."""
        unshared = self.debts and replace(self.debts, shared_operation_id=None)
        return replace(self, shared_refunds=(), debts=unshared)

    def without_repaid_range(self) -> "SendCharges":
        """Return the charges of a send that was stored, and with it `range_settlement`."""
        if not self.has_range_left:
            return self
        return replace(self._change_plan(DebtPlan.without_range), has_range_left=False)

    def without_repaid_debts(self) -> "SendCharges":
        """Return the charges of a send whose debts the verification of its challenge has repaid.

        Only the budget of the day is left of them.
        """
        return replace(self._change_plan(DebtPlan.without_repaid), has_range_left=False)

    def _change_plan(self, change: Callable[[DebtPlan], DebtPlan]) -> "SendCharges":
        debts = self.debts
        return replace(self, debts=debts and replace(debts, plan=change(debts.plan)))

    def build_event_fields(self) -> dict[str, Any]:
        """Return the fields of the event of the send; none where the brake is off."""
        if not self.debts:
            return {}
        plan, over = self.debts.plan, self.outcome.over
        fields: dict[str, Any] = {
            "price": plan.price,
            "measure": (Measure.EXEMPT if self.outcome.is_exempt else plan.measure).value,
        }
        if over is not None:
            fields["over_limit"] = over.bucket.limit.value
            fields["unverified"], fields["allowance"] = over.unverified, over.allowance
        return fields
