"""How Plivo is asked, what its receipts mean, and whether its own SDK agrees."""

from urllib.parse import urlencode

import msgspec
import plivo as sdk
import pytest
from plivo.rest import client as sdk_client
from plivo.utils import validate_signature as validate_v2_signature
from plivo.utils.signature_v3 import (
    construct_get_url,
    construct_post_url,
    get_signature_v3,
    validate_v3_signature,
)

from otp_service.core.delivery import Receipt
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError, UnreadableCallback
from otp_service.sms.providers.plivo import _build_signed_text
from otp_service.sms.signatures import compute_signature
from tests.sms.providers.callback_builder import assert_no_receipt
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
        ("undelivered", "80", "temporary-failure"),
        ("undelivered", "420", "temporary-failure"),
        ("undelivered", "30", "technical-failure"),
        ("failed", "900", "technical-failure"),
        ("failed", "", "technical-failure"),
    ],
)
def test_each_status(status, code, means):
    """A receipt gives the status and the reason of a failure; the SDK has signed it."""
    receipts = create_plivo(CALLBACK_URL).parse_callback(signed(report(status, code)))

    why = code if code and means.endswith("failure") else None
    assert [Receipt(means, "", "db3ce55a-7f1d", why, is_signed=True)] == receipts


@pytest.mark.parametrize("url", ["https://otp.example/cb", CALLBACK_URL, UNSORTED])
def test_any_address_is_signed_as_the_sdk_signs_it(url):
    """Outside opinion: with and without a query, sorted and not."""
    (receipt,) = create_plivo(CALLBACK_URL).parse_callback(signed(report(From="plain"), url=url))

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

    (receipt,) = create_plivo(CALLBACK_URL).parse_callback(
        msgspec.structs.replace(callback, headers=headers)
    )

    assert receipt.is_signed


def with_headers(callback, **headers):
    """A callback with these headers and no others; `_` stands for `-`."""
    named = {f"x-plivo-signature-{name.replace('_', '-')}": each for name, each in headers.items()}
    return msgspec.structs.replace(callback, headers=named)


@pytest.mark.parametrize(
    "headers",
    [
        {"v3": "RIGHT"},
        {"ma_v3": "RIGHT"},
        {"v3": "WRONG", "ma_v3": "RIGHT"},
        {"v3": "RIGHT", "ma_v3": "WRONG"},
        {"v3": "WRONG", "ma_v3": "WRONG, RIGHT,"},
        {"v3": "WRONG", "ma_v3": "RIGHT", "v2": "WRONG", "v2_nonce": "9"},
    ],
    ids=str,
)
def test_either_account_may_have_signed(headers):
    """Observed: `-V3` is of another kind for a message, and `-Ma-V3` fits."""
    callback = signed(report())
    right = callback.headers["x-plivo-signature-v3"]
    given = {name: each.replace("RIGHT", right) for name, each in headers.items()}

    (receipt,) = create_plivo(CALLBACK_URL).parse_callback(
        with_headers(callback, v3_nonce=NONCE, **given)
    )

    assert receipt.is_signed


@pytest.mark.parametrize("name", ["v2", "ma_v2"])
@pytest.mark.parametrize("url", [CALLBACK_URL, "https://otp.example:8443/cb", UNSORTED])
def test_the_older_signature_is_enough_where_there_is_no_newer(name, url):
    """It covers the address alone, so the receipt counts as unsigned: a token has to prove it."""
    key = b"t0ken"
    mac = compute_signature(key, f"{url.partition('?')[0]}77".encode())
    assert validate_v2_signature(url, "77", mac, "t0ken")
    callback = build_callback(urlencode(report()).encode(), url=url)

    (receipt,) = create_plivo(CALLBACK_URL).parse_callback(
        with_headers(callback, **{name: f"AAAA,{mac}"}, v2_nonce="77")
    )

    assert Receipt("delivered", "", "db3ce55a-7f1d", is_signed=False) == receipt


