"""What replies of the scripts have about debts, the brake on SMS pumping; indexes are from 1."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from otp_service.core.commit import Commit, Committed, DebtState, OverDebt
from otp_service.core.pumping.admissions import Admission
from otp_service.core.pumping.commits import DebtOutcome
from otp_service.core.pumping.debt import PERIODS_MS
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.core.pumping.known_number import ExemptTime
from otp_service.store.debt_draft import EXEMPT_CAUSE, OVER_CAUSE


def add_debts(committed: Committed, reply: Sequence[Any], commit: Commit) -> Committed:
    """Return what was committed with what its reply says about debts (`lua/debt_commit.lua`)."""
    raises, pays, cause, _charged, exempt_time, *over = reply
    outcome = DebtOutcome(
        is_exempt=cause == EXEMPT_CAUSE,
        over=_decode_refusal(over, commit) if over else None,
        is_uncharged=cause == OVER_CAUSE,
        exempt_time=decode_exempt_time(exempt_time),
    )
    return replace(
        committed, debts=outcome, raises_allowance=bool(raises), pays_exempt_sends=bool(pays)
    )


def decode_over_debt(figures: Sequence[int], wait_ms: int, commit: Commit) -> OverDebt:
    """Return the refusal of a scope."""
    charge = _list_charges(commit)[figures[0] - 1]
    return OverDebt(_decode_refusal(figures, commit), charge.price, wait_ms)


def decode_debt_states(states: Sequence[Sequence[int]], commit: Commit) -> tuple[DebtState, ...]:
    """Return the scopes of a commit that was inspected."""
    return tuple(map(_decode_debt_state, _list_charges(commit), states))


def decode_exempt_time(instants: Sequence[int]) -> ExemptTime | None:
    """Return when a number is exempt; an empty list is never."""
    return ExemptTime(*instants) if instants else None


def decode_admissions(instants: Sequence[int], now: int) -> tuple[Admission, ...]:
    """Return the spans in which a send is admitted; a commit without debts has one."""
    if not instants:
        return (Admission(now),)
    starts, ends = instants[::2], (*instants[1::2], None)
    return tuple(map(Admission, starts, ends))


def _decode_debt_state(charge: DebtCharge, state: Sequence[int]) -> DebtState:
    is_full, wait_ms, *figures = state
    hour, day = figures[:2], figures[2:]
    return DebtState(charge, bool(is_full), wait_ms, (hour[0], day[0]), (hour[1], day[1]))


def _decode_refusal(figures: Sequence[int], commit: Commit) -> DebtRefusal:
    debt_index, window_index, unverified, allowance = figures
    bucket = _list_charges(commit)[debt_index - 1].bucket
    return DebtRefusal(bucket, unverified, allowance, PERIODS_MS[window_index - 1])


def _list_charges(commit: Commit) -> tuple[DebtCharge, ...]:
    return commit.debts.charges if commit.debts else ()
