"""The words for what a value must be, made of its type."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from otp_service.core.value_rule import build_rule, describe_json_type, describe_rule, is_text


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (str, "must be text"),
        (Annotated[str, Meta(min_length=1, max_length=9)], "must be text of 1 to 9 characters"),
        (Annotated[str, Meta(max_length=9)] | None, "must be text of at most 9 characters"),
        (int, "must be a whole number"),
        (Annotated[int, Meta(ge=1, le=9)] | None, "must be a whole number from 1 to 9"),
        (Annotated[int, Meta(ge=8)], "must be a whole number of at least 8"),
        (Annotated[float, Meta(gt=0, le=30)], "must be a number over 0 and at most 30"),
        (bool, "must be true or false"),
        (Literal["b", "a"], "must be one of b, a"),
        (Color, "must be one of red, green"),
        (Annotated[str, Meta(pattern="^a$", extra=build_rule("must be an a"))], "must be an a"),
        (Annotated[datetime, Meta(tz=True, extra=build_rule("must be a time"))], "must be a time"),
        (int | str, ""),
    ],
)
def test_a_rule_is_made_of_the_type_and_not_of_its_name(kind, rule):
    """Operators and callers do not know what `str | null` is."""
    assert rule == describe_rule(kind)


def test_json_types_have_plain_names():
    values = [True, 1, 1.5, "a", [1], {"a": 1}, None]

    assert [
        *("true or false", "a number", "a number", "text", "an array", "an object", "null")
    ] == [describe_json_type(value) for value in values]


def test_times_are_text_in_json():
    assert [True, True, False] == [is_text(kind) for kind in (str | None, datetime, int)]
