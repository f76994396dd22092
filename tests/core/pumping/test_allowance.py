"""The formula of the allowance, and when a scope is strained."""

import pytest

from otp_service.core.pumping.allowance import Figures, Terms, compute_allowance, is_strained
from otp_service.core.pumping.debt import EMPTY_DEBT, charge_debt, settle_debt


NOW = 1_763_814_000_123
PRICE = 100
FIGURES = Figures(unverified_share=0.5, margin=0.5, usual_verified=(0, 200 * PRICE))
TERMS = Terms((10 * PRICE, 20 * PRICE), FIGURES, deviations=3)


def test_the_allowance_is_floor_and_expectation_with_its_margin_and_chance():
    """floor 20, E = 0.5 * 200 = 100, m E = 50, 3 sqrt(100) = 30; in prices."""
    assert (20 + 100 + 50 + 30) * PRICE == compute_allowance(TERMS, 1, 0, PRICE)


def test_without_history_the_floor_is_all():
    assert 10 * PRICE == compute_allowance(Terms((10 * PRICE, 20 * PRICE)), 0, 99 * PRICE, PRICE)


def test_more_verifications_than_usual_raise_the_allowance_and_fewer_do_not_lower_it():
    """On the day of a launch, and in the first minutes of an hour."""
    usual = compute_allowance(TERMS, 1, 0, PRICE)

    assert usual == compute_allowance(TERMS, 1, 200 * PRICE, PRICE)
    assert usual < compute_allowance(TERMS, 1, 400 * PRICE, PRICE)


@pytest.mark.parametrize(("sends", "strained"), [(150, False), (151, True)])
def test_a_scope_is_strained_halfway_from_the_expected_debt_to_the_allowance(sends, strained):
    """E is 100 and the allowance 200. The hour has no limit here."""
    terms = Terms((10**9, 20 * PRICE), FIGURES, deviations=3)
    debt = charge_debt(settle_debt(EMPTY_DEBT, NOW), sends * PRICE, NOW)

    assert strained == is_strained(terms, debt, PRICE, (0.1, 0.5))
