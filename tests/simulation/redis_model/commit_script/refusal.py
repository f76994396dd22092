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
    index, window_index, wait = _find_longest_wait(context)
    debt_wait = plan.compute_wait(context.now) if plan and plan.is_refused else None
    if plan and debt_wait is not None and debt_wait >= wait:
        return plan.describe_refusal(debt_wait)
    if plan and index and wait != UNTIL_UNLOCKED:
        wait = plan.compute_wait(context.now + int(wait))
    return _describe_charge(context, index, window_index, wait) if index else None


def _find_longest_wait(context: CommitContext) -> tuple[int, int, float]:
    """Return the index of the charge with the longest wait, that of its window, and the wait; or zeros."""
    found: tuple[int, int, float] = (0, 0, 0)
    for i, charge in enumerate(context.request.charges, 1):
        if charge.force:
            continue
        wait, window_index = read_bucket(context, charge).compute_wait(charge)
        if wait > found[2]:
            found = i, window_index, wait
    return found


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
