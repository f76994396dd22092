"""Formulas as operators write them."""

import tomllib
from decimal import Decimal

import pytest
from msgspec.structs import asdict, replace

from otp_service.core.pumping.formula_text import (
    InvalidFormula,
    build_default_formula,
    build_formula,
    flatten_tables,
    list_names,
    parse_pairs,
)
from otp_service.core.pumping.prices import DEFAULT_PRICE_TABLE, Money, PriceTable
from otp_service.core.pumping.scopes import DEFAULT_FLOORS


DEFAULT = build_default_formula(DEFAULT_PRICE_TABLE)


def test_pairs_change_what_they_name_and_nothing_else():
    text = "deviations=3, floors.range_sends=8/16,day_budget=200.5,learning.min_margin=0.2"

    formula = build_formula(parse_pairs(text), DEFAULT)

    assert formula == replace(
        DEFAULT,
        settings=replace(
            DEFAULT.settings,
            deviations=3.0,
            day_budget=200_500_000,
            floors=replace(DEFAULT_FLOORS, range_sends=(8, 16)),
        ),
        learning=replace(DEFAULT.learning, min_margin=0.2),
    )


def test_a_toml_file_says_the_same_with_tables():
    toml = "deviations = 3\nday_budget = 200.5\n[floors]\ncountry_money = [1.1, 5]\n"
    values = dict(flatten_tables(tomllib.loads(toml, parse_float=Decimal)))

    assert build_formula(values, DEFAULT) == build_formula(
        parse_pairs("deviations=3,day_budget=200.5,floors.country_money=1.1/5"), DEFAULT
    )


def test_floors_of_a_strained_country_are_at_most_those_of_a_calm_one():
    floors = build_formula({"floors.range_sends": "2/3"}, DEFAULT).settings.floors

    assert (2, 3) == floors.strained_range_sends


def test_default_floors_are_converted_to_the_currency():
    formula = build_default_formula(PriceTable(currency="INR", usd_rate=Money(90_000_000)))

    assert (180_000_000, 900_000_000) == formula.settings.floors.country_money
    assert DEFAULT_FLOORS.range_sends == formula.settings.floors.range_sends


def test_every_part_of_floors_and_learning_has_a_name():
    names = set(list_names(DEFAULT))

    assert {f"floors.{name}" for name in asdict(DEFAULT_FLOORS)} <= names
    assert {f"learning.{name}" for name in asdict(DEFAULT.learning)} <= names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deviations", "write name=value"),
        ("mode=off", "mode is no part of a formula"),
        ("floors.range_sends=8", "two values"),
        ("floors.range_sends=8/x", "a number is missing"),
        ("floors.range_sends=8.5/9", "a number is missing"),
        ("deviations=-1", "less than 0"),
        ("deviations=nan", "not finite"),
        ("day_budget=0", "day_budget=0: "),
        ("learning.min_margin=0.7", "more than learning.max_margin"),
    ],
)
def test_an_invalid_formula_is_refused_with_what_to_write(text, message):
    with pytest.raises(InvalidFormula, match=message):
        build_formula(parse_pairs(text), DEFAULT)
