"""Messages from phones at Sinch, whose SDK reads the same (R64).

https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks
"""

import time

import msgspec
import pytest

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from tests.sms.providers import test_sinch
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.sdk_comparison import build_callback, remove_members


URL = "https://sms.example"
PHONE, OURS = "447400123456", "447400987654"
NOT_TEXT = [7, True, ["STOP"], {"text": "STOP"}]

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
    from sinch.domains.sms.sinch_events.v1 import SmsSinchEvent

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
        remove_members(SINCH_TEXT, "body"),
    ],
)
def test_sinchs_message_without_a_text_has_no_keyword(body):
    """A binary one is for a program, and an MMS is no answer to a code."""
    assert InboundMessage(PHONE, "", OURS, SINCH_TEXT["id"], is_signed=True) == read_sinch(body)


@pytest.mark.parametrize(
    "body",
    [
        remove_members(SINCH_TEXT, "from"),
        SINCH_TEXT | {"from": ""},
        SINCH_TEXT | {"from": 447400123456},
        remove_members(SINCH_TEXT | {"type": "mo_media"}, "from"),
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
