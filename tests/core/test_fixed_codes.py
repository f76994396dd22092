"""Fixed codes: of which numbers, and what nothing shows."""

import pytest

from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.phone_number import PhoneNumber, parse_number


NUMBER = "+447700900555"
FICTITIOUS = parse_number(NUMBER, allow_fictitious=True)
FIXED = FixedCodes({NUMBER: "123456", "+447400123456": "654321"})


def test_a_listed_number_has_its_code_and_no_other_one_has() -> None:
    """Every other code is drawn."""
    assert "123456" == FIXED.get_code(FICTITIOUS)
    assert FIXED.get_code(parse_number("+447700900556", allow_fictitious=True)) is None
    assert FixedCodes().get_code(FICTITIOUS) is None


def test_a_real_number_never_has_one() -> None:
    """Also where the rules did not refuse the table."""
    real = parse_number("+447400123456")

    assert FIXED.get_code(real) is None
    assert FIXED.get_code(PhoneNumber(NUMBER, "GB", 44, is_fictitious=False)) is None


def test_an_error_names_the_entry_and_neither_its_number_nor_its_code() -> None:
    """The number may be of a person who mistyped it."""
    table = {NUMBER: "1234567", "+447400123456": "123456", "nonsense": "code"}

    errors = [*FixedCodes(table).find_errors(digits=6)]

    assert [
        "entry 1 needs a code of 6 ASCII digits",
        "entry 2 needs a fictitious number, like +447700900123",
        "entry 3 needs a fictitious number, like +447700900123",
        "entry 3 needs a code of 6 ASCII digits",
    ] == errors


def test_the_digits_are_those_of_the_policy() -> None:
    """A code of another length could not be typed."""
    assert [] == [*FixedCodes({NUMBER: "12345678"}).find_errors(digits=8)]
    assert 1 == len([*FixedCodes({NUMBER: "123456"}).find_errors(digits=8)])


@pytest.mark.parametrize("value", [["a"], "a", {NUMBER: 123456}, {NUMBER: ["123456"]}, None])
def test_anything_but_a_table_of_texts_is_refused(value: object) -> None:
    """A number in TOML would lose its zeros."""
    with pytest.raises(TypeError):
        FixedCodes.from_table(value)


def test_nothing_prints_a_number_or_a_code() -> None:
    """R68: a traceback or a report may contain it."""
    for text in (repr(FIXED), str(FIXED), str(FIXED.__rich_repr__())):
        assert "123456" not in text
        assert "4477" not in text
    assert "FixedCodes(of 2 numbers)" == repr(FIXED)
    assert "of 1 number" == str(FixedCodes({NUMBER: "123456"}))
