"""What a commit changes about debts: charges, their refunds, and settlements."""

from typing import Any

from otp_service.core.pumping.known_number import ExemptTime, can_count
from otp_service.core.pumping.scopes import DebtLimit
from otp_service.core.timestamps import DAY_MS
from otp_service.store.commit_request import DebtCharges, Repayment, Settlement, TrafficChange
from otp_service.store.debt_draft import EXEMPT_CAUSE, OVER_CAUSE
from tests.simulation.redis_model.commit_script.debt_plan import (
    CHARGED_CAUSE,
    DebtPlan,
    pack_exempt_time,
)
from tests.simulation.redis_model.commit_script.known_records import (
    note_exempt_send,
    read_record,
    remove_exempt_send,
    to_known_number,
    write_record,
)
from tests.simulation.redis_model.commit_script.script_call import CommitContext, ScriptCall
from tests.simulation.redis_model.commit_script.traffic import add_traffic, note_full_hour


DebtRefunds = list[tuple[DebtCharges, list[Any]]]
"""Each with the reply of the commit that charged it."""


def change_debts(
    context: CommitContext, plan: DebtPlan | None, refunds: DebtRefunds
) -> int | list[Any]:
    """Charge, refund and settle. Return what the reply has about it, 0 for nothing."""
    charged = _charge(context, plan) if plan else 0
    for charges, reply in refunds:
        _refund(context, charges, reply)
    settlement = context.request.settlement
    raises, pays = _settle_challenge(context, settlement) if settlement else (False, False)
    if not (plan or settlement):
        return 0
    cause, over = (plan.cause, plan.describe_full_scope()) if plan else (CHARGED_CAUSE, [])
    exempt_time = pack_exempt_time(plan.exempt_time) if plan else []
    return [int(raises), int(pays), cause, charged, exempt_time, *over]


def note_full_country(context: CommitContext, plan: DebtPlan | None) -> None:
    """Note in the hour that the country itself was full, also if it only records."""
    if plan and plan.debts.traffic and plan.get_full_limit() == DebtLimit.UNVERIFIED_COUNTRY.value:
        note_full_hour(context, plan.debts.traffic)


def remember_cause(call: ScriptCall, decision: DebtPlan | list[Any] | None) -> None:
    """Remember for later commits of the call why a send is not charged, and when its number is exempt.

    By the plan of a commit, or by the reply of one that was applied before.
    """
    if isinstance(decision, DebtPlan):
        cause, is_over, exempt_time = decision.cause, decision.is_over, decision.exempt_time
    elif decision is not None and isinstance(decision[4], list):
        _, _, cause, _, span, *over = decision[4]
        is_over, exempt_time = bool(over), ExemptTime(*span) if span else None
    else:
        return
    call.earlier_cause = max(call.earlier_cause, OVER_CAUSE if is_over else cause)
    call.earlier_exempt_time = exempt_time or call.earlier_exempt_time


def _charge(context: CommitContext, plan: DebtPlan) -> int:
    """Charge what the plan says. Return the sum of a bit for each charge that was applied."""
    charged = 0
    for i, charge in enumerate(plan.charges):
        debt = plan.decision.debts.get(charge.bucket)
        if debt is not None:
            context.debts.write(charge.bucket.subject.encode(), debt)
            charged |= 1 << i
    if plan.is_noted:
        note_exempt_send(context, plan.debts.known_key, plan.known)
    if plan.debts.traffic:
        _count_send(context, plan.debts.traffic, plan.cause, context.now, 1, is_over=plan.is_over)
    note_full_country(context, plan)
    return charged


def _refund(context: CommitContext, charges: DebtCharges, reply: list[Any]) -> None:
    """Take back what the reply of a charge says was charged."""
    _, charged_at, _, _, noted, *_ = reply
    if not isinstance(noted, list):
        return  # the commit had no debts
    _, _, cause, charged, _, *over = noted
    for i, operation in enumerate(charges.operations):
        if charged >> i & 1:
            key = context.get_key(operation.key_index)
            context.debts.repay(key, operation.price, charged_at, country=operation.country)
    if cause == EXEMPT_CAUSE:
        remove_exempt_send(
            context, charges.known_key, charged_at, is_assumed=charges.is_assumed_known
        )
    if charges.traffic:
        _count_send(context, charges.traffic, cause, charged_at, -1, is_over=bool(over))


def _count_send(  # noqa: PLR0913  # what decides which total counts it
    context: CommitContext,
    traffic: TrafficChange,
    cause: int,
    instant: int,
    sign: int,
    *,
    is_over: bool,
) -> None:
    """Count a send, or take it back. One that is over a limit that only records has no total."""
    if cause == EXEMPT_CAUSE:
        add_traffic(context, traffic, instant, "e", sign)
    elif cause == CHARGED_CAUSE and not is_over:
        add_traffic(context, traffic, instant, traffic.kind, sign * traffic.amount)


def _settle_challenge(context: CommitContext, settlement: Settlement) -> tuple[bool, bool]:
    """Repay the sends of a challenge. Return whether it raises the allowance, and pays exempt sends."""
    raises, pays = settlement.raises_allowance, settlement.pays_exempt_sends
    if settlement.known_key:
        raises, pays = _note_verification(context, settlement.known_key)
    for repayment in settlement.repayments:
        _settle_scope(context, repayment, raises=raises)
    if settlement.traffic:
        _settle_traffic(context, settlement.traffic, settlement, raises=raises, pays=pays)
    return raises, pays


def _settle_scope(context: CommitContext, repayment: Repayment, *, raises: bool) -> None:
    """Repay the sends in one scope. A country has verified whether or not that raises the allowance."""
    key, country = context.get_key(repayment.key_index), repayment.country
    for i, send in enumerate(repayment.sends, 1):
        has_verified = country is not None or (raises and i == len(repayment.sends))
        verified = send.charge if has_verified else 0
        context.debts.repay(key, send.charge, send.charged_at, verified, country)


def _note_verification(context: CommitContext, key_index: int) -> tuple[bool, bool]:
    record, now = read_record(context, key_index), context.now
    write_record(context, key_index)
    known = to_known_number(record) if record else None
    has_unpaid = known is not None and any(at > now - DAY_MS for at in known.unpaid_at)
    return can_count(known, now), has_unpaid


def _settle_traffic(
    context: CommitContext,
    traffic: TrafficChange,
    settlement: Settlement,
    *,
    raises: bool,
    pays: bool,
) -> None:
    """Move what the sends cost to what has verified, in the hours of the sends."""
    sends = settlement.traffic_sends
    for i, send in enumerate(sends, 1):
        add_traffic(context, traffic, send.charged_at, "u", -send.charge)
        if raises and i == len(sends):
            add_traffic(context, traffic, send.charged_at, "v", send.charge)
    if pays:
        add_traffic(context, traffic, context.now, "p", 1)
