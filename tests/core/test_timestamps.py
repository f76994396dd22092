"""Instants: the RFC 3339 form that leaves the process, and milliseconds since 1970."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otp_service.core.timestamps import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    format_rfc3339,
    parse_rfc3339,
    to_datetime,
    to_epoch_ms,
)


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_survives_both_forms(epoch_ms):
    """Neither text nor datetime loses a millisecond, up to the end of the year 9999."""
    text = format_rfc3339(epoch_ms)

    assert epoch_ms == parse_rfc3339(text)
    assert epoch_ms == to_epoch_ms(to_datetime(epoch_ms))
    assert len("2026-11-22T00:00:00.000Z") == len(text)


def test_an_instant_after_the_year_9999_is_its_last_millisecond():
    """A forged entry can contain any integer, and formatting it must not fail."""
    assert "9999-12-31T23:59:59.999Z" == format_rfc3339(10**18)


def test_fractions_of_a_millisecond_are_cut_off():
    """An expiry is never rounded into the future."""
    assert 0 == to_epoch_ms(datetime(1970, 1, 1, 0, 0, 0, 999, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-11-22T00:00:00", "2026-11-22", "now", ""])
def test_a_text_without_a_zone_is_refused(text):
    """Local time would mean another instant on each machine."""
    with pytest.raises(ValueError):  # noqa: PT011  # callers do not use the message
        parse_rfc3339(text)


def test_each_unit_is_a_multiple_of_the_smaller_one():
    """The constants have the values that their names state."""
    assert (60_000, 3_600_000, 86_400_000) == (MINUTE_MS, HOUR_MS, DAY_MS)
