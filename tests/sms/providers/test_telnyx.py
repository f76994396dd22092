"""How Telnyx is asked, what its receipts mean, and whether its own SDK agrees."""

import base64
import json
import time

import msgspec
import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from otp_service.core.delivery import Fault, Receipt, RefusalScope, Refused
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError
from tests.sms.providers.callback_builder import assert_no_receipt
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.lazy_sdk import import_telnyx
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    NOW_SECONDS,
    build_callback,
    send_with_both,
)


KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


def report(status="delivered", code=None, title="Not good", event="message.finalized"):
    """A receipt."""
    errors = [{"code": code, "title": title, "detail": "+447400123456: 864209"}] if code else []
    return {
        "data": {
            "event_type": event,
            "id": "b301ed3f",
            "record_type": "event",
            "payload": {
                "id": "40385f64",
                "to": [{"phone_number": "+447400123456", "status": status}],
                "errors": errors,
                "text": "864209 is your Example code.",
            },
        },
        "meta": {"attempt": 1},
    }


def signed(body, *, at=NOW_SECONDS, key=KEY):
    """The headers of a receipt that Telnyx brings."""
    mac = key.sign(f"{at}|".encode() + body)
    return {
        "telnyx-signature-ed25519": base64.b64encode(mac).decode(),
        "telnyx-timestamp": str(at),
    }


