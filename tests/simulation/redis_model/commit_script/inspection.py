"""What the commit script would decide of charges now. It changes nothing."""

from typing import Any

from otp_service.core.pumping.allowance import compute_allowance
from otp_service.core.pumping.debt import count_other_countries
from otp_service.core.pumping.decision import DebtCharge, decide_send
from otp_service.store.commit_request import BucketOperation
from otp_service.store.debt_draft import EXEMPT_CAUSE
from tests.simulation.redis_model.commit_script.bucket_operations import read_bucket
from tests.simulation.redis_model.commit_script.debt_book import DebtBook
from tests.simulation.redis_model.commit_script.debt_plan import (
    compute_scope_wait,
    decide_debts,
    pack_exempt_time,
    pack_span,
)
from tests.simulation.redis_model.commit_script.failures_bucket import UNTIL_UNLOCKED
from tests.simulation.redis_model.commit_script.refusal import find_refusal
from tests.simulation.redis_model.commit_script.script_call import CommitContext


def inspect_commit(context: CommitContext) -> list[Any]:
    """Decide one commit, and return its reply."""
    request = context.request
    context.now = context.call.read_clock(request)
    context.debts = DebtBook(context)
    for charge in request.charges:
        read_bucket(context, charge).settle()
    plan = decide_debts(context)
    refusal = find_refusal(context, plan)
    return [
        context.now,
        refusal[0] if refusal else None,
        [_describe_charge(context, charge) for charge in request.charges],
        [_describe_debt(context, charge) for charge in plan.charges] if plan else [],
        int(plan is not None and plan.cause == EXEMPT_CAUSE),
        pack_exempt_time(plan.exempt_time) if plan else [],
        [at for one in plan.list_admissions() for at in pack_span(one.starts_at, one.ends_at)]
        if plan
        else [],
    ]


def _describe_charge(context: CommitContext, charge: BucketOperation) -> list[int | None]:
    bucket = read_bucket(context, charge)
    wait, window_index = bucket.compute_wait(charge)
    used = (bucket.count_used(charge, index) for index in range(len(charge.windows)))
    return [None if wait == UNTIL_UNLOCKED else int(wait), window_index, *used]


def _describe_debt(context: CommitContext, charge: DebtCharge) -> list[int]:
    decision = decide_send(context.debts, [charge], context.now)
    is_full = decision.refusal is not None
    reply = [int(is_full), compute_scope_wait(context, charge) if is_full else 0]
    debt = context.debts[charge.bucket]
    for index, window in enumerate(debt.windows):
        unverified, verified = sum(window.unverified), sum(window.verified)
        if charge.country is not None and index:
            unverified = count_other_countries(debt, charge.country)
        allowance = compute_allowance(charge.terms, index, verified, charge.price)
        reply += [unverified, allowance]
    return reply
