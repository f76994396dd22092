"""What replies of the scripts have about debts, the brake on SMS pumping; indexes are from 1."""

from collections.abc import Sequence

from msgspec.structs import replace

from otp_service.core.commit import Commit, Committed, DebtState, OverDebt
from otp_service.core.pumping.commits import DebtOutcome
from otp_service.core.pumping.debt import PERIODS_MS
from otp_service.core.pumping.decision import DebtCharge, DebtRefusal
from otp_service.store.debt_draft import EXEMPT_CAUSE, OVER_CAUSE


def add_debts(committed: Committed, reply: Sequence[int], commit: Commit) -> Committed:
    """Return what was committed with what its reply says about debts (`lua/debt_commit.lua`)."""
    raises, pays, cause, _charged, *over = reply
    outcome = DebtOutcome(
        is_exempt=cause == EXEMPT_CAUSE,
        over=_decode_refusal(over, commit) if over else None,
        is_uncharged=cause == OVER_CAUSE,
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
