"""How Sinch is asked, what its receipts mean, and whether its own SDK agrees."""

import base64
import hashlib
import hmac
import time
from datetime import datetime

import msgspec
import pytest

from otp_service.core.delivery import Receipt
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError
from otp_service.sms.providers.sinch import Sinch
from otp_service.sms.router import ProviderDependencies
from tests.sms.providers import sdk_comparison
from tests.sms.providers.callback_builder import assert_no_receipt
from tests.sms.providers.contracts.sinch import NOW_MS, create_sinch
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    build_callback,
    send_with_both,
)


SECRET = "s3cret"


def report(status="Delivered", code=0, **more):
    """A receipt."""
    return {
        "type": "recipient_delivery_report_sms",
        "batch_id": "01FC66621",
        "recipient": "447400123456",
        "code": code,
        "status": status,
        "at": "2026-09-21T14:13:20.000Z",
        "client_reference": "ref-3f9",
    } | more


def signed(body, *, at=sdk_comparison.NOW_SECONDS, secret=SECRET):
    """The headers of a receipt that Sinch brings, from its documentation."""
    name = "x-sinch-webhook-signature"
    message = body + f".n0nce.{at}".encode()
    mac = hmac.new(secret.encode(), message, hashlib.sha256).digest()
    return {
        name: base64.b64encode(mac).decode(),
        f"{name}-nonce": "n0nce",
        f"{name}-timestamp": str(at),
        f"{name}-algorithm": "HmacSHA256",
    }


def test_a_request_byte_by_byte(message):
    """One recipient, our reference, and no later than the code lives."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_sinch("https://eu.sms.api.sinch.com").build_request(asked)

    assert request == HttpRequest(
        "POST",
        "https://eu.sms.api.sinch.com/xms/v1/plan1/batches",
        (("content-type", "application/json"), ("authorization", "Bearer t0ken")),
        b'{"type":"mt_text","from":"Example","to":["+447400123456"],'
        b'"body":"864209 is your Example code.","delivery_report":"per_recipient_final",'
        b'"callback_url":"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen",'
        b'"client_reference":"ref-3f9","expire_at":"2026-09-21T14:18:10.000Z"}',
    )


def test_no_receipts_are_asked_for_without_an_address(message):
    """The plan may have an address of its own, which was not meant."""
    body = msgspec.json.decode(create_sinch("https://sinch.example").build_request(message).body)

    assert "none" == body["delivery_report"]
    assert not {"callback_url", "from"} & body.keys()


async def test_a_provider_asks_with_the_clock_it_is_given(gateway, transport, message):
    """The settings know no time; what sends does."""
    settings = Sinch(service_plan_id="plan/1", api_token=Secret("t0ken"), base_url=gateway.url)

    await settings.build_provider("acme", ProviderDependencies(transport, lambda: NOW_MS)).send(
        message
    )

    assert "/v1/messages/xms/v1/plan%2f1/batches" == gateway.requests[0].target.lower()
    assert "2026-09-21T14:18:10.000Z" == gateway.requests[0].json["expire_at"]


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        ("Queued", 400, "pending"),
        ("Dispatched", 401, "pending"),
        ("Unknown", 0, "pending"),
        ("Delivered", 0, "delivered"),
        ("DELIVERED", 0, "delivered"),
        ("Deleted", 0, "permanent-failure"),
        ("Failed", 300, "permanent-failure"),
        ("Failed", 404, "temporary-failure"),
        ("Expired", 406, "temporary-failure"),
        ("Failed", 402, "technical-failure"),
        ("Rejected", 408, "technical-failure"),
        ("Aborted", 412, "technical-failure"),
        ("Cancelled", 407, "technical-failure"),
        ("Failed", 1, "technical-failure"),  # of the source address, not an unknown subscriber
    ],
)
def test_each_status(status, code, means):
    """A receipt gives the status of the message and the reason of a failure."""
    (receipt,) = create_sinch(CALLBACK_URL).parse_callback(build_callback(report(status, code)))

    why = str(code) if means.endswith("failure") else None
    assert Receipt(means, "ref-3f9", "01FC66621", why) == receipt


def test_a_signed_receipt_says_so():
    """Only the vendor can have signed it."""
    body = msgspec.json.encode(report())

    receipts = create_sinch(CALLBACK_URL, signing_secret=Secret(SECRET)).parse_callback(
        build_callback(body, headers=signed(body))
    )

    assert [Receipt("delivered", "ref-3f9", "01FC66621", is_signed=True)] == receipts


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"secret": "another"},
        {"at": sdk_comparison.NOW_SECONDS - 301},
        {"at": sdk_comparison.NOW_SECONDS + 301},
        {"at": "yesterday"},
    ],
)
def test_a_bad_or_old_signature_is_refused(wrong):
    """This includes a missing one."""
    body = msgspec.json.encode(report())
    headers = signed(body, **wrong) if wrong else {}

    with pytest.raises(CallbackSignatureError):
        create_sinch(CALLBACK_URL, signing_secret=Secret(SECRET)).parse_callback(
            build_callback(body, headers=headers)
        )


def test_a_changed_body_is_refused():
    """A signature is of one body."""
    body = msgspec.json.encode(report("Failed", 402))

    with pytest.raises(CallbackSignatureError):
        create_sinch(CALLBACK_URL, signing_secret=Secret(SECRET)).parse_callback(
            build_callback(report(), headers=signed(body))
        )


def test_a_part_of_the_body_is_no_nonce():
    """They are signed as one text with a full stop between."""
    body = b"{}.n1"
    headers = signed(body)
    moved = headers | {"x-sinch-webhook-signature-nonce": "n1.n0nce"}
    dialect = create_sinch(CALLBACK_URL, signing_secret=Secret(SECRET))

    with pytest.raises(CallbackSignatureError):
        dialect.parse_callback(build_callback(b"{}", headers=moved))


@pytest.mark.parametrize("body", [*INVALID_BODIES, report("Nonsense"), report(type="mo_text")])
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised."""
    assert_no_receipt(create_sinch(CALLBACK_URL), build_callback(body))


