"""Messages from phones at Telnyx, whose SDK reads the same (R64).

https://developers.telnyx.com/docs/messaging/messages/receive-message
"""

import time

import msgspec
import pytest

from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from tests.sms.providers import test_telnyx
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.lazy_sdk import import_telnyx
from tests.sms.providers.sdk_comparison import build_callback, remove_members


URL = "https://sms.example"
PHONE, OURS = "447400123456", "447400987654"
NOT_TEXT = [7, True, ["STOP"], {"text": "STOP"}]

TELNYX_PAYLOAD = {
    "id": "84cca175-9755-4859-b67f-4730d7f58aa3",
    "record_type": "message",
    "direction": "inbound",
    "type": "SMS",
    "from": {"phone_number": f"+{PHONE}", "carrier": "Example", "status": "received"},
    "to": [{"phone_number": f"+{OURS}", "status": "webhook_delivered"}],
    "text": "Stop",
    "autoresponse_type": None,
    "media": [],
    "parts": 1,
    "messaging_profile_id": "740572b6-099c-44a1-89b9-6c92163bc68d",
    "received_at": "2026-09-21T14:13:20.000Z",
    "errors": [],
}


def build_telnyx_event(payload):
    """Build the event of a message."""
    data = {"event_type": "message.received", "id": "b301ed3f", "record_type": "event"}
    return {"data": data | {"payload": payload}, "meta": {"attempt": 1}}


def read_telnyx(payload, *, signed_body=None, **headers):
    """Return the only part of a callback that Telnyx has signed."""
    body = msgspec.json.encode(build_telnyx_event(payload))
    dialect = create_telnyx(URL, public_key=test_telnyx.PUBLIC_KEY)
    signed = headers or test_telnyx.signed(signed_body or body)
    (part,) = dialect.parse_callback(build_callback(body, headers=signed))
    return part


@pytest.mark.parametrize("kind", ["SMS", "MMS"])
def test_telnyxs_documented_message_is_read(kind):
    """Its own SDK accepts the signature and reads the same; an MMS with a text counts."""
    telnyx = import_telnyx()

    payload = TELNYX_PAYLOAD | {"type": kind}
    body = msgspec.json.encode(build_telnyx_event(payload))
    with telnyx.Telnyx(api_key="k3y", public_key=test_telnyx.PUBLIC_KEY) as client:
        headers = test_telnyx.signed(body, at=int(time.time()))
        theirs = client.webhooks.unwrap(body.decode(), headers=headers).data.payload

    message = read_telnyx(payload)

    expected = InboundMessage(f"+{PHONE}", "Stop", f"+{OURS}", TELNYX_PAYLOAD["id"], is_signed=True)
    assert expected == message
    assert (theirs.from_.phone_number, theirs.text) == (message.sender, message.text)
    assert (theirs.to[0].phone_number, theirs.id) == (message.receiver, message.id)
    (unsigned,) = create_telnyx(URL).parse_callback(build_callback(body))
    assert msgspec.structs.replace(expected, is_signed=False) == unsigned


def test_the_type_of_telnyxs_message_may_be_in_lower_case():
    """The documentation has it so, and its examples have not."""
    assert "Stop" == read_telnyx(TELNYX_PAYLOAD | {"type": "mms"}).text


def test_a_forged_message_of_telnyx_is_refused():
    """R64: without a signature, and with one of another body."""
    with pytest.raises(CallbackSignatureError):
        read_telnyx(TELNYX_PAYLOAD, accept="*/*")
    with pytest.raises(CallbackSignatureError):
        read_telnyx(TELNYX_PAYLOAD, signed_body=b"{}")


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        *(("STOP", "STOP"), ("START", "START"), ("HELP", "HELP")),
        *((None, "pare"), ("", "pare"), ("OTHER", "pare"), ("+447400555666", "pare")),
    ],
)
def test_telnyxs_own_reading_is_the_text(keyword, text):
    """A messaging profile may have keywords of its own, and blocks the number by them."""
    payload = TELNYX_PAYLOAD | {"text": "pare", "autoresponse_type": keyword}

    assert text == read_telnyx(payload).text


@pytest.mark.parametrize("more", [{"text": None}, {"text": ""}])
def test_telnyxs_message_without_a_text_has_no_keyword(more):
    """An MMS may be a picture alone."""
    assert "" == read_telnyx(TELNYX_PAYLOAD | more).text
    assert "" == read_telnyx(remove_members(TELNYX_PAYLOAD, "text")).text


@pytest.mark.parametrize(
    "payload",
    [
        remove_members(TELNYX_PAYLOAD, "from"),
        remove_members(TELNYX_PAYLOAD, "id"),
        TELNYX_PAYLOAD | {"from": {}},
        TELNYX_PAYLOAD | {"from": {"phone_number": None}},
        TELNYX_PAYLOAD | {"from": {"phone_number": ""}},
        TELNYX_PAYLOAD | {"from": f"+{PHONE}"},
        TELNYX_PAYLOAD | {"autoresponse_type": ["STOP"]},
        *(TELNYX_PAYLOAD | {"text": text} for text in NOT_TEXT),
        7,
    ],
)
def test_telnyxs_message_of_another_form_cannot_be_read(payload):
    """A missing sender, and members of other types: an operator has to know."""
    with pytest.raises(UnreadableCallback):
        read_telnyx(payload)


@pytest.mark.parametrize("to", [[], [{}], [{"phone_number": None}]])
def test_a_message_of_telnyx_needs_no_receiver(to):
    """Then its opt-out is of all tenants, unless only one can send."""
    assert ("", "Stop") == (
        read_telnyx(TELNYX_PAYLOAD | {"to": to}).receiver,
        read_telnyx(TELNYX_PAYLOAD | {"to": to}).text,
    )


def test_telnyxs_message_of_another_channel_is_another_event():
    """RCS has the same event."""
    assert SkippedEvent.OTHER is read_telnyx(TELNYX_PAYLOAD | {"type": "RCS"})
