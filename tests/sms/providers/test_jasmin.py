"""Jasmin: what is written, and what its replies and receipts mean."""

from urllib.parse import parse_qsl, urlencode

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply
from otp_service.sms.providers import Provider
from otp_service.sms.providers.jasmin import FAULT_TABLE, RECEIPT_STATUSES, REFUSED_PREFIXES, Jasmin
from tests.sms.providers.callback_builder import (
    CALLBACK_URL,
    INVALID_BODIES,
    assert_no_receipt,
    build_callback,
)
from tests.sms.providers.sdk_comparison import list_codes


UUID = "07033084-5cfd-4812-90a4-e4d24ffb6e3d"


def jasmin(**more):
    """A Jasmin on this machine."""
    return Jasmin(**{"username": "foo", "password": Secret("b&r")} | more)


def form(message):
    """What is written for it."""
    return dict(parse_qsl(jasmin().build_request(message).body.decode()))


def test_request_byte_by_byte(message):
    """Everything is in the body, and reports come by POST: the text begins in them (R43)."""
    message = msgspec.structs.replace(message, callback_url=CALLBACK_URL)

    request = jasmin(sender="Example").build_request(message)

    assert ("POST", "http://127.0.0.1:1401/send") == (request.method, request.url)
    assert (("content-type", "application/x-www-form-urlencoded"),) == request.headers
    assert (
        b"username=foo&password=b%26r&to=%2B447400123456&from=Example&coding=0"
        b"&content=864209+is+your+Example+code.&validity-period=4"
        b"&dlr-url=https%3A%2F%2Fotp.example%2Fv1%2Fcallbacks%2Facme%3Fref%3Dref-3f9"
        b"%26token%3Da%252Bb&dlr-level=3&dlr-method=POST"
    ) == request.body


def test_without_sender_and_callback_there_are_no_such_fields(message):
    """Any dlr- field would ask for reports."""
    assert {"username", "password", "to", "coding", "content", "validity-period"} == set(
        form(message)
    )


def test_other_letters_are_written_as_ucs2(message):
    """As its documentation has it: hexadecimal, coding 8."""
    written = form(msgspec.structs.replace(message, text="код 8"))

    assert ("8", "043a043e04340020" + "0038") == (written["coding"], written["hex-content"])
    assert "content" not in written


@pytest.mark.parametrize(("begins", "code"), REFUSED_PREFIXES.items())
def test_prose(begins, code):
    """Only its beginning counts, also with a 5xx: Jasmin knows that it has not sent."""
    about = (
        RefusalScope.ACCOUNT if code in list_codes(FAULT_TABLE, "account") else RefusalScope.MESSAGE
    )
    about = RefusalScope.THROTTLED if code in list_codes(FAULT_TABLE, "throttled") else about
    said = f'{begins} for user +447400123456"'.encode()

    for status in (400, 403, 412, 500):
        expected = Refused(Fault.PROVIDER, code, scope=about)
        assert expected == jasmin().interpret_reply(HttpReply(status, {}, said))


@pytest.mark.parametrize(
    ("status", "said", "means"),
    [
        (200, f'Success "{UUID}"\n', Accepted(UUID)),
        (200, "Success", Refused(Fault.UNKNOWN, "http-200")),
        (202, f'Success "{UUID}"', Refused(Fault.UNKNOWN, "http-202")),
        (200, f'Error "Success "{UUID}""', Refused(Fault.UNKNOWN, "http-200")),
        (500, 'Error "Unknown error: x"', Refused(Fault.UNKNOWN, "http-500")),
    ],
)
def test_success_is_word_for_word(status, said, means):
    """All else may have been sent."""
    assert means == jasmin().interpret_reply(HttpReply(status, {}, said.encode()))


@pytest.mark.parametrize(
    ("said", "means"),
    [
        *RECEIPT_STATUSES.items(),
        ("EXPIRED", "temporary-failure"),
        ("DELETED", "technical-failure"),
        ("UNDELIV", "technical-failure"),
        ("REJECTD", "technical-failure"),
        ("ESME_RINVDSTADR", "permanent-failure"),
        ("ESME_RTHROTTLED", "technical-failure"),
        ("FAILED", "technical-failure"),
        ("SKIPPED", "technical-failure"),
        ("ESME_RX_T_APPN", "technical-failure"),
        ("ESME_RX_P_APPN", "technical-failure"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_status_is_a_receipt(said, means, method):
    """Of the SMSC or of the phone; it cannot be signed."""
    pairs = [("id", UUID), ("level", "2"), ("message_status", said), ("text", "864209 is your")]
    url = f"{CALLBACK_URL}&{urlencode(pairs)}" if method == "GET" else CALLBACK_URL
    callback = build_callback(pairs if method == "POST" else b"", url=url, method=method)

    reason = said if means.endswith("failure") else None
    assert [Receipt(means, message_id=UUID, reason=reason)] == jasmin().parse_callback(callback)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "body",
    [*INVALID_BODIES, b"id=1&message_status=447400123456", b"id=1&message_status=ESME_", b"id=1"],
)
def test_garbage_is_refused(body, method):
    """With nothing but the errors that the API expects."""
    assert_no_receipt(jasmin(), build_callback(body, method=method))


def test_acknowledgement():
    """Word for word, or it comes again."""
    assert (200, b"ACK/Jasmin") == jasmin().acknowledgement


def test_settings_are_read_by_their_type():
    """`type = "jasmin"` and a user; off this machine it has to be https."""
    written = {"type": "jasmin", "username": "foo", "password": "hunter2"}

    read = msgspec.convert(written, Provider, dec_hook=lambda kind, value: kind(value))

    assert [] == read.find_errors()
    assert "hunter2" not in repr(read)
    assert "base_url" in dict(jasmin(base_url="http://10.0.0.5:1401").find_errors())
