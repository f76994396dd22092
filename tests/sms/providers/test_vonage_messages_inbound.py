"""Messages from phones at Vonage's Messages API (R64).

https://developer.vonage.com/en/api/messages#inbound-message
"""

import msgspec
import pytest

from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from tests.sms.providers import test_vonage_messages
from tests.sms.providers.sdk_comparison import remove_members


PHONE, OURS = "447400123456", "447400987654"
NOT_TEXT = [7, True, ["STOP"], {"text": "STOP"}]

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
        remove_members(VONAGE_V01, "from"),
        {"channel": "sms", "event": "of next year", "text": "STOP"},
    ],
)
def test_vonages_messages_of_other_channels_are_other_events(body):
    """Only a reply to an SMS says what is wanted of SMS."""
    assert SkippedEvent.OTHER is read_vonage(body)


@pytest.mark.parametrize(
    "body",
    [
        remove_members(VONAGE_V1, "from"),
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
        remove_members(VONAGE_V1, "text"),
        VONAGE_V1 | {"text": None},
        VONAGE_V1 | {"text": "", "message_type": "unsupported"},
        remove_members(VONAGE_V01, "message"),
        VONAGE_V01 | {"message": {"content": {"type": "image", "image": {"url": "https://x"}}}},
    ],
)
def test_vonages_message_without_a_text_has_no_keyword(body):
    """It is a message all the same."""
    assert ("", PHONE) == (read_vonage(body).text, read_vonage(body).sender)


@pytest.mark.parametrize("absent", ["message_type", "sms", "usage", "timestamp", "to"])
def test_members_that_vonage_may_omit_are_not_needed(absent):
    """The names of v1 could not be confirmed, so as few as possible are required."""
    assert "Stop" == read_vonage(remove_members(VONAGE_V1, absent)).text