@pytest.mark.parametrize(
    "newer", [{"v3": "AAAA"}, {"ma_v3": "AAAA"}, {"v3": ""}, {"ma_v3": "AAAA", "v3_nonce": NONCE}]
)
def test_the_older_signature_does_not_help_a_wrong_newer_one(newer):
    """Otherwise the fields of a signed callback could be exchanged."""
    callback = build_callback(urlencode(report()).encode())
    mac = compute_signature(b"t0ken", f"{CALLBACK_URL.partition('?')[0]}77".encode())

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(
            with_headers(callback, v2=mac, ma_v2=mac, v2_nonce="77", **newer)
        )


@pytest.mark.parametrize(
    "headers",
    [{}, {"v2": ""}, {"ma_v2": ","}, {"v2": "WRONG"}, {"v2_nonce": "77"}, {"v3_nonce": NONCE}],
)
def test_a_callback_without_a_right_signature_is_refused(headers):
    """The token is always configured, so every receipt has to be signed."""
    callback = build_callback(urlencode(report()).encode())

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(with_headers(callback, **headers))


@pytest.mark.parametrize("url", ["https://otp.example:8443/cb", CALLBACK_URL, UNSORTED])
def test_a_receipt_may_come_by_get(url):
    """Outside opinion: the SDK signs all parameters of the address, sorted (ASCII alone, by GET)."""
    joint = "&" if "?" in url else "?"
    whole = f"{url}{joint}{urlencode(report(From='plain'))}"
    mac = get_signature_v3("t0ken", construct_get_url(whole, {}).decode(), NONCE).decode()
    assert validate_v3_signature("GET", whole, NONCE, "t0ken", mac)
    callback = with_headers(build_callback(b"", url=whole, method="GET"), ma_v3=mac, v3_nonce=NONCE)

    (receipt,) = create_plivo(CALLBACK_URL).parse_callback(callback)
    assert Receipt("delivered", "", "db3ce55a-7f1d", is_signed=True) == receipt

    other = msgspec.structs.replace(callback, url=whole.replace("delivered", "failed"))
    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(other)


@pytest.mark.parametrize(
    "wrong",
    [{"key": "another"}, {"nonce": "54321"}, {"url": "https://otp.example/other"}],
)
def test_a_bad_signature_is_refused(wrong):
    """Of another token, nonce or address."""
    callback = msgspec.structs.replace(signed(report(), **wrong), url=CALLBACK_URL)

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(callback)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"ErrorCode=50", b"ErrorCode5=0"),
        (b"ErrorCode=50", b"Error=Code50"),
        (b"ErrorCode=50&From=Example", b"ErrorCode=50FromExample"),
        (b"MessageUUID=db3ce55a", b"MessageUUIDd=b3ce55a"),
    ],
)
def test_a_signed_text_has_one_reading(was, becomes):
    """50 is the recipient's fault; without it another message would be sent."""
    fields = {"ErrorCode": "50", "From": "Example", "MessageUUID": "db3ce55a", "Status": "failed"}
    callback = signed(fields | {"ParentMessageUUID": "db3ce55a"})
    assert "permanent-failure" == create_plivo(CALLBACK_URL).parse_callback(callback)[0].status
    assert was in callback.body
    changed = msgspec.structs.replace(callback, body=callback.body.replace(was, becomes))

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(changed)


def test_a_value_of_the_address_is_no_field():
    """The names and values of an address are joined after they were decoded."""
    url = f"{CALLBACK_URL}&From=x&MessageUUID=1&Status=failed"
    mac = get_signature_v3("t0ken", construct_get_url(url, {}).decode(), NONCE).decode()
    changed = url.replace("&MessageUUID=1&", "%26MessageUUID%3D1&")
    callback = build_callback(b"", url=changed, method="GET")

    with pytest.raises(CallbackSignatureError):
        create_plivo(CALLBACK_URL).parse_callback(with_headers(callback, v3=mac, v3_nonce=NONCE))


@pytest.mark.parametrize("body", INVALID_BODIES)
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised, not even if it is signed."""
    try:
        mac = compute_signature(
            b"t0ken", f"{_build_signed_text(build_callback(body))}.{NONCE}".encode()
        )
    except UnreadableCallback:
        mac = ""
    headers = {"x-plivo-signature-v3": mac, "x-plivo-signature-v3-nonce": NONCE}

    assert_no_receipt(create_plivo(CALLBACK_URL), build_callback(body, headers=headers))


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