async def test_the_sdk_asks_for_the_same(gateway, transport, message):
    """Outside opinion: method, path, key and body of Sinch's own SDK."""
    from sinch import SinchClient

    gateway.set_reply(
        201, {"id": "01FC66621", "to": ["447400123456"], "type": "mt_text", "body": "x"}
    )
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    def sdk():
        client = SinchClient(service_plan_id="plan1", sms_api_token="t0ken", sms_region="eu")
        client.configuration.sms_origin_with_service_plan_id = gateway.url
        with client.configuration.transport.http_session:
            client.sms.batches.send_sms(
                to=[asked.to.e164],
                from_=asked.sender,
                body=asked.text,
                delivery_report="per_recipient_final",
                event_destination_target=asked.callback_url,
                client_reference=asked.reference,
                expire_at=datetime.fromisoformat("2026-09-21T14:18:10+00:00"),
            )

    ours, theirs = await send_with_both(gateway, transport, create_sinch(gateway.url), asked, sdk)

    for *_, body in (ours, theirs):
        body["expire_at"] = datetime.fromisoformat(body["expire_at"])
    assert ours == theirs


def test_the_sdk_accepts_what_we_hold_for_signed():
    """Outside opinion: its validator and its reading of a receipt."""
    from sinch.domains.sms.sinch_events.v1 import SmsSinchEvent

    at = int(time.time())
    body = msgspec.json.encode(report())
    events = SmsSinchEvent(SECRET)

    assert events.validate_authentication_header(signed(body, at=at), body)
    assert not events.validate_authentication_header(signed(body, at=at, secret="x"), body)
    assert "Delivered" == events.parse_event(body).status
