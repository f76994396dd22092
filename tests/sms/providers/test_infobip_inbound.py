"""Messages from phones at Infobip, whose SDK reads the same (R64).

https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages
"""

import json

import msgspec
import pytest

from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import SkippedEvent
from tests.sms.providers import test_infobip
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.lazy_sdk import import_infobip
from tests.sms.providers.sdk_comparison import build_callback, remove_members


URL = "https://sms.example"
PHONE, OURS = "447400123456", "447400987654"
NOT_TEXT = [7, True, ["STOP"], {"text": "STOP"}]

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
    sdk = import_infobip()

    body = {"results": [INFOBIP_TEXT], "messageCount": 1, "pendingMessageCount": 0}
    (theirs,) = sdk.SmsInboundMessageResult.from_json(json.dumps(body)).results

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
    assert [empty] == read_infobip(remove_members(INFOBIP_TEXT, "text"))


@pytest.mark.parametrize(
    "result",
    [
        remove_members(INFOBIP_TEXT, "from"),
        remove_members(INFOBIP_TEXT, "messageId"),
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


def test_a_text_that_is_no_unicode_loses_no_other_message():
    """One phone can send half of a pair in UCS-2, and the messages of others are in the same call."""
    broken = INFOBIP_TEXT | {"text": "\ud800"}
    body = {"results": [broken, INFOBIP_TEXT], "messageCount": 2, "pendingMessageCount": 0}

    parts = create_infobip(URL).parse_callback(build_callback(json.dumps(body).encode()))

    assert [msgspec.structs.replace(INFOBIP_MESSAGE, text="\ufffd"), INFOBIP_MESSAGE] == parts
