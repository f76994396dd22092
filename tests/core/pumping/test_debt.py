"""The bucket of a scope: what it counts, for how long, and what a repayment leaves."""

from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.pumping.debt import (
    EMPTY_DEBT,
    PERIODS_MS,
    SLOTS_PER_PERIOD,
    Debt,
    charge_debt,
    list_changes,
    repay_debt,
    settle_debt,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS


NOW = 1_763_814_000_123

instants = st.integers(NOW, NOW + 2 * DAY_MS)
amounts = st.integers(1, 500_000)


def sum_unverified(debt: Debt) -> tuple[int, ...]:
    return tuple(sum(window.unverified) for window in debt.windows)


def charge_all(charges: list[tuple[int, int]]) -> Debt:
    debt = EMPTY_DEBT
    for instant, amount in sorted(charges):
        debt = charge_debt(debt, amount, instant)
    return debt


@given(st.lists(st.tuples(instants, amounts), min_size=1, max_size=30))
def test_each_charge_counts_for_its_window_and_a_sixth_longer_at_most(charges):
    """Otherwise more than the allowance would fit into some hour."""
    now = max(instant for instant, _ in charges)
    debt = charge_all(charges)

    for period_ms, unverified in zip(PERIODS_MS, sum_unverified(debt), strict=True):
        longer = period_ms + period_ms // SLOTS_PER_PERIOD
        inside = sum(amount for instant, amount in charges if instant > now - period_ms)
        within_longer = sum(amount for instant, amount in charges if instant > now - longer)
        assert inside <= unverified <= within_longer


@given(
    st.lists(st.tuples(instants, amounts), max_size=20),
    st.tuples(instants, amounts),
    st.integers(0, 2 * DAY_MS),
)
def test_a_repayment_leaves_the_bucket_as_if_the_send_had_never_been_charged(others, send, later):
    """Exactly, to the millionth: what is left over would add up to a refusal."""
    charged_at, amount = send
    now = max(instant for instant, _ in [*others, send]) + later

    repaid = repay_debt(charge_all([*others, send]), amount, charged_at, now)

    assert settle_debt(charge_all(others), now) == repaid


@given(st.permutations([(NOW, 1, NOW), (NOW + 1, 20, NOW + HOUR_MS), (NOW + 2, 300, NOW + DAY_MS)]))
def test_the_order_of_repayments_changes_nothing(repayments):
    """Challenges verify in any order, and some much later than they were sent."""
    now = NOW + DAY_MS
    debt = charge_all([(instant, amount) for instant, amount, _ in repayments] + [(NOW + 3, 4000)])
    for instant, amount, _ in repayments:
        debt = repay_debt(debt, amount, instant, now, verified=amount)

    assert sum_unverified(debt) == (0, 4000)
    assert [sum(window.verified) for window in debt.windows] == [0, 321]


def test_a_repayment_after_the_window_takes_nothing_from_later_sends():
    """The send has left the window by itself."""
    later = NOW + 3 * HOUR_MS
    debt = charge_debt(charge_debt(EMPTY_DEBT, 70, NOW), 5, later)

    repaid = repay_debt(debt, 70, NOW, later)

    assert sum_unverified(repaid) == (5, 5)


@given(st.lists(st.tuples(instants, amounts), min_size=1, max_size=10), st.integers(1, 20 * DAY_MS))
def test_a_clock_that_is_set_back_leaves_the_bucket_as_full_as_it_was(charges, back):
    """It must not become empty, nor wait until the clock is there again."""
    debt = charge_all(charges)
    earlier = max(instant for instant, _ in charges) - back

    settled = settle_debt(debt, earlier)

    assert sum_unverified(settled) == sum_unverified(debt)
    assert sum_unverified(settle_debt(settled, earlier + 2 * DAY_MS)) == (0, 0)


@given(st.lists(st.tuples(instants, amounts), min_size=1, max_size=10))
def test_the_bucket_is_empty_at_the_last_change(charges):
    """So a wait is never longer."""
    now = max(instant for instant, _ in charges)
    last = list_changes(now)[-1]

    assert sum_unverified(settle_debt(charge_all(charges), last)) == (0, 0)
    assert last <= now + DAY_MS + DAY_MS // SLOTS_PER_PERIOD
