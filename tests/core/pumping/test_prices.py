"""What a message costs, and amounts of money."""

import pytest

from otp_service.core.pumping.prices import (
    DEFAULT_PRICES,
    OTHER_COUNTRY_PRICE,
    Money,
    Price,
    PriceSource,
    PriceTable,
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
