"""The text and the number of a message are shown by nothing: it may hold a code (R68)."""

import traceback

import msgspec
import pytest

from otp_service.sms.provider_callbacks import Callback, UnreadableCallback
from otp_service.sms.providers import infobip, sinch, telnyx, vonage_messages
from otp_service.sms.vendor_dialect import HiddenFields
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.sdk_comparison import build_callback
from tests.sms.providers.test_infobip_inbound import INFOBIP_TEXT
from tests.sms.providers.test_plivo_inbound import PLIVO_FIELDS, sign_plivo
from tests.sms.providers.test_sinch_inbound import SINCH_TEXT
from tests.sms.providers.test_telnyx_inbound import TELNYX_PAYLOAD, build_telnyx_event
from tests.sms.providers.test_twilio import twilio
from tests.sms.providers.test_twilio_inbound import TWILIO_FIELDS, sign_twilio
from tests.sms.providers.test_vonage import vonage
from tests.sms.providers.test_vonage_inbound import VONAGE_FIELDS
from tests.sms.providers.test_vonage_messages import messages
from tests.sms.providers.test_vonage_messages_inbound import VONAGE_V01, VONAGE_V1


URL = "https://sms.example"
CANARY, PHONE = "864209", "447400123456"
TEXT = f"STOP {CANARY}"

VONAGE = vonage(signature_secret=None)
VONAGE_MESSAGES = messages(signature_secret=None)
READABLE = {
    "twilio": (twilio(), sign_twilio(TWILIO_FIELDS | {"Body": TEXT})),
    "plivo": (create_plivo(URL), sign_plivo(PLIVO_FIELDS | {"Text": TEXT})),
    "vonage": (VONAGE, build_callback(VONAGE_FIELDS | {"text": TEXT})),
    "vonage-messages": (VONAGE_MESSAGES, build_callback(VONAGE_V1 | {"text": TEXT})),
    "vonage-messages v0.1": (
        VONAGE_MESSAGES,
        build_callback(VONAGE_V01 | {"message": {"content": {"text": TEXT}}}),
    ),
    "sinch": (create_sinch(URL), build_callback(SINCH_TEXT | {"body": TEXT})),
    "infobip": (create_infobip(URL), build_callback({"results": [INFOBIP_TEXT | {"text": TEXT}]})),
    "telnyx": (
        create_telnyx(URL),
        build_callback(build_telnyx_event(TELNYX_PAYLOAD | {"text": TEXT})),
    ),
}
UNREADABLE = {
    "vonage-messages without a sender": (
        VONAGE_MESSAGES,
        build_callback(VONAGE_V1 | {"text": TEXT, "from": ""}),
    ),
    "sinch without a sender": (
        create_sinch(URL),
        build_callback(SINCH_TEXT | {"body": TEXT, "from": ""}),
    ),
    "telnyx without a sender": (
        create_telnyx(URL),
        build_callback(build_telnyx_event(TELNYX_PAYLOAD | {"text": TEXT, "from": {}})),
    ),
    "twilio": (twilio(), sign_twilio(TWILIO_FIELDS | {"Body": TEXT, "MessageSid": PHONE})),
    "plivo": (create_plivo(URL), sign_plivo(PLIVO_FIELDS | {"Text": TEXT, "From": ""})),
    "vonage": (VONAGE, build_callback(VONAGE_FIELDS | {"text": TEXT, "msisdn": ""})),
    "vonage-messages": (VONAGE_MESSAGES, build_callback(VONAGE_V1 | {"text": [TEXT]})),
    "vonage-messages v0.1": (
        VONAGE_MESSAGES,
        build_callback(VONAGE_V01 | {"message": {"content": {"text": [TEXT]}}}),
    ),
    "sinch": (create_sinch(URL), build_callback(SINCH_TEXT | {"body": [TEXT]})),
    "telnyx": (
        create_telnyx(URL),
        build_callback(build_telnyx_event(TELNYX_PAYLOAD | {"text": [TEXT]})),
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_a_message_does_not_show_itself(name):
    """It has the text and the number; no log line or traceback of it has them."""
    dialect, callback = READABLE[name]

    (message,) = dialect.parse_callback(callback)

    assert (TEXT, PHONE) == (message.text, message.sender.removeprefix("+"))
    shown = f"{message!r} {callback!r} {message.__rich_repr__()}"
    assert not [each for each in (CANARY, PHONE, PHONE[2:]) if each in shown]


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_message_is_in_no_exception(name):
    """Also not in the one of the decoder, which names what it has found."""
    dialect, callback = UNREADABLE[name]

    with pytest.raises(UnreadableCallback) as raised:
        dialect.parse_callback(callback)

    shown = "".join(traceback.format_exception(raised.value))
    assert not [each for each in (CANARY, PHONE, PHONE[2:]) if each in shown]


def test_no_body_of_a_vendor_shows_itself():
    """Each struct that has a number or a text hides it."""
    bodies = [
        *(
            vonage_messages._MessageBody,
            vonage_messages._OldMessageBody,
            vonage_messages._EventBody,
        ),
        *(sinch._MessageBody, sinch._TextMessageBody, infobip._InboundMessage),
        *(infobip._CallbackBody, telnyx._InboundMessage, telnyx._CallbackBody),
    ]
    samples = [
        *(VONAGE_V1, VONAGE_V01, VONAGE_V1, SINCH_TEXT, SINCH_TEXT, INFOBIP_TEXT),
        *({"results": [INFOBIP_TEXT]}, TELNYX_PAYLOAD, build_telnyx_event(TELNYX_PAYLOAD)),
    ]

    for body_type, sample in zip(bodies, samples, strict=True):
        body = msgspec.json.decode(msgspec.json.encode(sample), type=body_type)

        assert isinstance(body, HiddenFields)
        assert PHONE not in f"{body!r} {body.__rich_repr__()}"


@pytest.mark.parametrize("name", READABLE)
def test_a_message_of_any_size_is_read_in_time(name):
    """The API limits the body to 256 KiB; a text is compared only up to 100 characters."""
    dialect, callback = READABLE[name]
    if "sign" in "".join(callback.headers):
        dialect, callback = _resize_signed(name)
    else:
        body = callback.body.replace(TEXT.encode(), b"A" * 200_000)
        callback = msgspec.structs.replace(callback, body=body)

    (message,) = dialect.parse_callback(callback)

    assert 200_000 == len(message.text)


def _resize_signed(name: str) -> tuple[object, Callback]:
    text = "A" * 200_000
    if name == "twilio":
        return twilio(), sign_twilio(TWILIO_FIELDS | {"Body": text})
    return create_plivo(URL), sign_plivo(PLIVO_FIELDS | {"Text": text})
