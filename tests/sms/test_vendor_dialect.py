"""What a reply means by its status alone, and how long it asks to be left alone."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from otp_service.core.delivery import Fault, RefusalScope, Refused
from otp_service.sms.fault_table import classify_by_status, parse_retry_after
from otp_service.sms.http_provider import HttpReply


@pytest.mark.parametrize(
    ("status", "wait", "expected"),
    [
        (400, None, Refused(Fault.PROVIDER, "http-400")),
        (401, None, Refused(Fault.PROVIDER, "http-401", None, RefusalScope.ACCOUNT)),
        (404, None, Refused(Fault.PROVIDER, "http-404")),
        (429, None, Refused(Fault.PROVIDER, "http-429", None, RefusalScope.THROTTLED)),
        (429, "3", Refused(Fault.PROVIDER, "http-429", 3, RefusalScope.THROTTLED)),
        (500, None, Refused(Fault.UNKNOWN, "http-500")),
        (503, None, Refused(Fault.UNKNOWN, "http-503")),
        (503, "120", Refused(Fault.PROVIDER, "http-503", 120, RefusalScope.THROTTLED)),
        (101, None, Refused(Fault.UNKNOWN, "http-101")),
    ],
)
def test_statuses_by_default(status, wait, expected):
    """A 4xx, and a "later" with a time, were not sent; a 5xx may have been (R88)."""
    headers = {"retry-after": wait} if wait else {}

    assert expected == classify_by_status(HttpReply(status, headers, b""))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 5 ", 5),
        ("999999999", 86400),
        ("-5", None),
        ("1.5", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", None),
        ("soon", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_as_seconds(value, seconds):
    """Only digits count, and at most a day."""
    assert seconds == parse_retry_after({"retry-after": value})


@pytest.mark.parametrize(("ahead", "seconds"), [(90, 90), (-90, 0), (10**7, 86400)])
def test_retry_after_is_read_as_a_date(ahead, seconds):
    """A date counts from the reply's own Date, so that our clock does not matter."""
    now = datetime(2026, 11, 1, 12, tzinfo=UTC)
    until = now + timedelta(seconds=ahead)
    headers = {
        "date": format_datetime(now, usegmt=True),
        "retry-after": format_datetime(until, usegmt=True),
    }

    assert seconds == parse_retry_after(headers)
    assert parse_retry_after({"retry-after": headers["retry-after"]}) is None
