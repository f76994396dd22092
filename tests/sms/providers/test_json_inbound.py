"""Messages from phones in JSON: Vonage's Messages API, Sinch, Infobip and Telnyx (R64)."""

import json
import time

import msgspec
import pytest
import telnyx as telnyx_sdk
from infobip_api_client.models.sms_inbound_message_result import SmsInboundMessageResult
from sinch.domains.sms.sinch_events.v1 import SmsSinchEvent

from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from tests.sms.providers import test_infobip, test_sinch, test_telnyx, test_vonage_messages
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.sdk_comparison import build_callback


URL = "https://sms.example"
PHONE, OURS = "447400123456", "447400987654"
NOT_TEXT = [7, True, ["STOP"], {"text": "STOP"}]


def without(body, *names):
    """Return the object without these members."""
    return {name: each for name, each in body.items() if name not in names}


# The messages of Vonage's Messages API are described at https://developer.vonage.com/en/api/messages#inbound-message

VONAGE_V1 = {
    "channel": "sms",
    "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    "to": OURS,
    "from": PHONE,
    "timestamp": "2026-09-21T14:13:20Z",
    "text": "Stop",
    "message_type": "text",
    "sms": {"num_messages": "1", "keyword": "STOP"},
    "usage": {"price": "0.0333", "currency": "EUR"},
}
VONAGE_V01 = {
    "message_uuid": VONAGE_V1["message_uuid"],
    "from": {"type": "sms", "number": PHONE},
    "to": {"type": "sms", "number": OURS},
    "message": {"content": {"type": "text", "text": "Stop"}},
    "timestamp": "2026-09-21T14:13:20.000Z",
    "direction": "inbound",
}


def read_vonage(body, **settings):
    """Return the only part of a callback that Vonage has signed."""
    dialect = test_vonage_messages.messages(**settings)
    (part,) = dialect.parse_callback(test_vonage_messages.signed(body))
    return part


@pytest.mark.parametrize("body", [VONAGE_V1, VONAGE_V01], ids=["v1", "v0.1"])
def test_both_forms_of_vonages_message_are_read(body):
    """Which one is sent is a setting of the application."""
    message = InboundMessage(PHONE, "Stop", OURS, VONAGE_V1["message_uuid"], is_signed=True)

    assert message == read_vonage(body)
    assert msgspec.structs.replace(message, is_signed=False) == read_vonage(
        body, signature_secret=None
    )


@pytest.mark.parametrize("body", [VONAGE_V1, VONAGE_V01], ids=["v1", "v0.1"])
def test_a_forged_message_of_vonage_is_refused(body):
    """R64: without a token, with one of another key, and with one of another body."""
    signed = test_vonage_messages.signed(body)
    forged = [
        msgspec.structs.replace(signed, headers={}),
        test_vonage_messages.signed(body, by=test_vonage_messages.SECRET[::-1]),
        msgspec.structs.replace(signed, body=signed.body.replace(b"123456", b"555666")),
    ]

    for each in forged:
        with pytest.raises(CallbackSignatureError):
            test_vonage_messages.messages().parse_callback(each)


@pytest.mark.parametrize(
    "body",
    [
        VONAGE_V1 | {"channel": "whatsapp"},
        VONAGE_V1 | {"channel": "mms"},
        VONAGE_V1 | {"channel": 7},
        VONAGE_V1 | {"status": "of next year"},
        VONAGE_V01 | {"from": {"type": "viber_service_msg", "number": PHONE}},
        VONAGE_V01 | {"from": {"type": "messenger", "id": "1"}},
        VONAGE_V01 | {"direction": "outbound"},
        without(VONAGE_V01, "from"),
        {"channel": "sms", "event": "of next year", "text": "STOP"},
    ],
)
def test_vonages_messages_of_other_channels_are_other_events(body):
    """Only a reply to an SMS says what is wanted of SMS."""
    assert SkippedEvent.OTHER is read_vonage(body)


@pytest.mark.parametrize(
    "body",
    [
        without(VONAGE_V1, "from"),
        VONAGE_V1 | {"from": ""},
        VONAGE_V1 | {"from": None},
        VONAGE_V1 | {"from": {"type": "sms", "number": PHONE}},
        VONAGE_V01 | {"from": {"type": "sms"}},
        VONAGE_V01 | {"from": {"type": "sms", "number": None}},
        VONAGE_V01 | {"from": [PHONE]},
        *(VONAGE_V1 | {"text": text} for text in NOT_TEXT),
        *(VONAGE_V01 | {"message": {"content": {"text": text}}} for text in NOT_TEXT),
    ],
)
def test_vonages_message_of_another_form_cannot_be_read(body):
    """A missing sender, and members of other types: an operator has to know."""
    with pytest.raises(UnreadableCallback):
        read_vonage(body)


