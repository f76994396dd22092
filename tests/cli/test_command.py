"""Times in arguments."""

import pytest

from otp_service.cli.command import CommandError, parse_instant
from otp_service.core.timestamps import parse_rfc3339


NOON = parse_rfc3339("2026-11-24T12:00:00Z")


@pytest.mark.parametrize(
    ("text", "ago"), [("30s", 30), ("90m", 5400), ("24h", 86_400), ("7d", 604_800)]
)
def test_a_time_can_be_an_age(text, ago):
    """The unit is seconds, minutes, hours or days."""
    assert NOON - ago * 1000 == parse_instant(text, NOON)


def test_a_time_is_an_instant_with_its_zone():
    """R67: an instant without a zone is ambiguous."""
    assert (
        NOON
        == parse_instant("2026-11-24T13:00:00+01:00", 0)
        == parse_instant("2026-11-24T12:00:00Z", 0)
    )


@pytest.mark.parametrize(
    "text", ["", "yesterday", "24", "-1h", "1e3h", "٣h", "2026-11-24", "2026-11-24T12:00:00"]
)
def test_an_invalid_time_is_refused(text):
    """It is not taken for 1970, whose result would look valid."""
    with pytest.raises(CommandError, match="invalid time: write one like"):
        parse_instant(text, NOON)
