"""Formulas as operators write them to try one: `deviations=3,floors.range_sends=8/16`, or a TOML file.

The names are those of the structs: parts of BrakeSettings, `floors.` with a part of Floors, `learning.` with
a part of Learning. Money is in units of the currency. What is not named is as the service has it.
"""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from otp_service.core.pumping.memory_brake import BrakeFormula
from otp_service.core.pumping.prices import Money, PriceTable
from otp_service.core.pumping.scopes import DEFAULT_FLOORS, Floors
from otp_service.core.pumping.send_debts import BrakeSettings


NO_DAY_BUDGET: Final = 2**62
"""Without a budget in the formula no day has one."""

Value = int | float | tuple[int, int] | tuple[float, float]
_MONEY_NAMES: Final = {"day_budget", "floors.country_money", "floors.new_countries_money"}
_SETTINGS_NAMES: Final = ("day_budget", "deviations", "strained_parts", "strained_deviations")


class InvalidFormula(ValueError):
    """A text is no formula; the message says what to write."""


def list_names(formula: BrakeFormula) -> dict[str, Value]:
    """Return the name of each part with its value."""
    settings = formula.settings
    named = {name: getattr(settings, name) for name in _SETTINGS_NAMES}
    for prefix, struct in (("floors", settings.floors), ("learning", formula.learning)):
        named |= {f"{prefix}.{name}": v for name, v in msgspec.structs.asdict(struct).items()}
    return named


def parse_pairs(text: str) -> dict[str, str]:
    """Return the parts of `name=value,name=value`. Raises InvalidFormula."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise InvalidFormula("write name=value, several with commas between them")
    return {name.strip(): value.strip() for name, _, value in pairs}


def flatten_tables(tables: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested tables, each with its name like `floors.range_sends`."""
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from flatten_tables(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def build_default_formula(prices: PriceTable) -> BrakeFormula:
    """Return what the service has without settings, in the currency of the prices."""
    floors = DEFAULT_FLOORS
    money = (floors.country_money, floors.new_countries_money)
    country, new = ((prices.convert_usd(hour), prices.convert_usd(day)) for hour, day in money)
    floors = replace(floors, country_money=country, new_countries_money=new)
    return BrakeFormula(BrakeSettings(NO_DAY_BUDGET, floors=floors))


def build_formula(values: Mapping[str, object], default: BrakeFormula) -> BrakeFormula:
    """Return `default` with these parts: texts like `8/16`, numbers, lists of two. Raises InvalidFormula."""
    usual = list_names(default)
    parts: dict[str, dict[str, Value]] = {"": {}, "floors": {}, "learning": {}}
    for name, value in values.items():
        if name not in usual:
            raise InvalidFormula(f"{name} is no part of a formula: {', '.join(usual)}")
        group, _, part = name.rpartition(".")
        parts[group][part] = _convert_value(name, value, usual[name])
    floors = _cap_strained_floors(replace(default.settings.floors, **parts["floors"]))
    settings = replace(default.settings, floors=floors, **parts[""])
    learning = replace(default.learning, **parts["learning"])
    if learning.min_margin > learning.max_margin:
        raise InvalidFormula("learning.min_margin is more than learning.max_margin")
    return BrakeFormula(settings, learning)


def _convert_value(name: str, value: object, usual: Value) -> Value:
    if not isinstance(usual, tuple):
        return _convert_number(name, value, usual)
    pair = value.split("/") if isinstance(value, str) else value
    if not isinstance(pair, list | tuple) or len(pair) != len(usual):
        raise InvalidFormula(f"{name} has two values, for an hour and for a day, like 8/16")
    hour, day = (_convert_number(name, one, usual[0]) for one in pair)
    return hour, day


def _convert_number(name: str, value: object, usual: float) -> float:
    text = str(value) if isinstance(value, int | float | str | Decimal) else ""
    try:
        if name in _MONEY_NAMES:
            return Money.from_number(text).micro_units
        number = int(text) if isinstance(usual, int) else float(text)
    except ValueError as error:
        rule = str(error) if name in _MONEY_NAMES else "a number is missing"
        raise InvalidFormula(f"{name}={text}: {rule}") from None
    if not (math.isfinite(number) and number >= 0):
        raise InvalidFormula(f"{name}={text}: it is less than 0, or not finite")
    return number


def _cap_strained_floors(floors: Floors) -> Floors:
    """Return the floors; those of a strained country are at most those of a calm one, as in the service."""

    def cap(strained: tuple[int, int], calm: tuple[int, int]) -> tuple[int, int]:
        return min(strained[0], calm[0]), min(strained[1], calm[1])

    return replace(
        floors,
        strained_range_sends=cap(floors.strained_range_sends, floors.range_sends),
        strained_block_sends=cap(floors.strained_block_sends, floors.block_sends),
    )