def test_a_request_byte_by_byte(message):
    """Receipts contain the text, so the profile's own webhooks are disabled for them."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_telnyx("https://api.telnyx.com", messaging_profile_id="4001-7").build_request(
        asked
    )

    assert request == HttpRequest(
        "POST",
        "https://api.telnyx.com/v2/messages",
        (("content-type", "application/json"), ("authorization", "Bearer k3y")),
        b'{"to":"+447400123456","from":"Example","messaging_profile_id":"4001-7",'
        b'"text":"864209 is your Example code.","type":"SMS","webhook_url":'
        b'"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen",'
        b'"use_profile_webhooks":false}',
    )


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        ("queued", None, "pending"),
        ("sending", None, "pending"),
        ("sent", None, "pending"),
        ("delivery_unconfirmed", None, "pending"),
        ("delivered", None, "delivered"),
        ("read", None, "delivered"),
        ("expired", "40005", "temporary-failure"),
        ("delivery_failed", "40001", "permanent-failure"),
        ("sending_failed", "40310", "permanent-failure"),
        ("delivery_failed", "40020", "permanent-failure"),
        ("delivery_failed", "10016", "technical-failure"),
        ("delivery_failed", "40002", "technical-failure"),
        ("sending_failed", "40305", "technical-failure"),
        ("delivery_failed", None, "technical-failure"),
    ],
)
def test_each_status(status, code, means):
    """A receipt gives the status of the message and the reason of a failure."""
    assert [Receipt(means, "", "40385f64", code)] == create_telnyx(CALLBACK_URL).parse_callback(
        build_callback(report(status, code))
    )


@pytest.mark.parametrize(
    ("title", "means", "reason"),
    [
        ("Blocked due to STOP message", "permanent-failure", "recipient_opted_out"),
        ("Blocked by the messaging profile", "technical-failure", "40300"),
    ],
)
def test_40300_is_the_numbers_only_if_it_says_stop(title, means, reason):
    """The same code is also about a profile that must not send there."""
    (receipt,) = create_telnyx(CALLBACK_URL).parse_callback(
        build_callback(report("sending_failed", "40300", title))
    )

    assert (means, reason) == (receipt.status, receipt.reason)


@pytest.mark.parametrize(
    ("code", "pointer", "fault"),
    [
        ("10002", "/to", Fault.RECIPIENT),
        ("10016", "/to", Fault.RECIPIENT),
        ("10016", "/to/0", Fault.RECIPIENT),
        ("10002", "/from", Fault.PROVIDER),
        ("10016", "/from", Fault.PROVIDER),
        ("10016", "/total", Fault.PROVIDER),
        ("10016", "", Fault.PROVIDER),
        ("10016", None, Fault.PROVIDER),
        ("40310", None, Fault.RECIPIENT),
        ("40310", "/to", Fault.RECIPIENT),
        ("40310", "/from", Fault.PROVIDER),
        ("20100", "/to", Fault.PROVIDER),
    ],
)
def test_the_pointer_says_which_number_is_wrong(code, pointer, fault):
    """With a wrong sender every number would be refused, and every login."""
    error = {"code": code, "title": "Phone number must be in +E.164 format"}
    if pointer is not None:
        error["source"] = {"pointer": pointer}
    reply = HttpReply(400, {}, msgspec.json.encode({"errors": [error]}))

    refused = create_telnyx(CALLBACK_URL).interpret_reply(reply)

    assert (fault, code) == (refused.fault, refused.reason)


def test_a_source_without_a_pointer_is_understood():
    """It may name a parameter of the address instead."""
    error = {"code": "10016", "title": "t", "source": {"parameter": "to"}}
    reply = HttpReply(400, {}, msgspec.json.encode({"errors": [error]}))

    assert Fault.PROVIDER == create_telnyx(CALLBACK_URL).interpret_reply(reply).fault


@pytest.mark.parametrize(
    ("codes", "fault", "scope"),
    [
        ("40020", Fault.RECIPIENT, RefusalScope.BLOCKED),
        (
            "40309 40330 40331 40307 40010 40100",
            Fault.PROVIDER,
            RefusalScope.ACCOUNT,
        ),
        ("40016 40018", Fault.PROVIDER, RefusalScope.THROTTLED),
    ],
)
def test_a_code_decides_what_a_refusal_is_about(codes, fault, scope):
    """A fraud block ends the chain; an account needs an operator; a limit needs a pause."""
    for code in codes.split():
        reply = HttpReply(400, {}, msgspec.json.encode({"errors": [{"code": code}]}))

        assert Refused(fault, code, scope=scope) == create_telnyx("").interpret_reply(reply)


def test_a_code_may_be_a_number():
    """Their other APIs write it as one."""
    (receipt,) = create_telnyx(CALLBACK_URL).parse_callback(
        build_callback(report("sending_failed", 40310))
    )

    assert ("permanent-failure", "40310") == (receipt.status, receipt.reason)


def test_a_reason_that_could_be_a_code_is_not_kept():
    """Six digits in a row are what codes and numbers are made of."""
    (receipt,) = create_telnyx(CALLBACK_URL).parse_callback(
        build_callback(report("sending_failed", "864209"))
    )

    assert "unreadable" == receipt.reason


def test_a_signed_receipt_says_so():
    """Only the vendor can have signed it."""
    body = msgspec.json.encode(report())

    receipts = create_telnyx(CALLBACK_URL, public_key=PUBLIC_KEY).parse_callback(
        build_callback(body, headers=signed(body))
    )

    assert [Receipt("delivered", "", "40385f64", is_signed=True)] == receipts


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"key": Ed25519PrivateKey.from_private_bytes(b"x" * 32)},
        {"at": NOW_SECONDS - 301},
        {"at": NOW_SECONDS + 301},
        {"at": "yesterday"},
    ],
)
def test_a_bad_or_old_signature_is_refused(wrong):
    """This includes a missing one."""
    body = msgspec.json.encode(report())
    headers = signed(body, **wrong) if wrong else {}

    with pytest.raises(CallbackSignatureError):
        create_telnyx(CALLBACK_URL, public_key=PUBLIC_KEY).parse_callback(
            build_callback(body, headers=headers)
        )


@pytest.mark.parametrize("given", ["", "not base64!", "AAAA", "ä"])
def test_a_signature_that_is_none_is_refused(given):
    """For any value of the header."""
    body = msgspec.json.encode(report())
    headers = signed(body) | {"telnyx-signature-ed25519": given}

    with pytest.raises(CallbackSignatureError):
        create_telnyx(CALLBACK_URL, public_key=PUBLIC_KEY).parse_callback(
            build_callback(body, headers=headers)
        )


@pytest.mark.parametrize(
    "body", [*INVALID_BODIES, report("nonsense"), report(event="message.received")]
)
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised."""
    assert_no_receipt(create_telnyx(CALLBACK_URL), build_callback(body))


