"""What is learned from hourly totals, and what an attack must not teach."""

import pytest

from otp_service.core.pumping.allowance import NO_FIGURES
from otp_service.core.pumping.usual_traffic import (
    DEFAULT_LEARNING,
    HourTotals,
    learn_figures,
    learn_volume_figures,
)


PRICE = 75_000
QUIET_HOUR = HourTotals(verified=10 * PRICE, unverified=4 * PRICE)
ATTACKED_HOUR = HourTotals(verified=10 * PRICE, unverified=40 * PRICE, has_refusals=True)


def test_fifty_verifications_are_needed_before_anything_is_learned():
    """A new country has its floors alone."""
    hours = [HourTotals()] * 23 + [HourTotals(verified=49 * PRICE)]

    assert NO_FIGURES == learn_figures(hours, PRICE)
    assert NO_FIGURES != learn_figures([*hours[1:], HourTotals(verified=50 * PRICE)], PRICE)


def test_the_share_is_what_stays_unverified_for_each_unit_that_verifies():
    figures = learn_figures([QUIET_HOUR] * 24 * 14, PRICE)

    assert 0.4 == pytest.approx(figures.unverified_share)
    assert (10 * PRICE, 240 * PRICE) == figures.usual_verified


def test_later_days_count_more():
    worse = HourTotals(verified=10 * PRICE, unverified=8 * PRICE)

    rising = learn_figures([*[QUIET_HOUR] * 24 * 7, *[worse] * 24 * 7], PRICE)
    falling = learn_figures([*[worse] * 24 * 7, *[QUIET_HOUR] * 24 * 7], PRICE)

    assert rising.unverified_share > 0.6 > falling.unverified_share


@pytest.mark.parametrize(("unverified", "share"), [(0, 0.2), (30 * PRICE, 1.5)])
def test_the_share_has_bounds(unverified, share):
    hour = HourTotals(verified=10 * PRICE, unverified=unverified)

    assert share == learn_figures([hour] * 24 * 14, PRICE).unverified_share


def test_a_day_with_refusals_teaches_nothing():
    """R29: an attack of yesterday must not be the allowance of today."""
    quiet = learn_figures([QUIET_HOUR] * 24 * 13, PRICE)

    attacked = learn_figures([*[QUIET_HOUR] * 24 * 13, *[ATTACKED_HOUR] * 24], PRICE)

    assert quiet.unverified_share == attacked.unverified_share
    assert quiet.margin == attacked.margin


def test_after_two_weeks_of_refusals_the_least_attacked_day_counts():
    """With the floors alone, a busy service would be refused for ever."""
    less = HourTotals(verified=10 * PRICE, unverified=5 * PRICE, has_refusals=True)

    figures = learn_figures([*[ATTACKED_HOUR] * 24 * 13, *[less] * 24], PRICE)

    assert 0.5 == pytest.approx(figures.unverified_share)
    assert DEFAULT_LEARNING.max_margin == figures.margin


def test_the_margin_follows_the_variation_from_day_to_day():
    steady = learn_figures([QUIET_HOUR] * 24 * 14, PRICE)
    days = [HourTotals(verified=10 * PRICE, unverified=(4 + day % 3) * PRICE) for day in range(14)]
    varied = learn_figures([hour for hour in days for _ in range(24)], PRICE)

    assert DEFAULT_LEARNING.min_margin == steady.margin
    assert steady.margin < varied.margin <= DEFAULT_LEARNING.max_margin


def test_a_variation_that_chance_explains_needs_no_margin():
    """Ten messages a day vary by a third; z is for that."""
    hours = [
        HourTotals(verified=PRICE * (hour % 2), unverified=PRICE * (hour % 5 == day % 5))
        for day in range(14)
        for hour in range(24)
    ]

    assert DEFAULT_LEARNING.min_margin == learn_figures(hours, PRICE).margin


def test_the_margin_of_few_days_is_the_largest():
    figures = learn_figures([QUIET_HOUR] * 24 * 4, PRICE)

    assert DEFAULT_LEARNING.max_margin == figures.margin


def test_the_usual_hour_is_that_of_the_same_hour_of_the_day():
    """Nights are quiet."""
    busy = HourTotals(verified=100 * PRICE, unverified=40 * PRICE)
    day = [QUIET_HOUR] * 12 + [busy] * 12

    assert 10 * PRICE == learn_figures(day * 14, PRICE).usual_verified[0]
    assert 100 * PRICE == learn_figures([*day * 14, *day[:12]], PRICE).usual_verified[0]


def test_a_volume_may_be_three_times_the_usual_one():
    hour = HourTotals(verified=PRICE, unverified=2 * PRICE, volume=3 * PRICE)

    figures = learn_volume_figures([hour] * 24 * 14)

    allowed = (1 + figures.margin) * figures.unverified_share * figures.usual_verified[0]
    assert 3 * 6 * PRICE == allowed


def test_traffic_on_fewer_than_half_of_the_days_makes_no_volume_usual():
    """So a first message to a country does not end the budget that new countries share."""
    day = [HourTotals(volume=PRICE)] * 24
    none = [HourTotals()] * 24

    assert NO_FIGURES == learn_volume_figures([*none * 8, *day * 6])
    assert NO_FIGURES != learn_volume_figures([*none * 6, *day * 8])
