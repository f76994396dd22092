"""How MessageBird is asked, what its receipts mean, and whether its own SDK agrees."""

import hashlib
import time
from urllib.parse import urlencode

import jwt
import msgspec
import pytest
from messagebird import Client
from messagebird.error import ValidationError
from messagebird.http_client import HttpClient
from messagebird.request_validator import RequestValidator

from otp_service.core.delivery import Receipt
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError
from tests.sms.providers.callback_builder import assert_no_receipt
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    NOW_SECONDS,
    build_callback,
    send_with_both,
)


KEY = "s1gning-key-of-thirty-two-letters-and-thirty-two-more-for-sha-512"
NAME = "messagebird-signature-jwt"


def report(status="delivered", code="", why="", **more):
    """The fields of a receipt."""
    return {
        "id": "e8077d80",
        "reference": "ref-3f9",
        "recipient": "447400123456",
        "status": status,
        "statusReason": why,
        "statusErrorCode": code,
        "statusDatetime": "2026-09-21T14:13:20+00:00",
        "mccmnc": "23415",
    } | more


def asked_with(fields):
    """A receipt in the query."""
    return build_callback(b"", url=f"{CALLBACK_URL}&{urlencode(fields)}", method="GET")


def signed(callback, *, key=KEY, algorithm="HS256", at=NOW_SECONDS, **claims):
    """The same, signed as MessageBird documents it, by PyJWT."""
    said = {
        "iss": "MessageBird",
        "nbf": at,
        "exp": at + 60,
        "jti": "ab4d0a51",
        "url_hash": hashlib.sha256(callback.url.encode()).hexdigest(),
    }
    if callback.body:
        said["payload_hash"] = hashlib.sha256(callback.body).hexdigest()
    token = jwt.encode(said | claims, key, algorithm)
    return msgspec.structs.replace(callback, headers={NAME: token})