@pytest.mark.parametrize(
    "body",
    [
        without(VONAGE_V1, "text"),
        VONAGE_V1 | {"text": None},
        VONAGE_V1 | {"text": "", "message_type": "unsupported"},
        without(VONAGE_V01, "message"),
        VONAGE_V01 | {"message": {"content": {"type": "image", "image": {"url": "https://x"}}}},
    ],
)
def test_vonages_message_without_a_text_has_no_keyword(body):
    """It is a message all the same."""
    assert ("", PHONE) == (read_vonage(body).text, read_vonage(body).sender)


@pytest.mark.parametrize("absent", ["message_type", "sms", "usage", "timestamp", "to"])
def test_members_that_vonage_may_omit_are_not_needed(absent):
    """The names of v1 could not be confirmed, so as few as possible are required."""
    assert "Stop" == read_vonage(without(VONAGE_V1, absent)).text


# The messages of Sinch are described at https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks

SINCH_TEXT = {
    "type": "mo_text",
    "id": "01FC66621XXXXX119Z8PMV1QPA",
    "from": PHONE,
    "to": OURS,
    "body": "Stop",
    "operator_id": "23410",
    "received_at": "2026-09-21T14:13:20.000Z",
    "sent_at": "2026-09-21T14:13:19.000Z",
}


def read_sinch(body, **headers):
    """Return the only part of a callback that Sinch has signed."""
    content = msgspec.json.encode(body)
    dialect = create_sinch(URL, signing_secret=Secret(test_sinch.SECRET))
    signed = headers or test_sinch.signed(content)
    (part,) = dialect.parse_callback(build_callback(content, headers=signed))
    return part


def test_sinchs_documented_message_is_read():
    """Its own SDK reads the same; without the secret it is unsigned."""
    message = InboundMessage(PHONE, "Stop", OURS, SINCH_TEXT["id"], is_signed=True)
    content = msgspec.json.encode(SINCH_TEXT)
    events = SmsSinchEvent(test_sinch.SECRET)
    theirs = events.parse_event(content)
    now = test_sinch.signed(content, at=int(time.time()))

    assert message == read_sinch(SINCH_TEXT)
    assert (message.sender, message.text, message.receiver, message.id) == (
        *(theirs.from_, theirs.body, theirs.to, theirs.id),
    )
    assert events.validate_authentication_header(now, content)
    unsigned = create_sinch(URL).parse_callback(build_callback(SINCH_TEXT))
    assert [msgspec.structs.replace(message, is_signed=False)] == unsigned


@pytest.mark.parametrize(
    "headers",
    [
        {"x-other": "1"},
        test_sinch.signed(msgspec.json.encode(SINCH_TEXT), secret="another"),
        test_sinch.signed(msgspec.json.encode(SINCH_TEXT | {"from": "447400555666"})),
    ],
)
def test_a_forged_message_of_sinch_is_refused(headers):
    """R64: without a signature, with one of another secret, and with one of another body."""
    with pytest.raises(CallbackSignatureError):
        read_sinch(SINCH_TEXT, **headers)


@pytest.mark.parametrize(
    "body",
    [
        SINCH_TEXT | {"type": "mo_binary", "body": "U1RPUA==", "udh": "06050423F423F4"},
        SINCH_TEXT | {"type": "mo_binary", "body": "STOP"},
        SINCH_TEXT | {"type": "mo_media", "body": {"subject": "STOP", "message": "STOP"}},
        SINCH_TEXT | {"body": ""},
        SINCH_TEXT | {"body": None},
        without(SINCH_TEXT, "body"),
    ],
)
def test_sinchs_message_without_a_text_has_no_keyword(body):
    """A binary one is for a program, and an MMS is no answer to a code."""
    assert InboundMessage(PHONE, "", OURS, SINCH_TEXT["id"], is_signed=True) == read_sinch(body)


@pytest.mark.parametrize(
    "body",
    [
        without(SINCH_TEXT, "from"),
        SINCH_TEXT | {"from": ""},
        SINCH_TEXT | {"from": 447400123456},
        without(SINCH_TEXT | {"type": "mo_media"}, "from"),
        *(SINCH_TEXT | {"body": text} for text in NOT_TEXT),
    ],
)
def test_sinchs_message_of_another_form_cannot_be_read(body):
    """A missing sender, and members of other types: an operator has to know."""
    with pytest.raises(UnreadableCallback):
        read_sinch(body)