@pytest.mark.parametrize("key", ["AAAA", "not base64!"])
def test_a_public_key_that_is_none_is_a_fault(key):
    """`check` reports it before the first receipt."""
    faults = create_telnyx("https://api.telnyx.com", public_key=key, sender="Example").find_errors()

    assert ["public_key"] == [field for field, _ in faults]


def test_the_public_key_of_the_portal_is_no_fault():
    """Nothing is said of one that is right."""
    account = create_telnyx("https://api.telnyx.com", public_key=PUBLIC_KEY, sender="Example")

    assert [] == account.find_errors()


async def test_the_sdk_asks_for_the_same(gateway, transport, message):
    """Outside opinion: method, path, key and body of Telnyx' own SDK."""
    telnyx = import_telnyx()

    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    def send():
        with telnyx.Telnyx(api_key="k3y", base_url=f"{gateway.url}/v2", max_retries=0) as client:
            client.messages.send(
                to=asked.to.e164,
                from_=asked.sender,
                messaging_profile_id="4001-7",
                text=asked.text,
                type="SMS",
                webhook_url=asked.callback_url,
                use_profile_webhooks=False,
            )

    dialect = create_telnyx(gateway.url, messaging_profile_id="4001-7")
    ours, theirs = await send_with_both(gateway, transport, dialect, asked, send)

    assert ours == theirs


def test_the_sdk_accepts_what_we_hold_for_signed():
    """Outside opinion: its validator and its reading of a receipt."""
    telnyx = import_telnyx()
    from telnyx.lib.webhook_verification import WebhookVerificationError

    at = int(time.time())
    body = msgspec.json.encode(report())

    with telnyx.Telnyx(api_key="k3y", public_key=PUBLIC_KEY) as client:
        event = client.webhooks.unwrap(body.decode(), headers=signed(body, at=at))
        with pytest.raises(WebhookVerificationError):
            client.webhooks.unwrap(body.decode(), headers=signed(body, at=at - 400))

    assert ("40385f64", "delivered") == (event.data.payload.id, event.data.payload.to[0].status)


def test_we_accept_what_libsodium_signs():
    """Outside opinion, in the other direction: another Ed25519."""
    body = msgspec.json.encode(report())
    key = nacl.signing.SigningKey(b"k" * 32)
    mac = key.sign(f"{NOW_SECONDS}|".encode() + body).signature
    headers = signed(body) | {"telnyx-signature-ed25519": base64.b64encode(mac).decode()}

    (receipt,) = create_telnyx(CALLBACK_URL, public_key=PUBLIC_KEY).parse_callback(
        build_callback(body, headers=headers)
    )

    assert receipt.is_signed


@pytest.mark.parametrize("code", ["10002", "10016", "40310", "40001"])
@pytest.mark.parametrize(
    ("pointers", "fault", "scope"),
    [
        (["/to"], Fault.RECIPIENT, RefusalScope.MESSAGE),
        (["/to/0"], Fault.RECIPIENT, RefusalScope.MESSAGE),
        (["/from"], Fault.PROVIDER, RefusalScope.ACCOUNT),
        (["/messaging_profile_id"], Fault.PROVIDER, RefusalScope.ACCOUNT),
        (["/tocsin"], Fault.PROVIDER, RefusalScope.ACCOUNT),
        (["/to", "/from"], Fault.PROVIDER, RefusalScope.ACCOUNT),
    ],
)
def test_the_pointer_decides_whose_number_is_meant(code, pointers, fault, scope):
    """A sender that is not ours made every login a bad number, and no other provider was asked."""
    errors = [{"code": code, "title": "Invalid", "source": {"pointer": each}} for each in pointers]
    body = json.dumps({"errors": errors}).encode()

    reply = create_telnyx("https://sms.example").interpret_reply(HttpReply(400, {}, body))

    assert (fault, code, scope) == (reply.fault, reply.reason, reply.scope)


@pytest.mark.parametrize("code", ["10002", "10016"])
def test_the_form_of_a_number_without_a_pointer_proves_nothing(code):
    """It may be the sender's."""
    body = json.dumps({"errors": [{"code": code, "title": "Invalid"}]}).encode()

    reply = create_telnyx("https://sms.example").interpret_reply(HttpReply(400, {}, body))

    assert Fault.PROVIDER is reply.fault
