"""The decision about a send: all scopes or none, never past an allowance, and a true wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.pumping.admissions import compute_wait
from otp_service.core.pumping.allowance import Figures, Terms, compute_allowance
from otp_service.core.pumping.debt import EMPTY_DEBT, settle_debt
from otp_service.core.pumping.decision import (
    DebtCharge,
    decide_send,
    repay_send,
)
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS, HOUR_MS


NOW = 1_763_814_000_123
PRICE = 75_000

RANGE = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject="+49151000")
COUNTRY = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRY, "shop", "DE")
OVERALL = ScopeBucket(DebtLimit.SPEND_OVERALL)

figures = st.builds(
    Figures,
    st.floats(0, 1),
    st.floats(0, 0.6),
    st.tuples(st.integers(0, 10 * PRICE), st.integers(0, 100 * PRICE)),
)
terms = st.builds(
    Terms,
    st.tuples(st.integers(0, 4 * PRICE), st.integers(0, 12 * PRICE)),
    figures,
    st.floats(0, 4),
)
gaps = st.lists(st.integers(0, HOUR_MS // 3), min_size=1, max_size=60)


def build_charge(bucket, sends, figures=None):
    terms = Terms((sends * PRICE, sends * PRICE), figures or Figures())
    return DebtCharge(bucket, terms, PRICE)


def send(debts, charges, now):
    decision = decide_send(debts, charges, now)
    debts.update(decision.debts)
    return decision


@given(terms, gaps, st.lists(st.booleans(), min_size=60, max_size=60))
def test_the_debt_never_exceeds_the_allowance(terms, gaps, verifies):
    """Whatever verifies in between, in any window that an attacker may choose."""
    debts, now, charge = {}, NOW, DebtCharge(COUNTRY, terms, PRICE)
    for gap, is_verified in zip(gaps, verifies, strict=False):
        now += gap
        decision = send(debts, [charge], now)
        if not decision.is_sent:
            continue
        debt = debts[COUNTRY]
        for index, window in enumerate(debt.windows):
            allowance = compute_allowance(terms, index, sum(window.verified), PRICE)
            assert sum(window.unverified) <= allowance
        if is_verified:
            debts.update(repay_send(debts, [charge], now, now, is_counted=True))


@given(st.integers(1, 6), gaps)
def test_no_hour_has_more_unverified_sends_than_the_floor(sends, gaps):
    """A true window of an hour, not one that begins at a full hour."""
    debts, now, sent = {}, NOW, []
    for gap in gaps:
        now += gap
        if send(debts, [build_charge(RANGE, sends)], now).is_sent:
            sent.append(now)

    for start in sent:
        assert sum(start <= instant < start + HOUR_MS for instant in sent) <= sends


@given(terms, terms, gaps)
def test_a_refused_send_is_admitted_after_the_wait_and_not_before(narrow, wide, gaps):
    """R52: Retry-After is true, also where two scopes refuse."""
    charges = [DebtCharge(RANGE, narrow, PRICE), DebtCharge(COUNTRY, wide, PRICE)]
    debts, now = {}, NOW
    for gap in gaps:
        now += gap
        is_sent = send(debts, charges, now).is_sent
        wait = compute_wait(debts, charges, now) if not is_sent else 0
        if wait:
            assert decide_send(debts, charges, now + wait).is_sent
            assert not decide_send(debts, charges, now + wait - 1).is_sent
        assert is_sent or wait


def test_a_refusal_in_a_narrow_scope_charges_nothing_wider():
    """R29: an attack on one range does not use up its country."""
    charges = [build_charge(RANGE, 3), build_charge(COUNTRY, 100), build_charge(OVERALL, 1000)]
    debts = {}
    decisions = [send(debts, charges, NOW) for _ in range(500)]

    assert 3 == sum(decision.is_sent for decision in decisions)
    assert decisions[-1].refusal.bucket == RANGE
    assert [3 * PRICE] * 3 == [sum(debts[c.bucket].windows[0].unverified) for c in charges]


def test_a_refusal_in_a_wide_scope_charges_nothing_narrower():
    """All scopes or none."""
    charges = [build_charge(RANGE, 100), build_charge(COUNTRY, 2)]
    debts = {}
    decisions = [send(debts, charges, NOW) for _ in range(5)]

    assert decisions[-1].refusal.bucket == COUNTRY
    assert 2 * PRICE == sum(debts[RANGE].windows[0].unverified)


@given(gaps, st.lists(st.sampled_from("ab"), min_size=60, max_size=60))
def test_record_mode_decides_as_refuse_mode(gaps, ranges):
    """So that an operator knows before switching what would be refused."""
    recorded, refused = {}, {}
    now = NOW
    for gap, name in zip(gaps, ranges, strict=False):
        now += gap
        bucket = ScopeBucket(DebtLimit.UNVERIFIED_RANGE, subject=name)
        charges = [build_charge(bucket, 2), build_charge(COUNTRY, 3)]
        would = send(recorded, [replace(c, refuses=False) for c in charges], now)
        does = send(refused, charges, now)
        assert would.is_sent
        assert would.refusal == does.refusal
        assert does.is_sent == (does.refusal is None)
    assert recorded == refused


@pytest.mark.parametrize("is_uncharged", [False, True], ids=["over", "exempt"])
def test_what_is_not_charged_still_counts_in_the_budget_of_the_day(is_uncharged):
    """Its message is sent, and costs money."""
    full = replace(build_charge(COUNTRY, 1), refuses=False)
    overall = replace(build_charge(OVERALL, 3), is_always_charged=True)
    debts = {}
    send(debts, [full, overall], NOW)

    decision = decide_send(
        debts, [build_charge(RANGE, 5), full, overall], NOW, is_uncharged=is_uncharged
    )

    assert decision.is_sent
    assert {OVERALL} == decision.debts.keys()
    assert 2 * PRICE == sum(decision.debts[OVERALL].windows[0].unverified)
    assert is_uncharged == (decision.refusal is None)


def test_an_open_scope_is_charged_and_never_full():
    """So that the budget is right again when the operator's exception ends."""
    debts, charge = {}, replace(build_charge(RANGE, 1), open_until=NOW + 1)

    assert all(send(debts, [charge], NOW).is_sent for _ in range(5))
    assert 5 * PRICE == sum(debts[RANGE].windows[0].unverified)
    assert not send(debts, [build_charge(RANGE, 1)], NOW).is_sent