@pytest.mark.parametrize("kind", ["mo_of_next_year", "delivery_report_sms", "MO_TEXT", "", None])
def test_other_events_of_sinch_are_no_messages(kind):
    """Only the types that are documented."""
    assert SkippedEvent.OTHER is read_sinch(SINCH_TEXT | {"type": kind})


# The messages of Infobip are described at https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages

INFOBIP_TEXT = {
    "messageId": "817790313235066447",
    "from": PHONE,
    "to": OURS,
    "text": "QUIZ Stop",
    "cleanText": "Stop",
    "keyword": "QUIZ",
    "receivedAt": "2026-09-21T14:13:20.000+0000",
    "smsCount": 1,
    "price": {"pricePerMessage": 0.0, "currency": "EUR"},
    "callbackData": "callbackData",
}
INFOBIP_MESSAGE = InboundMessage(PHONE, "QUIZ Stop", OURS, "817790313235066447", is_signed=False)


def read_infobip(*results):
    """Return the parts of one call with these results."""
    body = {"results": list(results), "messageCount": len(results), "pendingMessageCount": 0}
    return create_infobip(URL).parse_callback(build_callback(body))


def test_infobips_documented_message_is_read():
    """The whole text counts; its own SDK reads the same. It signs nothing."""
    body = {"results": [INFOBIP_TEXT], "messageCount": 1, "pendingMessageCount": 0}
    (theirs,) = SmsInboundMessageResult.from_json(json.dumps(body)).results

    assert [INFOBIP_MESSAGE] == read_infobip(INFOBIP_TEXT)
    assert (PHONE, OURS) == (theirs.var_from, theirs.to)
    assert ("QUIZ Stop", INFOBIP_MESSAGE.id) == (theirs.text, theirs.message_id)


def test_more_than_a_hundred_messages_of_infobip_are_read():
    """Infobip brings those that have waited in one call."""
    results = [INFOBIP_TEXT | {"messageId": str(number)} for number in range(250)]

    assert [str(number) for number in range(250)] == [each.id for each in read_infobip(*results)]


def test_receipts_and_messages_of_infobip_may_share_a_call():
    """Each result says which it is, and an unreadable one loses no other."""
    broken = INFOBIP_TEXT | {"from": 7}

    parts = read_infobip(INFOBIP_TEXT, test_infobip.result(3, 5), broken, INFOBIP_TEXT)

    receipt = Receipt("delivered", "ref-3f9", "2250be2d")
    assert [INFOBIP_MESSAGE, receipt, SkippedEvent.UNREADABLE, INFOBIP_MESSAGE] == parts


@pytest.mark.parametrize("more", [{"text": ""}, {"text": None}])
def test_infobips_message_without_a_text_has_no_keyword(more):
    """It is a message all the same, by the time at which it was received."""
    empty = msgspec.structs.replace(INFOBIP_MESSAGE, text="")

    assert [empty] == read_infobip(INFOBIP_TEXT | more)
    assert [empty] == read_infobip(without(INFOBIP_TEXT, "text"))


@pytest.mark.parametrize(
    "result",
    [
        without(INFOBIP_TEXT, "from"),
        without(INFOBIP_TEXT, "messageId"),
        INFOBIP_TEXT | {"from": ""},
        INFOBIP_TEXT | {"from": None},
        INFOBIP_TEXT | {"to": [OURS]},
        *(INFOBIP_TEXT | {"text": text} for text in NOT_TEXT),
    ],
)
def test_infobips_message_of_another_form_cannot_be_read(result):
    """A missing sender, and members of other types; the others of the call count."""
    assert [SkippedEvent.UNREADABLE, INFOBIP_MESSAGE] == read_infobip(result, INFOBIP_TEXT)


@pytest.mark.parametrize(
    "result",
    [
        {"messageId": "1", "from": PHONE, "to": OURS, "seenAt": "2026-09-21T14:13:20.000+0000"},
        {"messageId": "1", "event": "of next year"},
    ],
)
def test_other_results_of_infobip_are_no_messages(result):
    """Like the report that a message was seen."""
    assert [SkippedEvent.OTHER] == read_infobip(result)


# The messages of Telnyx are described at https://developers.telnyx.com/docs/messaging/messages/receive-message

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
    payload = TELNYX_PAYLOAD | {"type": kind}
    body = msgspec.json.encode(build_telnyx_event(payload))
    with telnyx_sdk.Telnyx(api_key="k3y", public_key=test_telnyx.PUBLIC_KEY) as client:
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
    assert "" == read_telnyx(without(TELNYX_PAYLOAD, "text")).text


@pytest.mark.parametrize(
    "payload",
    [
        without(TELNYX_PAYLOAD, "from"),
        without(TELNYX_PAYLOAD, "id"),
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
