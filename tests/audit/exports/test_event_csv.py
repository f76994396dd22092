"""Events as CSV: a spreadsheet shows every value, and runs none."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.audit.exports.event_csv import CSV_COLUMNS, FORMULA_STARTS, format_csv


def read_rows(*events: dict[str, Any]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(format_csv(events), newline="")))


def test_each_event_is_a_row_and_each_member_a_cell() -> None:
    """What has no column of its own is JSON in the last one."""
    event = {
        "type": "otp.rejected",
        "at": "2026-11-24T09:30:00.123Z",
        "client_ip": "203.0.113.9",
        "client_ip_changed": True,
        "attempts_left": 4,
        "versions": {"config": 'a, "b"'},
        "partition": 7,
    }

    (row,) = read_rows(event)

    assert [*CSV_COLUMNS, "others"] == [*row]
    assert ("otp.rejected", "203.0.113.9", "true", "4", "") == tuple(
        row[name] for name in ("type", "client_ip", "client_ip_changed", "attempts_left", "tenant")
    )
    assert {"versions": {"config": 'a, "b"'}, "partition": 7} == json.loads(row["others"])


@pytest.mark.parametrize(
    "value", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "  =1", "\uff1d1"]
)
def test_a_cell_that_begins_like_a_formula_is_text(value: str) -> None:
    """Any client of Redis may have written it, and a tenant chooses names. Seen to fail without."""
    (row,) = read_rows({"tenant": value, "reason": value})

    assert (f"'{value}", f"'{value}") == (row["tenant"], row["reason"])


@given(value=st.text())
def test_no_value_becomes_a_formula_or_another_row(value: str) -> None:
    """Also not one that holds quotes, commas or line breaks."""
    rows = read_rows({"tenant": value, value or "x": value}, {"tenant": "last"})

    assert "last" == rows[-1]["tenant"]
    for cell in rows[0].values():
        assert not cell.lstrip(" ").startswith(FORMULA_STARTS)


@pytest.mark.parametrize("start", ["=", " =", "+", "-", "@", "\uff1d", '"=', "'=", ";="])
def test_no_cell_of_a_spreadsheet_that_divides_at_semicolons_is_a_formula(start: str) -> None:
    """Excel does where the decimal sign is a comma. Seen to fail with the first character alone.

    The value may stand in a column, in the JSON of the others, or in a name there.
    """
    value = f"x;{start}HYPERLINK(0)"
    text = format_csv([{"tenant": value, "versions": {value: [value]}, value: value}])

    for line in text.splitlines()[1:]:
        for cell in line.split(";"):
            assert not cell.lstrip(' "').startswith(FORMULA_STARTS), cell
    assert {"versions": {value: [value]}, value: value} == json.loads(
        read_rows({"tenant": value, "versions": {value: [value]}, value: value})[0]["others"]
    )


def test_without_events_there_is_a_header() -> None:
    """A program that reads it finds the columns."""
    assert ",".join((*CSV_COLUMNS, "others")) + "\r\n" == format_csv([])
