"""What a message costs, and amounts of money."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otp_service.core.pumping.prices import (
    DEFAULT_PRICES,
    MICRO_UNITS,
    OTHER_COUNTRY_PRICE,
    Money,
    Price,
    PriceSource,
    PriceTable,
    format_estimate,
    format_money,
)


TABLE = PriceTable(by_country={"DE": 70_000, "FR": 1}, by_provider={"twilio": {"DE": 65_000}})


@pytest.mark.parametrize(
    ("country", "provider", "price"),
    [
        ("DE", "twilio", Price(65_000, PriceSource.PROVIDER)),
        ("DE", "other", Price(70_000, PriceSource.SETTINGS)),
        ("DE", None, Price(70_000, PriceSource.SETTINGS)),
        ("FR", "twilio", Price(1, PriceSource.SETTINGS)),
        ("GB", "twilio", Price(DEFAULT_PRICES["GB"], PriceSource.DEFAULT)),
        ("AQ", "twilio", Price(OTHER_COUNTRY_PRICE, PriceSource.OTHER_COUNTRY)),
    ],
)
def test_the_price_of_the_provider_is_before_that_of_the_settings_and_the_default(
    country, provider, price
):
    assert price == TABLE.look_up(country, provider)
    assert price.micro_units == TABLE.find_price(country, provider)


def test_the_default_prices_are_converted_and_the_configured_ones_are_not():
    euros = PriceTable(currency="EUR", usd_rate=Money.from_number(0.92), by_country={"DE": 75_000})

    assert 36_800 == euros.find_price("GB")
    assert 230_000 == euros.find_price("AQ")
    assert 75_000 == euros.find_price("DE")


def test_a_price_is_never_zero():
    """A message that costs nothing would be a debt of nothing."""
    assert 1 == PriceTable(currency="XAU", usd_rate=Money(1)).find_price("US")


@pytest.mark.parametrize(
    ("value", "micro_units", "text"),
    [
        (0.075, 75_000, "0.075"),
        ("0.0750", 75_000, "0.075"),
        (1500, 1_500_000_000, "1500"),
        (0.000001, 1, "0.000001"),
        (1e9, 10**15, "1000000000"),
        ("16250.5", 16_250_500_000, "16250.5"),
    ],
)
def test_money_is_exact_and_shown_as_it_is_written(value, micro_units, text):
    money = Money.from_number(value)

    assert micro_units == money.micro_units
    assert text == str(money)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, -0.0, 1e-7, 0.0000015, 1_000_000_001, float("inf"), True, None, [1]),
        *("", "free", "0,075", "NaN", "-Infinity", "1e400000"),
    ],
)
def test_money_is_over_zero_bounded_and_exact_to_a_millionth(value):
    with pytest.raises(ValueError, match="must be an amount of money"):
        Money.from_number(value)


AMOUNTS = st.integers(-(10**16), 10**16)


def read_money(text: str, currency: str = "EUR") -> Decimal:
    """Return the amount of a text in millionths."""
    digits, _, code = text.partition(" ")
    assert currency == code
    return Decimal(digits.replace(",", "")) * MICRO_UNITS


@given(amount=AMOUNTS)
@example(amount=75_000)
@example(amount=8_280)
@example(amount=-1)
def test_money_is_shown_with_all_its_digits(amount):
    """A price of 0.075 was shown as 0.07: format() rounds the float, which is a little less."""
    text = format_money(amount, "EUR")

    assert amount == read_money(text)
    decimals = text.removesuffix(" EUR").partition(".")[2]
    assert len(decimals) >= 2
    assert not decimals[2:].endswith("0")


@given(amount=AMOUNTS)
@example(amount=1_005_000)
def test_an_estimate_is_rounded_half_up_to_a_hundredth(amount):
    """Below a unit no digit is dropped: a floor of 0.004 is not nothing."""
    shown = read_money(format_estimate(amount, "EUR"))

    if amount < MICRO_UNITS:
        assert amount == shown
    else:
        assert shown == Decimal(amount).quantize(Decimal("1e4"), ROUND_HALF_UP)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (75_000, "0.075"),
        (100_000, "0.10"),
        (1_234_500_000, "1,234.50"),
        (0, "0.00"),
        (1, "0.000001"),
    ],
)
def test_money_has_two_decimals_and_groups_of_thousands(amount, text):
    assert f"{text} EUR" == format_money(amount, "EUR")
