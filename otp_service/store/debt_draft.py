"""What a request to the commit script has of debts: the brake on SMS pumping (core/pumping)."""

from collections.abc import Callable
from typing import Final

from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtSettlement,
    KnownNumberName,
    RepaidSend,
    TrafficName,
)
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.store.commit_request import (
    DebtCharges,
    DebtOperation,
    Repayment,
    Settlement,
    TrafficChange,
)
from otp_service.store.key_names import KeyNames


EXEMPT_CAUSE, OVER_CAUSE = 1, 2
"""Why a send is not charged, by `lua/debt_commit.lua`."""


_TRAFFIC_KINDS: Final = {DebtLimit.UNVERIFIED_COUNTRY: "u", DebtLimit.VOLUME_COUNTRY: "m"}
"""The letters of the hourly totals of a country, by the limits whose charges they add up."""


class DebtDraft:
    """Builds the debts of one request. `add_key` returns the index of a key, from 1."""

    def __init__(self, key_names: KeyNames, partition: int, add_key: Callable[[str], int]) -> None:
        self._key_names = key_names
        self._partition = partition
        self._add_key = add_key

    def build_charges(self, debts: DebtCommit) -> DebtCharges:
        """Return the debts of a send, to charge or to refund."""
        return DebtCharges(
            list(map(self._build_operation, debts.charges)),
            self._add_known_key(debts.known_number),
            debts.is_assumed_known,
            _find_earlier_cause(debts),
            self._build_send_traffic(debts),
            debts.exempt_time,
        )

    def build_settlement(self, settlement: DebtSettlement) -> Settlement:
        """Return what a challenge that has verified repays."""
        repayments, traffic = settlement.repayments, settlement.traffic
        debt_key, partition = self._key_names.debt_key, self._partition
        return Settlement(
            [
                Repayment(self._add_key(debt_key(partition, one.bucket)), one.sends, one.country)
                for one in repayments
            ],
            self._add_known_key(settlement.known_number),
            settlement.raises_allowance,
            settlement.pays_exempt_sends,
            self._build_traffic(traffic) if traffic else None,
            _find_traffic_sends(settlement),
        )

    def _build_operation(self, charge: DebtCharge) -> DebtOperation:
        terms, figures = charge.terms, charge.terms.figures
        return DebtOperation(
            self._add_key(self._key_names.debt_key(self._partition, charge.bucket)),
            charge.price,
            terms.floors,
            figures.unverified_share,
            figures.margin,
            figures.usual_verified,
            terms.deviations,
            charge.bucket.limit,
            charge.refuses,
            charge.is_always_charged,
            charge.open_until,
            charge.closed_until,
            charge.recorded_from,
            charge.country,
        )

    def _add_known_key(self, name: KnownNumberName | None) -> int:
        if name is None:
            return 0
        return self._add_key(self._key_names.known_number_key(self._partition, name))

    def _build_send_traffic(self, debts: DebtCommit) -> TrafficChange | None:
        """Return what a send adds: its price, or one if it was measured as exempt."""
        if debts.traffic is None:
            return None
        for charge in debts.charges:
            if kind := _TRAFFIC_KINDS.get(charge.bucket.limit):
                return self._build_traffic(debts.traffic, kind, charge.price)
        return self._build_traffic(debts.traffic, "e", 1)

    def _build_traffic(
        self, traffic: TrafficName, kind: str = "", amount: int = 0
    ) -> TrafficChange:
        names, partition = self._key_names, self._partition
        return TrafficChange(
            self._add_key(names.traffic_key(partition, traffic)),
            self._add_key(names.traffic_index_key(partition)),
            f"{traffic.tenant} {traffic.country}",
            kind,
            amount,
        )


def _find_earlier_cause(debts: DebtCommit) -> int:
    if debts.is_exempt:
        return EXEMPT_CAUSE
    return OVER_CAUSE if debts.is_uncharged else 0


def _find_traffic_sends(settlement: DebtSettlement) -> tuple[RepaidSend, ...]:
    """Return the sends that the country of the tenant was charged."""
    for repayment in settlement.repayments:
        if settlement.traffic and repayment.bucket.limit is DebtLimit.UNVERIFIED_COUNTRY:
            return repayment.sends
    return ()
