"""How Bird is asked, what its receipts mean, and whether its own SDK agrees."""

import base64
import time
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pydantic
import pytest
from standardwebhooks import Webhook

from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError
from otp_service.sms.signatures import compute_signature
from tests.sms.providers.callback_builder import assert_no_receipt
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    NOW_SECONDS,
    build_callback,
    send_with_both,
)


SECRET = f"whsec_{base64.b64encode(b'a key of thirty-two bytes, nearly').decode()}"
ID = "sms_01krdgeqcxet5s7t44vh8rt9mg"


def report(kind="delivered", code=None, **more):
    """A receipt."""
    data = {
        "sms_id": ID,
        "workspace_id": "ws_01krdgeqcxet5s7t44vh8rt9mg",
        "to": "+447400123456",
        "from": "Example",
        "tags": None,
        "metadata": {"reference": "ref-3f9"},
        "requested_language": None,
        "resolved_language": None,
        "template_id": None,
        "template_version_id": None,
        "template_content_hash": None,
    }
    if code:
        said = {"code": code, "description": "+447400123456", "occurred_at": "2026-09-21T14:13:20Z"}
        data["error"] = said
    return {"type": f"sms.{kind}", "timestamp": "2026-09-21T14:13:20Z", "data": data | more}


def signed(body, *, at=NOW_SECONDS, secret=SECRET):
    """The headers of a receipt that Bird brings, signed by another implementation."""
    mac = Webhook(secret).sign("msg_1", datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": mac}


def test_a_request_byte_by_byte(message):
    """A category that keeps the text out of their storage, and our reference."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_bird("https://eu1.platform.bird.com").build_request(asked)

    assert request == HttpRequest(
        "POST",
        "https://eu1.platform.bird.com/v1/sms/messages",
        (("content-type", "application/json"), ("authorization", "Bearer bk_eu1_k3y")),
        b'{"to":"+447400123456","from":"Example","text":"864209 is your Example code.",'
        b'"category":"authentication","metadata":{"reference":"ref-3f9"}}',
    )


@pytest.mark.parametrize(("has", "seconds", "asked"), [(True, 290, 290), (True, 59, None)])
def test_validity_is_asked_for_where_it_may_be(message, has, seconds, asked):
    """It is a preview, of 60 s at least; a longer one than the code's life is never asked for."""
    lives = msgspec.structs.replace(message, validity_seconds=seconds)

    body = msgspec.json.decode(
        create_bird(CALLBACK_URL, has_validity=has).build_request(lives).body
    )

    assert asked == body.get("validity_period")


@pytest.mark.parametrize(
    ("kind", "code", "means"),
    [
        ("accepted", None, "pending"),
        ("sent", None, "pending"),
        ("delivered", None, "delivered"),
        ("expired", None, "temporary-failure"),
        ("undelivered", "unreachable", "temporary-failure"),
        ("undelivered", "invalid_destination", "permanent-failure"),
        ("failed", "landline_unreachable", "permanent-failure"),
        ("rejected", "recipient_opted_out", "permanent-failure"),
        ("failed", "blocked_by_recipient", "permanent-failure"),
        ("rejected", "blocked_by_fraud_protection", "permanent-failure"),
        ("failed", "blocked_by_carrier", "technical-failure"),
        ("failed", "insufficient_balance", "technical-failure"),
        ("failed", "invented_tomorrow", "technical-failure"),
        ("failed", None, "technical-failure"),
    ],
)
def test_each_status(kind, code, means):
    """A receipt gives the status of the message and the reason of a failure."""
    assert [Receipt(means, "ref-3f9", ID, code)] == create_bird(CALLBACK_URL).parse_callback(
        build_callback(report(kind, code))
    )


@pytest.mark.parametrize("metadata", [None, {}, {"reference": 7}])
def test_a_reference_may_be_missing(metadata):
    """Another application may send from the same workspace."""
    (receipt,) = create_bird(CALLBACK_URL).parse_callback(build_callback(report(metadata=metadata)))

    assert ("", ID) == (receipt.reference, receipt.message_id)


@pytest.mark.parametrize("more", ["", "v1,AAAA ", "v1a,AAAA v1,ä "])
def test_a_signed_receipt_says_so(more):
    """Only the vendor can have signed it; there may be several signatures."""
    body = msgspec.json.encode(report())
    headers = signed(body)
    headers |= {"webhook-signature": more + headers["webhook-signature"]}

    receipts = create_bird(CALLBACK_URL, webhook_secret=Secret(SECRET)).parse_callback(
        build_callback(body, headers=headers)
    )

    assert [Receipt("delivered", "ref-3f9", ID, is_signed=True)] == receipts


@pytest.mark.parametrize(
    "wrong",
    [{}, {"secret": f"whsec_{'A' * 40}"}, {"at": NOW_SECONDS - 301}, {"at": NOW_SECONDS + 301}],
)
def test_a_bad_or_old_signature_is_refused(wrong):
    """This includes a missing one."""
    body = msgspec.json.encode(report())
    headers = signed(body, **wrong) if wrong else {}

    with pytest.raises(CallbackSignatureError):
        create_bird(CALLBACK_URL, webhook_secret=Secret(SECRET)).parse_callback(
            build_callback(body, headers=headers)
        )


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!", "ä"])
def test_a_secret_that_is_none_is_a_fault_and_accepts_nothing(secret):
    """Anybody can sign with a key that is empty."""
    body = msgspec.json.encode(report())
    mac = compute_signature(b"", f"msg_1.{NOW_SECONDS}.".encode() + body)
    headers = signed(body) | {"webhook-signature": f"v1,{mac}"}
    more = {"webhook_secret": Secret(secret), "sender": "Example"}
    workspace = create_bird("https://eu1.platform.bird.com", **more)

    assert ["webhook_secret"] == [field for field, _ in workspace.find_errors()]
    with pytest.raises(CallbackSignatureError):
        workspace.parse_callback(build_callback(body, headers=headers))


def test_a_part_of_the_body_is_no_id():
    """They are signed as one text with full stops between."""
    body = f"{NOW_SECONDS}.{{}}".encode()
    mac = Webhook(SECRET).sign("a", datetime.fromtimestamp(NOW_SECONDS, UTC), body.decode())
    moved = {
        "webhook-id": f"a.{NOW_SECONDS}",
        "webhook-timestamp": str(NOW_SECONDS),
        "webhook-signature": mac,
    }
    dialect = create_bird(CALLBACK_URL, webhook_secret=Secret(SECRET))

    with pytest.raises(CallbackSignatureError):
        dialect.parse_callback(build_callback(b"{}", headers=moved))


@pytest.mark.parametrize("body", [*INVALID_BODIES, report("of_next_year"), report(sms_id=None)])
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised."""
    assert_no_receipt(create_bird(CALLBACK_URL), build_callback(body))


async def test_the_sdk_asks_for_the_same(gateway, transport, message):
    """Outside opinion: method, path, key and body of Bird's own SDK."""
    import bird

    gateway.set_reply(202, {})
    asked = msgspec.structs.replace(message, sender="Example")

    def send():
        client = bird.Bird(api_key="bk_eu1_k3y", base_url=gateway.url, max_retries=0)
        with client, suppress(pydantic.ValidationError):  # our recorder answers nothing
            client.sms.send(
                to=asked.to.e164,
                from_=asked.sender,
                text=asked.text,
                category="authentication",
                metadata={"reference": asked.reference},
            )

    ours, theirs = await send_with_both(gateway, transport, create_bird(gateway.url), asked, send)

    assert ours == theirs


def test_the_sdk_reads_the_same_of_a_message_from_a_phone():
    """Outside opinion: its validator and its struct of the event."""
    import bird

    at = int(time.time())
    data = report(text="Stop!", segments={"count": 1, "encoding": "GSM_7BIT", "characters": 5})
    event = data | {"type": "sms.received"}
    event["data"] = data["data"] | {"from": "+447400123456", "to": "+447400987654"}
    body = msgspec.json.encode(event)
    headers = signed(body, at=at)
    dialect = create_bird("https://eu1.platform.bird.com", webhook_secret=Secret(SECRET))

    with bird.Bird(api_key="bk_eu1_k3y", webhook_secret=SECRET) as client:
        theirs = client.webhooks.unwrap(body, headers).root.data
    (ours,) = dialect.parse_callback(build_callback(body, now_seconds=at, headers=headers))

    assert InboundMessage("+447400123456", "Stop!", "+447400987654", ID, is_signed=True) == ours
    assert (theirs.from_, theirs.text, theirs.to, theirs.sms_id) == (
        ours.sender,
        ours.text,
        ours.receiver,
        ours.id,
    )


def test_the_sdk_accepts_what_we_hold_for_signed():
    """Outside opinion: its validator and its reading of a receipt."""
    import bird

    at = int(time.time())
    body = msgspec.json.encode(report("failed", "unreachable"))

    with bird.Bird(api_key="bk_eu1_k3y", webhook_secret=SECRET) as client:
        event = client.webhooks.unwrap(body, signed(body, at=at)).root
        with pytest.raises(bird.WebhookVerificationError):
            client.webhooks.unwrap(body, signed(body, at=at - 400))

    assert ("sms.failed", ID, "unreachable") == (
        event.type,
        event.data.sms_id,
        event.data.error.code.value,
    )
