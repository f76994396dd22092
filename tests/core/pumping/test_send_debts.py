"""Which scopes a send is charged in."""

import pytest
from msgspec.structs import replace

from otp_service.core.pumping.allowance import Figures
from otp_service.core.pumping.scopes import MESSAGE_UNITS, BrakeMode, DebtLimit, derive_block
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    Outage,
    SendFigures,
    SendSubject,
    build_debt_charges,
    choose_measure,
)


NOW = 1_763_814_000_123
PRICE = 75_000
SETTINGS = BrakeSettings(day_budget=1_000_000_000)
SUBJECT = SendSubject("shop", "DE", "+4915100", "+491510", "192.0.2.1")


def list_limits(measure, subject=SUBJECT):
    charges = build_debt_charges(subject, PRICE, measure, SendFigures(), SETTINGS)
    return [charge.bucket.limit for charge in charges]


def count_messages(hour, day):
    """Return floors of messages, as a bucket has them."""
    return hour * MESSAGE_UNITS, day * MESSAGE_UNITS


def test_a_send_is_charged_from_the_narrowest_scope_to_the_widest():
    assert list_limits(Measure.UNVERIFIED) == [
        DebtLimit.UNVERIFIED_RANGE,
        DebtLimit.UNVERIFIED_BLOCK,
        DebtLimit.UNVERIFIED_COUNTRY,
        DebtLimit.UNVERIFIED_NEW_COUNTRIES,
        DebtLimit.UNVERIFIED_ADDRESS,
        DebtLimit.UNVERIFIED_COUNTRIES,
        DebtLimit.SPEND_OVERALL,
    ]


def test_a_send_without_an_address_has_no_budget_of_one():
    subject = SendSubject("shop", "DE", "+4915100", "+491510")

    limits = list_limits(Measure.UNVERIFIED, subject)

    assert {DebtLimit.UNVERIFIED_ADDRESS, DebtLimit.UNVERIFIED_COUNTRIES}.isdisjoint(limits)


def test_an_unknown_block_has_no_debt():
    """Otherwise all numbers without one would share a block."""
    limits = list_limits(Measure.UNVERIFIED, replace(SUBJECT, block=""))

    assert DebtLimit.UNVERIFIED_BLOCK not in limits
    assert DebtLimit.UNVERIFIED_RANGE in limits


def test_a_known_number_counts_in_the_budget_of_the_day_alone():
    assert [DebtLimit.SPEND_OVERALL] == list_limits(Measure.EXEMPT)


def test_the_brake_that_is_off_charges_nothing():
    settings = replace(SETTINGS, mode=BrakeMode.OFF)

    assert () == build_debt_charges(SUBJECT, PRICE, Measure.UNVERIFIED, SendFigures(), settings)


def test_record_mode_refuses_nothing_but_what_exceeds_the_budget_of_the_day():
    settings = replace(SETTINGS, mode=BrakeMode.RECORD)
    charges = build_debt_charges(SUBJECT, PRICE, Measure.UNVERIFIED, SendFigures(), settings)

    assert [DebtLimit.SPEND_OVERALL] == [c.bucket.limit for c in charges if c.refuses]
    assert [DebtLimit.SPEND_OVERALL] == [c.bucket.limit for c in charges if c.is_always_charged]


def test_a_volume_is_never_a_debt():
    limits = list_limits(Measure.VOLUME)

    assert limits == [
        DebtLimit.VOLUME_COUNTRY,
        DebtLimit.VOLUME_NEW_COUNTRIES,
        DebtLimit.SPEND_OVERALL,
    ]
    assert not any(limit.is_repaid for limit in limits)


def test_the_floors_of_ranges_shrink_while_the_country_is_strained():
    """An attack on many ranges then has less in each, before the country is used up."""
    calm, strained = (
        build_debt_charges(
            SUBJECT, PRICE, Measure.UNVERIFIED, SendFigures(is_strained=value), SETTINGS
        )
        for value in (False, True)
    )

    assert [count_messages(16, 32), count_messages(32, 80)] == [c.terms.floors for c in calm[:2]]
    assert [count_messages(3, 4), count_messages(3, 6)] == [c.terms.floors for c in strained[:2]]
    assert calm[2:] == strained[2:]


def test_only_countries_without_history_share_a_budget_of_the_tenant():
    """So an attack in many new countries is bounded, and uses up none of the others."""
    figures = SendFigures(country=Figures(0.4, 0.3, (10**9, 10**9)))

    charges = build_debt_charges(SUBJECT, PRICE, Measure.UNVERIFIED, figures, SETTINGS)

    assert DebtLimit.UNVERIFIED_NEW_COUNTRIES not in [charge.bucket.limit for charge in charges]


def test_a_range_learns_the_share_of_its_country_and_no_usual_amount():
    """Otherwise each of its thousands of ranges would have the allowance of the country."""
    figures = SendFigures(country=Figures(0.4, 0.3, (10**9, 10**9)))

    charge = build_debt_charges(SUBJECT, PRICE, Measure.UNVERIFIED, figures, SETTINGS)[0]

    assert Figures(0.4, 0.3, (0, 0)) == charge.terms.figures


@pytest.mark.parametrize(
    ("outage", "measure"),
    [
        (Outage(NOW), Measure.VOLUME),
        (Outage(NOW, country="DE"), Measure.VOLUME),
        (Outage(NOW, country="FR"), Measure.UNVERIFIED),
        (Outage(NOW, country="DE", tenant="shop"), Measure.VOLUME),
        (Outage(NOW, country="DE", tenant="bank"), Measure.UNVERIFIED),
        (Outage(NOW + 1), Measure.UNVERIFIED),
        (Outage(NOW - 1, NOW), Measure.UNVERIFIED),
        (Outage(NOW - 1, NOW + 1), Measure.VOLUME),
    ],
)
def test_a_send_during_an_outage_is_no_debt(outage, measure):
    """Honest people cannot verify then."""
    chosen = choose_measure(
        is_delivery=False, is_exempt=False, outages=(outage,), tenant="shop", country="DE", now=NOW
    )

    assert measure == chosen


@pytest.mark.parametrize(
    ("is_delivery", "is_exempt", "measure"),
    [
        (True, False, Measure.VOLUME),
        (False, False, Measure.UNVERIFIED),
        (False, True, Measure.EXEMPT),
    ],
)
def test_codes_that_are_checked_elsewhere_are_measured_by_volume(is_delivery, is_exempt, measure):
    chosen = choose_measure(
        is_delivery=is_delivery,
        is_exempt=is_exempt,
        outages=(),
        tenant="shop",
        country="DE",
        now=NOW,
    )

    assert measure == chosen


def test_a_block_is_ten_ranges():
    assert "+4915123" == derive_block("+491512345678")
