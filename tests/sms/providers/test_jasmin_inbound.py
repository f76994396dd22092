"""Texts from phones as Jasmin passes them on: octets of the SMSC, and their data_coding."""

import pytest
from msgspec.structs import replace

from otp_service.sms.provider_callbacks import (
    Callback,
    SkippedEvent,
)
from tests.sms.aws.sns_topic import NOW_MS
from tests.sms.providers import test_jasmin
from tests.sms.providers.inbound_payloads import (
    DIGITS,
    FORM_HEADERS,
    JASMIN_FIELDS,
    RECEIVER,
    SENDER,
    URL,
    build_form,
)


@pytest.mark.parametrize(
    ("coding", "octets", "text"),
    [
        ("", b"STOP", "STOP"),
        ("%00", b"ARR\x1fT", "ARRÉT"),  # GSM 03.38
        ("0", b"STOP", "STOP"),
        ("%08", "ARRÊT".encode("utf-16-be"), "ARRÊT"),
        ("8", "ARRÊT".encode("utf-16-be"), "ARRÊT"),
        ("%03", "ARRÊT".encode("latin-1"), "ARRÊT"),
        ("%F0", b"STOP", "STOP"),
        ("240", b"STOP", "STOP"),
        ("%F4", b"STOP", ""),  # 8-bit data
        ("%04", b"STOP", ""),
        ("999", b"STOP", "STOP"),
        ("UCS2", b"STOP", "STOP"),
        ("8", b"\0S\0T\0", "ST\ufffd"),
        ("0", b"", ""),
    ],
)
def test_a_text_of_jasmin_is_decoded_by_its_coding(coding, octets, text):
    """Jasmin writes the octet of data_coding where its documentation has a number."""
    body = f"from={SENDER}&to={RECEIVER}&id=mo-1&content=x&coding={coding}&binary={octets.hex()}"
    if not coding:
        body = body.replace("&coding=", "")
    callback = Callback("POST", URL, FORM_HEADERS, body.encode(), NOW_MS)

    assert [replace(DIGITS, text=text)] == test_jasmin.jasmin().parse_callback(callback)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("content=%00S%00T%00O%00P&coding=%08", "STOP"),
        ("content=ARR%1FT", "ARRÉT"),
        ("content=ARR%CAT&coding=%03", "ARRÊT"),
    ],
)
def test_a_message_of_an_old_jasmin_is_read_from_its_content(more, text):
    """It has no `binary`; the octets are not UTF-8."""
    body = f"from={SENDER}&to={RECEIVER}&id=mo-1&{more}".encode()
    posted = Callback("POST", URL, FORM_HEADERS, body, NOW_MS)
    got = Callback("GET", f"{URL}&{body.decode()}", {}, b"", NOW_MS)

    for callback in (posted, got):
        assert [replace(DIGITS, text=text)] == test_jasmin.jasmin().parse_callback(callback)


@pytest.mark.parametrize("binary", ["53544", "STOP", "0x53", "5354\u0664"])
def test_a_message_of_jasmin_that_is_not_hexadecimal_is_skipped(binary):
    """After any other answer than its word it would be repeated three times."""
    callback = build_form({**JASMIN_FIELDS, "binary": binary})

    assert [SkippedEvent.UNREADABLE] == test_jasmin.jasmin().parse_callback(callback)
