"""How Plivo is asked, what its receipts mean, and whether its own SDK agrees."""

from urllib.parse import urlencode

import msgspec
import plivo as sdk
import pytest
from plivo.rest import client as sdk_client
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3, validate_v3_signature

from otp_service.core.delivery import Receipt
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.providers.plivo import _build_signed_text
from otp_service.sms.receipt_callbacks import CallbackSignatureError, UnreadableReceipt
from otp_service.sms.signatures import compute_signature
from tests.sms.providers.contracts.plivo import AUTH_ID, create_plivo
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    build_callback,
    send_with_both,
)


NONCE = "12345"
UNSORTED = "https://otp.example/cb?z=1&a=b%20c&a=a&empty="


def report(status="delivered", code="", **more):
    """The fields of a receipt."""
    return {
        "To": "447400123456",
        "Status": status,
        "MessageUUID": "db3ce55a-7f1d",
        "ErrorCode": code,
        "Units": "1",
        "From": "Example & Söhne",
    } | more


def signed(fields, *, url=CALLBACK_URL, key="t0ken", nonce=NONCE):
    """A receipt that Plivo brings, signed by its SDK."""
    mac = get_signature_v3(key, construct_post_url(url, fields).decode(), nonce)
    headers = {"x-plivo-signature-v3": mac.decode(), "x-plivo-signature-v3-nonce": NONCE}
    return build_callback(urlencode(fields).encode(), url=url, headers=headers)


def test_a_request_byte_by_byte(message):
    """The text is not kept in their logs, and the message no longer tried than the code lives."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_plivo("https://api.plivo.com").build_request(asked)

    assert request == HttpRequest(
        "POST",
        "https://api.plivo.com/v1/Account/MAXXXXXXXXXXXXXXXXXX/Message/",
        (
            ("content-type", "application/json"),
            ("authorization", "Basic TUFYWFhYWFhYWFhYWFhYWFhYWFg6dDBrZW4="),
        ),
        b'{"src":"Example","dst":"+447400123456","text":"864209 is your Example code.",'
        b'"type":"sms","url":"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen",'
        b'"method":"POST","log":"false","message_expiry":290}',
    )


@pytest.mark.parametrize(("sender", "field"), [(None, "powerpack_uuid"), ("Example", "src")])
def test_a_pool_is_asked_only_if_no_sender_fits(message, sender, field):
    """Plivo refuses a request with both."""
    asked = msgspec.structs.replace(message, sender=sender)

    body = msgspec.json.decode(
        create_plivo(CALLBACK_URL, powerpack_uuid="pool-1").build_request(asked).body
    )

    assert {field} == body.keys() & {"src", "powerpack_uuid"}


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        ("queued", "", "pending"),
        ("sent", "", "pending"),
        ("delivered", "", "delivered"),
        ("read", "000", "delivered"),
        ("undelivered", "50", "permanent-failure"),
        ("failed", "70", "permanent-failure"),
        ("failed", "200", "permanent-failure"),
        ("undelivered", "80", "temporary-failure"),
        ("undelivered", "420", "temporary-failure"),
        ("undelivered", "30", "technical-failure"),
        ("failed", "900", "technical-failure"),
        ("failed", "", "technical-failure"),
    ],
)
def test_each_status(status, code, means):
    """A receipt gives the status and the reason of a failure; the SDK has signed it."""
    receipts = create_plivo(CALLBACK_URL).parse_receipts(signed(report(status, code)))

    why = code if code and means.endswith("failure") else None
    assert [Receipt(means, "", "db3ce55a-7f1d", why, is_signed=True)] == receipts


@pytest.mark.parametrize("url", ["https://otp.example/cb", CALLBACK_URL, UNSORTED])
def test_any_address_is_signed_as_the_sdk_signs_it(url):
    """Outside opinion: with and without a query, sorted and not."""
    (receipt,) = create_plivo(CALLBACK_URL).parse_receipts(signed(report(From="plain"), url=url))

    assert receipt.is_signed


@pytest.mark.parametrize("url", ["https://otp.example/cb", CALLBACK_URL, UNSORTED])
def test_the_sdk_accepts_what_we_hold_for_signed(url):
    """Outside opinion, in the other direction."""
    fields = report()
    callback = build_callback(urlencode(fields).encode(), url=url)
    ours = compute_signature(b"t0ken", f"{_build_signed_text(callback)}.{NONCE}".encode())

    assert validate_v3_signature("POST", url, NONCE, "t0ken", f"old,{ours}", fields)
    assert not validate_v3_signature("POST", url, NONCE, "another", ours, fields)


def test_one_of_several_signatures_is_enough():
    """There are several while a token is being replaced."""
    callback = signed(report())
    both = f"AAAA, {callback.headers['x-plivo-signature-v3']}"
    headers = dict(callback.headers) | {"x-plivo-signature-v3": both}

    (receipt,) = create_plivo(CALLBACK_URL).parse_receipts(
        msgspec.structs.replace(callback, headers=headers)
    )

    assert receipt.is_signed


@pytest.mark.parametrize(
    "wrong",
    [{"key": "another"}, {"nonce": "54321"}, {"url": "https://otp.example/other"}],
)
def test_a_bad_signature_is_refused(wrong):
    """Of another token, nonce or address."""
    callback = msgspec.structs.replace(signed(report(), **wrong), url=CALLBACK_URL)

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_receipts(callback)


def test_a_missing_signature_is_refused():
    """The token is always configured, so every receipt has to be signed."""
    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_receipts(build_callback(urlencode(report()).encode()))


@pytest.mark.parametrize("body", INVALID_BODIES)
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised, not even if it is signed."""
    try:
        mac = compute_signature(
            b"t0ken", f"{_build_signed_text(build_callback(body))}.{NONCE}".encode()
        )
    except UnreadableReceipt:
        mac = ""
    headers = {"x-plivo-signature-v3": mac, "x-plivo-signature-v3-nonce": NONCE}

    with pytest.raises(UnreadableReceipt):
        create_plivo(CALLBACK_URL).parse_receipts(build_callback(body, headers=headers))


def test_an_account_cannot_lead_to_another_address(message):
    """The only part of the address that is a setting is escaped."""
    request = create_plivo("https://api.plivo.com", auth_id="../x?").build_request(message)

    assert "https://api.plivo.com/v1/Account/..%2Fx%3F/Message/" == request.url


async def test_the_sdk_asks_for_the_same(gateway, transport, message, monkeypatch):
    """Outside opinion: method, path, key and body of Plivo's own SDK."""
    gateway.set_reply(202, {"message": "queued", "message_uuid": ["1"], "api_id": "2"})
    monkeypatch.setattr(sdk_client, "PLIVO_API_BASE_URI", f"{gateway.url}/v1/Account")
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    def send():
        with sdk.RestClient(AUTH_ID, "t0ken") as client:
            client.messages.create(
                src=asked.sender,
                dst=asked.to.e164,
                text=asked.text,
                url=asked.callback_url,
                log="false",
                message_expiry=asked.validity_seconds,
            )

    ours, theirs = await send_with_both(gateway, transport, create_plivo(gateway.url), asked, send)

    # The SDK writes its own default for links out, which is the API's too.
    assert theirs[-1].pop("trackable") is False
    assert ours == theirs
