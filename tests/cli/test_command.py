"""Instants as people type them."""

import pytest

from otp_service.cli.command import CommandError, parse_instant
from otp_service.core.timestamps import parse_rfc3339


NOON = parse_rfc3339("2026-11-24T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "ago"), [("30s", 30), ("90m", 5400), ("24h", 86_400), ("7d", 604_800)]
)
def test_a_time_is_so_long_ago(text, ago):
    """In seconds, minutes, hours and days."""
    assert NOON - ago * 1000 == parse_instant(text, NOON)


def test_a_time_is_an_instant_with_its_zone():
    """R67: whose clock it is would else be anybody's guess."""
    assert (
        NOON
        == parse_instant("2026-11-24T13:00:00+01:00", 0)
        == parse_instant("2026-11-24T12:00:00Z", 0)
    )


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "-1h", "1e3h", "٣h", "2026-11-24", "2026-11-24T12:00:00"]
)
def test_what_is_no_time_is_refused(text):
    """And not taken for the beginning of time, which would look like an answer."""
    with pytest.raises(CommandError, match="invalid time: write one like"):
        parse_instant(text, NOON)
