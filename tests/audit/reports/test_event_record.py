"""What a table shows of an event."""

from typing import Any

import pytest

from otp_service.audit.reports.event_record import list_details


SET = "77ab12cd" + "2" * 24


@pytest.mark.parametrize(
    ("event", "details"),
    [
        ({"authenticator": SET, "reason": "mismatch"}, ["77ab12cd", "mismatch"]),
        ({"recovery_set": SET, "codes_left": 8}, ["77ab12cd", "8 codes left"]),
        (
            {"recovery_set": SET, "codes_left": 8, "repeated": True},
            ["77ab12cd", "8 codes left", "repeated"],
        ),
        ({"repeated": True}, ["repeated"]),
        ({"repeated": False, "authenticator": None}, []),
        ({"authenticator": 7, "repeated": "x"}, ["7"]),
        ({"authenticator": "\x1b[2J"}, ["\\x1b[2J"]),
    ],
)
def test_details_name_the_token_and_a_repeated_answer(
    event: dict[str, Any], details: list[str]
) -> None:
    """R70: any client of Redis may have written the event, so its members have any type."""
    assert details == list_details(event, "EUR")