def test_a_closed_scope_refuses_until_its_instant():
    charge = replace(build_charge(RANGE, 1), closed_until=NOW + 5_001)
    decision = send({}, [charge], NOW)

    assert not decision.is_sent
    assert 0 == decision.refusal.allowance
    assert 5_001 == compute_wait({}, [charge], NOW)
    assert send({}, [charge], NOW + 5_001).is_sent


@given(st.permutations([True] * 6 + [False] * 6))
def test_the_order_of_verified_and_unverified_sends_does_not_loosen_the_budget(order):
    """A verification repays its own send, and what it adds to the allowance is its share of one."""
    charge = build_charge(COUNTRY, 12, Figures(0.5, 0.0))
    debts = {}
    for is_verified in order:
        assert send(debts, [charge], NOW).is_sent
        if is_verified:
            debts.update(repay_send(debts, [charge], NOW, NOW, is_counted=True))

    rest = sum(send(debts, [charge], NOW).is_sent for _ in range(50))
    assert 12 + 3 - 6 == rest


def test_the_budget_of_the_day_is_never_repaid():
    """It is what all messages cost, and not a debt."""
    charges = [build_charge(RANGE, 2), build_charge(OVERALL, 2)]
    debts = {}
    for _ in range(2):
        assert send(debts, charges, NOW).is_sent
        debts.update(repay_send(debts, charges, NOW, NOW, is_counted=True))

    refusal = send(debts, charges, NOW).refusal

    assert refusal is not None
    assert (OVERALL, 2 * PRICE, 2 * PRICE) == (
        refusal.bucket,
        refusal.unverified,
        refusal.allowance,
    )


def test_a_second_verification_of_a_number_on_one_day_raises_no_allowance():
    """Otherwise one SIM of an attacker would pay for an attack on others."""
    charge = build_charge(COUNTRY, 1, Figures(1.0, 0.0))
    debts = {}
    for is_counted in (True, False, False):
        assert send(debts, [charge], NOW).is_sent
        debts.update(repay_send(debts, [charge], NOW, NOW, is_counted=is_counted))

    assert 2 == sum(send(debts, [charge], NOW).is_sent for _ in range(10))


def test_an_empty_scope_admits_one_message_however_expensive():
    """A floor below one price would refuse a country for ever."""
    charge = DebtCharge(COUNTRY, Terms((1, 1)), PRICE)
    debts = {}

    assert send(debts, [charge], NOW).is_sent
    assert not send(debts, [charge], NOW).is_sent
    assert settle_debt(debts[COUNTRY], NOW + 2 * DAY_MS).windows[1].unverified == (
        EMPTY_DEBT.windows[1].unverified
    )


def test_a_wait_is_found_although_the_clock_was_ahead_at_a_charge():
    """What was charged a day ahead ages from now on, so the scope is empty after its window."""
    debts, charge = {}, build_charge(RANGE, 1)
    send(debts, [charge], NOW + DAY_MS)

    wait = compute_wait(debts, [charge], NOW)

    corrected = {RANGE: settle_debt(debts[RANGE], NOW)}
    assert DAY_MS <= wait <= DAY_MS * 7 // 6
    assert not decide_send(corrected, [charge], NOW + wait - 1).is_sent
    assert decide_send(corrected, [charge], NOW + wait).is_sent
