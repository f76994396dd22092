"""Clickatell's One API: one request byte by byte, its codes and its receipts."""

import json

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import Callback, UnreadableCallback
from otp_service.sms.providers.clickatell import FAULT_TABLE, Clickatell
from tests.sms.providers.sdk_comparison import list_codes


def settings(**more):
    """An integration."""
    return Clickatell(key=Secret("k3y=="), **more)


def says(status, code=None, *, accepted=False, known=None):
    """A reply about one message."""
    one = {
        "apiMessageId": known,
        "accepted": accepted,
        "to": "44",
        "error": code and {"code": code},
    }
    return HttpReply(status, {}, json.dumps({"messages": [one], "error": None}).encode())


def brings(body):
    """A callback."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Callback("POST", "https://otp.example/v1/callbacks/clickatell", {}, content, 0)


def updates(*updates):
    """News of some messages, in the One API's form."""
    event = {"messageStatusUpdate": list(updates)}
    return brings({"integrationId": "ff80", "integrationName": "otp", "event": event})


def test_request_byte_by_byte(message):
    """The header is the key alone; numbers have no plus."""
    request = settings(sender="+12025550100").build_request(message)

    assert (
        HttpRequest(
            "POST",
            "https://platform.clickatell.com/v1/message",
            (("content-type", "application/json"), ("authorization", "k3y==")),
            b'{"messages":[{"channel":"sms","to":"447400123456",'
            b'"content":"864209 is your Example code.","clientMessageId":"ref-3f9",'
            b'"from":"12025550100"}]}',
        )
        == request
    )


def test_sender_is_a_number_where_one_is_required(message):
    """Without one there is no field, and the integration's own is taken (R44)."""
    american = msgspec.structs.replace(message, to=PhoneNumber("+12025550123", "US", 1))

    assert b'"from":"Example"' in settings(sender="Example").build_request(message).body
    assert b"from" not in settings(sender="Example").build_request(american).body


@pytest.mark.parametrize("status", [207, 400])
@pytest.mark.parametrize(
    "code",
    [
        *map(int, list_codes(FAULT_TABLE, "recipient")),
        *list_codes(FAULT_TABLE, "recipient"),
    ],
    ids=repr,
)
def test_recipient_codes(status, code):
    """As numbers or as text, and whatever the status is."""
    reply = settings().interpret_reply(says(status, code))

    assert (Fault.RECIPIENT, str(code)) == (reply.fault, reply.reason)


@pytest.mark.parametrize("code", [*map(int, list_codes(FAULT_TABLE, "account"))])
def test_account_codes_stand_with_the_message_or_above(code):
    """Those of the whole request are next to `messages`."""
    above = HttpReply(400, {}, json.dumps({"messages": [], "error": {"code": code}}).encode())

    for reply in (settings().interpret_reply(says(400, code)), settings().interpret_reply(above)):
        assert (Fault.PROVIDER, str(code), RefusalScope.ACCOUNT) == (
            reply.fault,
            reply.reason,
            reply.scope,
        )


@pytest.mark.parametrize(
    ("reply", "fault", "reason"),
    [
        (says(207, 24), Fault.PROVIDER, "24"),
        (says(202), Fault.PROVIDER, "not-accepted"),
        (says(400), Fault.PROVIDER, "http-400"),
        (says(500, 18), Fault.UNKNOWN, "18"),
        (says(503, 19), Fault.UNKNOWN, "19"),
        (says(500, accepted=True, known="m-1"), Fault.UNKNOWN, "http-500"),
        (HttpReply(202, {}, b'{"messages": []}'), Fault.UNKNOWN, "http-202"),
        (HttpReply(401, {}, b'{"error": "no"}'), Fault.PROVIDER, "http-401"),
        # 105 was "invalid destination" in the older interfaces, and is nothing in this one.
        (says(400, 105), Fault.PROVIDER, "105"),
    ],
)
def test_other_replies_by_fault(reply, fault, reason):
    """Without an explicit acceptance the fault is the provider's; otherwise the status decides."""
    refusal = settings().interpret_reply(reply)

    assert (fault, reason) == (refusal.fault, refusal.reason)


def test_accepted_needs_both():
    """The word and the id."""
    assert Accepted("m-1") == settings().interpret_reply(says(202, accepted=True, known="m-1"))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("QUEUED", "pending"),
        ("SENT_TO_SUPPLIER", "pending"),
        ("SOMETHING_NEW", "pending"),
        ("DEVICE_ACK", "delivered"),
        ("EXPIRED", "temporary-failure"),
        ("DELIVERY_FAILURE", "technical-failure"),
        ("RECIPIENT_DOES_NOT_EXIST", "permanent-failure"),
    ],
)
def test_receipt_of_a_status(name, status):
    """Advisory, because it is unsigned; with our reference."""
    update = {
        "channel": "sms",
        "messageId": "m-1",
        "clientMessageId": "ref-3f9",
        "timestamp": 1553104954322,
        "statusCode": 5,
        "status": name,
    }

    receipts = settings().parse_callback(updates(update))

    reason = name if status.endswith("failure") else None
    assert [Receipt(status, "ref-3f9", "m-1", reason, is_signed=False)] == receipts


def test_several_receipts_at_once():
    """Also without a reference."""
    both = updates({"messageId": "m-1", "status": "READ"}, {"messageId": "m-2", "status": "QUEUED"})

    assert [("m-1", ""), ("m-2", "")] == [
        (receipt.message_id, receipt.reference) for receipt in settings().parse_callback(both)
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", {"event": {"messageStatusUpdate": 1}}])
def test_what_is_no_callback_cannot_be_read(body):
    """It is not Clickatell's."""
    with pytest.raises(UnreadableCallback):
        settings().parse_callback(brings(body))


def test_key_does_not_show(message):
    """Neither in the settings nor in the request."""
    assert "k3y" not in f"{settings()!r} {settings().build_request(message)!r}"
