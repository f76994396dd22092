"""Ranges, operator blocks and addresses count messages, whatever each of them costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.pumping.debt import EMPTY_DEBT
from otp_service.core.pumping.decision import decide_send, repay_charge
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE
from otp_service.core.pumping.scopes import MESSAGE_UNITS, DebtLimit, DebtUnit, Floors
from otp_service.core.pumping.send_debts import (
    BrakeSettings,
    Measure,
    SendFigures,
    SendSubject,
    build_debt_charges,
)
from otp_service.core.timestamps import DAY_MS, HOUR_MS


NOW = 20_000 * DAY_MS
FLOORS = Floors(
    range_sends=(5, 9),
    block_sends=(5, 9),
    country_money=(10**12, 10**12),
    new_countries_money=(10**12, 10**12),
    address_countries=100,
)
SETTINGS = BrakeSettings(10**15, floors=FLOORS)
COUNTRIES = ("US", "IN", "GB", "DE", "ID", "MG", "CA", "AT")
"""From 0.008 to 0.49 US dollars."""


class Sends:
    """Messages to countries and numbers in turn, of which none verifies."""

    def __init__(self, settings=SETTINGS):
        self.settings = settings
        self.debts = {}

    def send(self, subject, price, now=NOW):
        """Return the limit that refuses a message, or None."""
        charges = build_debt_charges(
            subject, price, Measure.UNVERIFIED, SendFigures(), self.settings
        )
        decision = decide_send(self.debts, charges, now)
        self.debts.update(decision.debts)
        return decision.refusal and decision.refusal.bucket.limit

    def send_from_address(self, country, index=0, now=NOW):
        """Send to a new number, so that only the address can refuse."""
        subject = SendSubject("shop", country, f"range-{index}", f"block-{index}", "192.0.2.1")
        return self.send(subject, DEFAULT_PRICE_TABLE.find_price(country), now)


@given(st.lists(st.sampled_from(COUNTRIES), min_size=17, max_size=17))
def test_an_address_admits_sixteen_messages_of_any_countries_and_not_the_seventeenth(countries):
    """One message for 0.49 is one message, and no 61 for 0.008."""
    sends = Sends()

    refusals = [sends.send_from_address(country, i) for i, country in enumerate(countries)]

    assert [None] * 16 + [DebtLimit.UNVERIFIED_ADDRESS] == refusals


@given(st.lists(st.sampled_from(COUNTRIES), min_size=33, max_size=33))
def test_an_address_admits_thirty_two_messages_of_any_countries_in_a_day(countries):
    sends = Sends()

    refusals = [
        sends.send_from_address(country, i, NOW + i * HOUR_MS // 4)
        for i, country in enumerate(countries)
    ]

    assert [None] * 32 + [DebtLimit.UNVERIFIED_ADDRESS] == refusals


@pytest.mark.parametrize("limit", [DebtLimit.UNVERIFIED_RANGE, DebtLimit.UNVERIFIED_BLOCK])
@given(prices=st.lists(st.integers(1, 10**6), min_size=6, max_size=6))
def test_a_range_and_a_block_admit_as_many_messages_at_any_prices(limit, prices):
    """A price changes with the settings, and with the route of a prefix that is inside of a block."""
    is_range = limit is DebtLimit.UNVERIFIED_RANGE
    floors = replace(FLOORS, **{"block_sends" if is_range else "range_sends": (99, 99)})
    sends = Sends(replace(SETTINGS, floors=floors))
    subject = SendSubject("shop", "GB", "+44740012", "+4474001")

    refusals = [sends.send(subject, price) for price in prices]

    assert [None] * 5 + [limit] == refusals


@pytest.mark.parametrize("limit", [one for one in DebtLimit if one.unit is DebtUnit.MESSAGES])
def test_a_scope_of_messages_knows_no_price(limit):
    """Neither its floor nor its charge; and each message is repaid whole."""
    subject = SendSubject("shop", "GB", "+44740012", "+4474001", "192.0.2.1")
    cheap, dear = (
        next(
            charge
            for charge in build_debt_charges(
                subject, price, Measure.UNVERIFIED, SendFigures(), SETTINGS
            )
            if charge.bucket.limit is limit
        )
        for price in (8_000, 490_000)
    )

    assert cheap == dear
    assert MESSAGE_UNITS == cheap.price
    charged = decide_send({}, [cheap], NOW).debts
    repaid = repay_charge(charged, dear, NOW, NOW)
    assert [(0,) * 7] * 2 == [window.unverified for window in repaid.windows]
    assert EMPTY_DEBT != charged[cheap.bucket]


@pytest.mark.parametrize(
    ("unit", "figures", "text"),
    [
        (DebtUnit.MONEY, (640_000, 2_000_000_000), "0.64 of 2,000.00 EUR"),
        (DebtUnit.MONEY, (1_075_000, 1_099_999), "1.075 of 1.10 EUR"),
        (DebtUnit.MESSAGES, (16_000_000, 16_000_000), "16 of 16 messages"),
        (DebtUnit.MESSAGES, (15_500_000, 16_999_999), "15.5 of 16.9 messages"),
        (DebtUnit.COUNTRIES, (3, 3), "3 of 3 countries"),
    ],
)
def test_figures_are_shown_with_their_unit(unit, figures, text):
    """A part of a message is rounded down: it admits none."""
    assert text == unit.format_use(*figures, "EUR")
