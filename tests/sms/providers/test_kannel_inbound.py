"""Texts from phones as smsbox 1.4.5 passes them on: their charsets, and what smsbox does with an answer."""

from urllib.parse import quote

import pytest
from msgspec.structs import replace

from otp_service.sms.provider_callbacks import (
    Callback,
    SkippedEvent,
)
from tests.sms.aws.sns_topic import NOW_MS
from tests.sms.providers import test_kannel
from tests.sms.providers.inbound_payloads import (
    DIGITS,
    KANNEL_FIELDS,
    KANNEL_HEADERS,
    RECEIVER,
    SENDER,
    TEXT,
    URL,
    build_get,
    build_post,
)


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"ARR%C3%8AT", "UTF-8", "ARRÊT"),
        (b"ARR%CAT", "ISO-8859-1", "ARRÊT"),
        (b"%80", "WINDOWS-1252", "€"),
        (b"%00A%00R%00R%00%CA%00T", "UTF-16BE", "ARRÊT"),
        (b"%00S%00T%00O%00P%00++!", "UTF-16BE", "STOP \u2021"),
        (b"+%20STOP+", "utf-8", "  STOP "),
        (b"STOP%00%FF", "8-BIT", ""),  # binary, coding 1
        (b"STO", "UTF-16BE", ""),
        (b"%FF", "UTF-8", ""),
        (b"STOP", "idna", ""),
        (b"STOP", "unicode_escape", ""),
        (b"STOP", "", ""),
    ],
)
def test_a_text_of_kannel_is_decoded_by_its_charset(octets, charset, text):
    """As smsbox 1.4.5 writes %b and %C; a charset that it does not know is no text."""
    base = f"{URL}&from=%2B{SENDER}&to={RECEIVER}&charset={quote(charset)}&text="
    callback = Callback("GET", base + octets.decode(), {}, b"", NOW_MS)

    (message,) = test_kannel.kannel().parse_callback(callback)

    assert (f"+{SENDER}", text) == (message.sender, message.text)


@pytest.mark.parametrize(
    ("octets", "content_type", "text"),
    [
        ("ARRÊT".encode(), 'text/plain; charset="UTF-8"', "ARRÊT"),
        ("ARRÊT".encode("utf-16-be"), 'text/plain; charset="UTF-16BE"', "ARRÊT"),
        ("ARRÊT".encode("latin-1"), "text/plain;charset=iso-8859-1", "ARRÊT"),
        (b"STOP\x00\xff", "application/octet-stream", ""),
        (b"STO", 'text/plain; charset="UTF-16BE"', ""),
        (b"STOP", "text/plain", ""),
        (b"STOP", 'text/html; charset="UTF-8"', ""),
        (b"STOP", 'text/plain; charset="rot13"', ""),
        (b"", 'text/plain; charset="UTF-8"', ""),
    ],
)
def test_a_posted_text_of_kannel_is_decoded_by_its_content_type(octets, content_type, text):
    """As smsbox 1.4.5 posts it; binary messages are octet streams."""
    callback = build_post(octets, **{**KANNEL_HEADERS, "content_type": content_type})

    assert [replace(DIGITS, text=text, id="")] == test_kannel.kannel().parse_callback(callback)


def test_a_message_of_kannel_without_its_sender_is_skipped_and_not_refused():
    """Without `send-sender`: smsbox may send a phone a text of its own for any other answer than 200."""
    headers = {name: value for name, value in KANNEL_HEADERS.items() if name != "x_kannel_from"}
    callbacks = [build_post(TEXT.encode(), **headers), build_get({**KANNEL_FIELDS, "from": ""})]

    parts = [test_kannel.kannel().parse_callback(callback) for callback in callbacks]

    assert [[SkippedEvent.UNREADABLE]] * 2 == parts


def test_a_report_of_kannel_is_a_receipt_whatever_it_looks_like():
    """The address of a report has a parameter of ours, so a report is never taken for a message."""
    report = build_get({"type": "1", "fid": "1426e7ce", "from": SENDER, "to": "1", "text": "STOP"})
    posted = build_post(b"STOP", **KANNEL_HEADERS)

    for callback in (report, replace(posted, url=f"{URL}&type=1&fid=1426e7ce")):
        (receipt,) = test_kannel.kannel().parse_callback(callback)
        assert ("delivered", "1426e7ce") == (receipt.status, receipt.message_id)