def test_a_request_byte_by_byte(message):
    """Our reference, and no longer than the code lives."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_messagebird("https://rest.messagebird.com").build_request(asked)

    assert request == HttpRequest(
        "POST",
        "https://rest.messagebird.com/messages",
        (("content-type", "application/json"), ("authorization", "AccessKey k3y")),
        b'{"originator":"Example","recipients":"447400123456",'
        b'"body":"864209 is your Example code.","type":"sms","datacoding":"auto",'
        b'"reference":"ref-3f9","validity":290,"reportUrl":'
        b'"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen"}',
    )


@pytest.mark.parametrize(
    ("status", "code", "why", "means"),
    [
        ("scheduled", "", "", "pending"),
        ("sent", "", "pending DLR", "pending"),
        ("buffered", "", "", "pending"),
        ("delivered", "", "successfully delivered", "delivered"),
        ("expired", "27", "unavailable subscriber", "temporary-failure"),
        ("delivery_failed", "1", "unknown subscriber", "permanent-failure"),
        ("delivery_failed", "5", "unknown_subscriber", "permanent-failure"),
        ("delivery_failed", "104", "carrier rejected", "technical-failure"),
        ("delivery_failed", "", "", "technical-failure"),
    ],
)
def test_each_status(status, code, why, means):
    """A receipt gives the status and the reason of a failure, in a query and in a form."""
    fields = report(status, code, why)

    receipts = [
        *create_messagebird(CALLBACK_URL).parse_callback(asked_with(fields)),
        *create_messagebird(CALLBACK_URL).parse_callback(
            build_callback(urlencode(fields).encode())
        ),
    ]

    reason = code if code and means.endswith("failure") else None
    assert 2 * [Receipt(means, "ref-3f9", "e8077d80", reason)] == receipts


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize(
    "callback", [asked_with(report()), build_callback(urlencode(report()).encode())]
)
def test_a_signed_receipt_says_so(callback, algorithm):
    """Only the vendor can have signed it; PyJWT signs with each algorithm that they use."""
    bird = create_messagebird(CALLBACK_URL, signing_key=Secret(KEY))

    receipts = bird.parse_callback(signed(callback, algorithm=algorithm))

    assert [Receipt("delivered", "ref-3f9", "e8077d80", is_signed=True)] == receipts


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "another" * 10},
        {"at": NOW_SECONDS - 66},
        {"at": NOW_SECONDS + 6},
        {"iss": "Somebody"},
        {"url_hash": hashlib.sha256(b"https://otp.example/other").hexdigest()},
        {"url_hash": "ä"},
        {"payload_hash": hashlib.sha256(b"").hexdigest()},
        {"payload_hash": ""},
        {"nbf": "yesterday"},
        {"exp": None},
    ],
)
def test_a_bad_or_old_signature_is_refused(wrong):
    """Of another key, time, issuer, address or body, or without a time."""
    callback = signed(build_callback(urlencode(report()).encode()), **wrong)

    with pytest.raises(CallbackSignatureError):
        create_messagebird(CALLBACK_URL, signing_key=Secret(KEY)).parse_callback(callback)


def test_a_body_that_the_signature_does_not_know_is_refused():
    """Its hash is in the signature if and only if there is one."""
    callback = msgspec.structs.replace(signed(asked_with(report())), body=b"status=delivered&id=2")

    with pytest.raises(CallbackSignatureError):
        create_messagebird(CALLBACK_URL, signing_key=Secret(KEY)).parse_callback(callback)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "..",
        "ä.ä.ä",
        "e30.e30.",
        jwt.encode({"iss": "MessageBird"}, "", "none"),
        jwt.encode(
            {"iss": "MessageBird", "nbf": NOW_SECONDS, "exp": NOW_SECONDS + 60}, KEY, "HS256"
        ),
    ],
)
def test_a_signature_that_is_none_is_refused(token):
    """No algorithm but theirs, and every claim that they promise."""
    callback = msgspec.structs.replace(asked_with(report()), headers={NAME: token})

    with pytest.raises(CallbackSignatureError):
        create_messagebird(CALLBACK_URL, signing_key=Secret(KEY)).parse_callback(callback)


def test_a_missing_signature_is_refused():
    """Where the key is configured, everything has to be signed."""
    with pytest.raises(CallbackSignatureError):
        create_messagebird(CALLBACK_URL, signing_key=Secret(KEY)).parse_callback(
            asked_with(report())
        )


@pytest.mark.parametrize("body", INVALID_BODIES)
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised."""
    assert_no_receipt(create_messagebird(CALLBACK_URL), build_callback(body))


def test_receipts_are_acknowledged_with_200():
    """What was not answered so is brought again."""
    assert (200, b"") == create_messagebird(CALLBACK_URL).acknowledgement


async def test_the_sdk_asks_for_the_same(gateway, transport, message):
    """Outside opinion: method, path, key and body of MessageBird's own SDK."""
    gateway.set_reply(201, {"id": "e8077d80", "recipients": {"items": []}})
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    def send():
        client = Client("k3y", HttpClient(f"{gateway.url}/", "k3y", "sdk"))
        more = {
            "type": "sms",
            "datacoding": "auto",
            "reference": asked.reference,
            "validity": asked.validity_seconds,
            "reportUrl": asked.callback_url,
        }
        client.message_create(asked.sender, [asked.to.e164[1:]], asked.text, more)

    ours, theirs = await send_with_both(
        gateway, transport, create_messagebird(gateway.url), asked, send
    )

    assert ours == theirs


@pytest.mark.parametrize(
    "callback",
    [
        asked_with(report()),
        build_callback(urlencode(report()).encode()),
        asked_with({"originator": "447400123456", "payload": "Stop !", "id": "1"}),
        build_callback({"originator": "447400123456", "payload": "Arr\u00eat", "id": "1"}),
    ],
)
def test_the_sdk_accepts_what_we_hold_for_signed(callback):
    """Outside opinion: its validator, of the same tokens that ours was tried with."""
    good = signed(callback, at=int(time.time()))
    late = signed(callback, at=int(time.time()) - 90)
    validator = RequestValidator(KEY)

    assert validator.validate_signature(good.headers[NAME], good.url, good.body)
    with pytest.raises(ValidationError):
        validator.validate_signature(late.headers[NAME], late.url, late.body)
