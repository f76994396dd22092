"""Kannel: what is written, what its replies and reports mean. tests/sms/real has a Kannel itself."""

from html import unescape

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply
from otp_service.sms.providers import Provider
from otp_service.sms.providers.kannel import DLR_MASK, Kannel
from tests.sms.providers.callback_builder import (
    CALLBACK_URL,
    INVALID_BODIES,
    assert_no_receipt,
    build_callback,
)


def kannel(**more):
    """A smsbox on this machine."""
    return Kannel(**{"username": "tester", "password": Secret("foo<bar")} | more)


def test_request_byte_by_byte(message):
    """Number, text and credentials are in the body only; a text of digits stays one (R43)."""
    message = msgspec.structs.replace(message, text="864209", callback_url="https://otp.example/cb")

    request = kannel(sender="A&B").build_request(message)

    assert ("POST", "http://127.0.0.1:13013/cgi-bin/sendsms") == (request.method, request.url)
    assert (("content-type", "text/xml"),) == request.headers
    assert (
        b'<?xml version="1.0" encoding="UTF-8"?><message><submit>'
        b"<da><number>+447400123456</number></da><oa><number>A&amp;B</number></oa>"
        b"<ud>%38%36%34%32%30%39</ud><dcs><coding>0</coding></dcs><vp><delay>4</delay></vp>"
        b"<statusrequest><dlr-mask>63</dlr-mask>"
        b"<dlr-url>https://otp.example/cb?type=%d&amp;fid=%F</dlr-url></statusrequest>"
        b"<from><username>tester</username><password>foo&lt;bar</password></from>"
        b"</submit></message>"
    ) == request.body


def test_address_of_reports_survives_kannels_placeholders(message):
    """A % of ours is doubled, or Kannel would put something in place of `%A9` or `%C3`."""
    body = (
        kannel()
        .build_request(msgspec.structs.replace(message, callback_url=CALLBACK_URL))
        .body.decode()
    )

    assert CALLBACK_URL.replace("%2B", "%%2B") + "&type=%d&fid=%F</dlr-url>" in unescape(body)


def test_without_sender_and_callback_there_are_no_such_parts(message):
    """Kannel has defaults for the one, and no reports without the other."""
    body = kannel().build_request(message).body

    assert b"<oa>" not in body
    assert b"statusrequest" not in body


@pytest.mark.parametrize(("text", "coding"), [("€ é", b"0"), ("код", b"2")])
def test_coding_follows_the_letters(message, text, coding):
    """Kannel would send question marks for what is not in GSM 03.38."""
    body = kannel().build_request(msgspec.structs.replace(message, text=text)).body

    assert b"<coding>%s</coding>" % coding in body


@pytest.mark.parametrize(
    ("status", "said", "means"),
    [
        (202, b"0: Accepted for delivery", Accepted()),
        (202, b"Sent. Message splits: 2", Accepted()),
        (
            202,
            b"3: Queued for later delivery",
            Refused(Fault.PROVIDER, "queued", scope=RefusalScope.THROTTLED),
        ),
        (202, b"5: Something new", Refused(Fault.UNKNOWN, "http-202")),
        (403, b"Not routable. Do not try again.", Refused(Fault.PROVIDER, "not-routable")),
        (
            400,
            b"Sender missing and no global set, rejected",
            Refused(Fault.PROVIDER, "sender-missing", scope=RefusalScope.ACCOUNT),
        ),
        (400, b"Coding field misformed, rejected", Refused(Fault.PROVIDER, "http-400")),
        (500, b"Sending failed.", Refused(Fault.UNKNOWN, "http-500")),
        (202, b"\xff0: ", Refused(Fault.UNKNOWN, "http-202")),
    ],
)
def test_prose(status, said, means):
    """Only its beginning counts, and none of it is kept."""
    assert means == kannel().interpret_reply(HttpReply(status, {}, said))


@pytest.mark.parametrize(
    ("kind", "means", "reason"),
    [
        ("1", "delivered", None),
        ("2", "technical-failure", "dlr-2"),
        ("4", "pending", None),
        ("8", "pending", None),
        ("16", "technical-failure", "dlr-16"),
        ("32", "pending", None),
    ],
)
def test_every_kind_of_report_is_a_receipt(kind, means, reason):
    """It cannot be signed, and does not report whose fault it was."""
    callback = build_callback(url=f"{CALLBACK_URL}&type={kind}&fid=1426e7ce", method="GET")

    assert [Receipt(means, message_id="1426e7ce", reason=reason)] == kannel().parse_callback(
        callback
    )
    assert DLR_MASK & int(kind)


@pytest.mark.parametrize("body", INVALID_BODIES)
@pytest.mark.parametrize(
    "url",
    [
        CALLBACK_URL,
        f"{CALLBACK_URL}&type=",
        f"{CALLBACK_URL}&type=64",
        f"{CALLBACK_URL}&type=%FF%00",
    ],
)
def test_garbage_is_refused(body, url):
    """With nothing but the errors that the API expects."""
    assert_no_receipt(kannel(), build_callback(body, url=url))


def test_settings_are_read_by_their_type():
    """`type = "kannel"` and a user; off this machine it has to be https."""
    written = {"type": "kannel", "username": "tester", "password": "hunter2"}

    read = msgspec.convert(written, Provider, dec_hook=lambda kind, value: kind(value))

    assert [] == read.find_errors()
    assert "hunter2" not in repr(read)
    assert "base_url" in dict(
        kannel(base_url="http://10.0.0.5:13013/cgi-bin/sendsms").find_errors()
    )
