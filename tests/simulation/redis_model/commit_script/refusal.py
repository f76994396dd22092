"""What refuses a commit that is not late and has no conflict."""

from typing import Any

from tests.simulation.redis_model.commit_script.bucket_operations import read_bucket
from tests.simulation.redis_model.commit_script.debt_plan import DebtPlan
from tests.simulation.redis_model.commit_script.failures_bucket import UNTIL_UNLOCKED
from tests.simulation.redis_model.commit_script.script_call import CommitContext


Refusal = tuple[list[Any], dict[str, Any]]
"""The reply, and the stamp of the event."""


def find_refusal(context: CommitContext, plan: DebtPlan | None) -> Refusal | None:
    """Return the refusal with the longest wait; None if nothing refuses."""
    reason = _find_listed_reason(context)
    if reason is not None:
        return [b"listed", context.now, reason.encode()], {"reason": reason}
    refusal: Refusal | None = None
    longest_wait: float = 0
    over_debt = plan.describe_refusal() if plan else None
    if over_debt:
        reply, stamp, longest_wait = over_debt
        refusal = reply, stamp
    for i, charge in enumerate(context.request.charges, 1):
        if charge.force:
            continue
        wait, window_index = read_bucket(context, charge).compute_wait(charge)
        if wait > longest_wait:
            longest_wait = wait
            refusal = _describe_charge(context, i, window_index, wait)
    return refusal


def _describe_charge(
    context: CommitContext, charge_index: int, window_index: int, wait: float
) -> Refusal:
    charge = context.request.charges[charge_index - 1]
    window, limit = charge.windows[window_index - 1], charge.limit
    stamp = {"limit": limit, "quota": window.count, "period": window.period_seconds}
    if wait == UNTIL_UNLOCKED:
        reason = "account_locked" if limit.endswith("PerAccount") else "number_locked"
        return [b"locked", context.now, charge_index], {"reason": reason, **stamp}
    reply = [b"refused", context.now, charge_index, window_index, int(wait)]
    return reply, {"reason": "rate_limited", **stamp, "wait": int(wait)}


def _find_listed_reason(context: CommitContext) -> str | None:
    """Return the reason of the first absent key that exists; one without a key always refuses."""
    absent_keys = context.request.absent_keys
    for absent in absent_keys:
        if not absent.key_index:
            return absent.reason
    for absent in absent_keys:
        if context.keyspace.get(context.get_key(absent.key_index)) is not None:
            return absent.reason
    return None
