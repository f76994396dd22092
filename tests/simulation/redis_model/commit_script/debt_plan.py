"""What a commit decides about debts, by `core/pumping/decision.py`."""

from typing import Any

from msgspec.structs import replace

from otp_service.core.pumping.admissions import (
    Admission,
    compute_wait,
    find_first_admission,
    list_admissions,
)
from otp_service.core.pumping.allowance import Figures, Terms
from otp_service.core.pumping.debt import PERIODS_MS
from otp_service.core.pumping.decision import (
    DebtCharge,
    DebtRefusal,
    SendDecision,
    decide_send,
)
from otp_service.core.pumping.known_number import (
    KNOWN_NUMBER_TTL_MS,
    ExemptTime,
    KnownNumber,
    find_exempt_time,
    is_exempt,
)
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.commit_request import DebtCharges, DebtOperation
from otp_service.store.debt_draft import EXEMPT_CAUSE, OVER_CAUSE
from tests.simulation.redis_model.commit_script.debt_book import name_scope
from tests.simulation.redis_model.commit_script.known_records import (
    Record,
    read_record,
    to_known_number,
)
from tests.simulation.redis_model.commit_script.script_call import CommitContext


CHARGED_CAUSE = 0
"""That of a send which is charged; debt_draft.py has the others."""


class DebtPlan:
    """What a commit does about debts: whether it is refused, which charges apply, and why others do not."""

    def __init__(self, context: CommitContext, debts: DebtCharges) -> None:
        """Decide. Reads the record of a known number, and the buckets of the charges that apply."""
        self.context = context
        self.debts = debts
        self.known = _read_current_record(context, debts.known_key)
        is_assumed = debts.is_assumed_known and debts.known_key > 0 and self.known is None
        known = to_known_number(self.known) if self.known else None
        self.is_noted = is_assumed or is_exempt(known, context.now)
        earlier_cause = max(context.call.earlier_cause, debts.earlier_cause)
        self.cause = EXEMPT_CAUSE if self.is_noted else earlier_cause
        self.exempt_time = self._find_exempt_time(known)
        self.charges = [build_charge(context, operation) for operation in debts.operations]
        self.decision: SendDecision = decide_send(
            context.debts, self.charges, context.now, is_uncharged=self.cause != CHARGED_CAUSE
        )

    @property
    def is_over(self) -> bool:
        """Whether a scope that only records has no room."""
        return self.decision.is_sent and self.decision.refusal is not None

    def describe_full_scope(self) -> list[int]:
        """Return the index of the scope that has no room, its window, unverified and allowance, or []."""
        refusal = self.decision.refusal
        if refusal is None:
            return []
        window = PERIODS_MS.index(refusal.period_ms) + 1
        return [self._find_index(refusal) + 1, window, refusal.unverified, refusal.allowance]

    def get_full_limit(self) -> str | None:
        """Return the limit of the scope that has no room, also if it only records."""
        refusal = self.decision.refusal
        return self.debts.operations[self._find_index(refusal)].limit if refusal else None

    @property
    def is_refused(self) -> bool:
        return not self.decision.is_sent

    def list_admissions(self) -> list[Admission]:
        """Return the spans in which the same send is admitted."""
        return list_admissions(
            self.context.debts,
            self.charges,
            self.context.now,
            self.exempt_time,
            is_uncharged=self.cause == OVER_CAUSE,
        )

    def compute_wait(self, earliest: int) -> int:
        """Return the milliseconds until the send is admitted, not before an instant."""
        return find_first_admission(earliest, self.list_admissions()) - self.context.now

    def describe_refusal(self, wait: int) -> tuple[list[Any], dict[str, Any]]:
        """Return the reply of a refusal, and the stamp of its event."""
        refusal = self.decision.refusal
        assert refusal is not None
        operation = self.debts.operations[self._find_index(refusal)]
        stamp = {
            "reason": "rate_limited",
            "limit": operation.limit,
            "wait": wait,
            "quota": refusal.allowance // max(1, operation.price),
            "period": refusal.period_ms // SECOND_MS,
            "unverified": refusal.unverified,
            "allowance": refusal.allowance,
        }
        return [b"over_debt", self.context.now, *self.describe_full_scope(), wait], stamp

    def _find_exempt_time(self, known: KnownNumber | None) -> ExemptTime | None:
        """Return when the number is exempt: by its record, or as an earlier commit has found."""
        is_assumed = self.debts.is_assumed_known and self.debts.known_key > 0
        now = self.context.now
        return (
            find_exempt_time(known, now, is_assumed_known=is_assumed)
            or self.debts.exempt_time
            or self.context.call.earlier_exempt_time
            or (ExemptTime(0) if self.cause == EXEMPT_CAUSE else None)
        )

    def _find_index(self, refusal: DebtRefusal) -> int:
        return next(i for i, one in enumerate(self.charges) if one.bucket == refusal.bucket)


def decide_debts(context: CommitContext) -> DebtPlan | None:
    """Return the plan of a commit; None without debts."""
    debts = context.request.debts
    return None if debts is None else DebtPlan(context, debts)


def build_charge(context: CommitContext, operation: DebtOperation) -> DebtCharge:
    """Return a charge of a scope as the core has it."""
    figures = Figures(operation.unverified_share, operation.margin, operation.usual_verified)
    return DebtCharge(
        name_scope(context.get_key(operation.key_index), operation.limit),
        Terms(operation.floors, figures, operation.deviations),
        operation.price,
        operation.refuses,
        operation.is_always_charged,
        operation.open_until,
        operation.closed_until,
        operation.recorded_from,
        operation.country,
    )


def pack_exempt_time(exempt_time: ExemptTime | None) -> list[int]:
    return pack_span(exempt_time.starts_at, exempt_time.ends_at) if exempt_time else []


def pack_span(starts_at: int, ends_at: int | None) -> list[int]:
    """Return a span as a reply has it: without an end that no time brings."""
    return [starts_at] if ends_at is None else [starts_at, ends_at]


def compute_scope_wait(context: CommitContext, charge: DebtCharge) -> int:
    """Return the wait until one scope admits its charge, also one that only records."""
    alone = replace(charge, refuses=True, recorded_from=0)
    return compute_wait(context.debts, [alone], context.now)


def _read_current_record(context: CommitContext, key_index: int) -> Record | None:
    """Return the record of a known number, unless the clock was set forward beyond its end."""
    record = read_record(context, key_index)
    if record and context.now - to_known_number(record).verified_at >= KNOWN_NUMBER_TTL_MS:
        return None
    return record
