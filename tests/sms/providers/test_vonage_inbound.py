"""Messages from phones at Vonage's SMS API, which its own SDK has signed (R64).

https://developer.vonage.com/messaging/sms/guides/inbound-sms
"""

from urllib.parse import urlencode

import msgspec
import pytest
from vonage import Auth

from otp_service.core.inbound import InboundMessage
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from tests.sms.providers.callback_builder import NOW_MS, build_callback
from tests.sms.providers.test_vonage import vonage


URL = "https://otp.example/v1/inbound/acme"
OWN_URL = f"{URL}?token=worthless-0123456789"
VONAGE_FIELDS = {
    "api-key": "abcd1234",
    "msisdn": "447400123456",
    "to": "447400987654",
    "messageId": "0A0000000123ABCD1",
    "text": "Stop & go",
    "type": "text",
    "keyword": "STOP",
    "message-timestamp": "2026-09-21 14:13:20",
    "timestamp": str(NOW_MS // 1000),
    "nonce": "aaaaaaaa-bbbb-cccc-dddd-0123456789ab",
}
VONAGE_MESSAGE = InboundMessage(
    "447400123456", "Stop & go", "447400987654", "0A0000000123ABCD1", is_signed=True
)


def sign_vonage(fields, method="sha256"):
    """Return the fields with the signature of Vonage's own SDK."""
    auth = Auth(api_key="abcd1234", signature_secret="signs", signature_method=method)
    return fields | {"sig": auth.sign_params(dict(fields))}


def build_vonage_forms(fields):
    """Build a message in each form that an account can be set to."""
    return [
        build_callback(fields, url=OWN_URL),
        build_callback(list(fields.items()), url=OWN_URL),
        build_callback(b"", url=f"{URL}?{urlencode(fields)}", method="GET"),
        build_callback(b"", url=f"{OWN_URL}&{urlencode(fields)}", method="GET"),
    ]


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
def test_vonages_documented_message_is_read(method):
    """By GET, as a form and as JSON; signed over all of its fields, with our token or without."""
    dialect = vonage(signature_method=method)

    for callback in build_vonage_forms(sign_vonage(VONAGE_FIELDS, method)):
        assert [VONAGE_MESSAGE] == dialect.parse_callback(callback)


def test_vonage_may_sign_our_token_too():
    """It is a parameter of the address by GET."""
    fields = sign_vonage(VONAGE_FIELDS | {"token": "worthless-0123456789"})
    callback = build_callback(b"", url=f"{URL}?{urlencode(fields)}", method="GET")

    assert [VONAGE_MESSAGE] == vonage().parse_callback(callback)


def test_a_field_that_vonage_adds_is_signed_too():
    """No list of known fields is applied before the signature is checked."""
    for callback in build_vonage_forms(sign_vonage(VONAGE_FIELDS | {"mcc": "234"})):
        assert [VONAGE_MESSAGE] == vonage().parse_callback(callback)


@pytest.mark.parametrize(
    "changed",
    [
        *({"msisdn": "447400555666"}, {"text": "STOP"}, {"to": "447400987655"}, {"sig": ""}),
        *({"messageId": "1"}, {"more": "x"}, {"type": "unicode"}, {"concat-total": "1"}),
    ],
)
def test_a_changed_message_of_vonage_is_refused(changed):
    """R64: every field is signed."""
    for callback in build_vonage_forms(sign_vonage(VONAGE_FIELDS) | changed):
        with pytest.raises(CallbackSignatureError):
            vonage().parse_callback(callback)


@pytest.mark.parametrize("late", [-301, 302])
def test_an_old_message_of_vonage_is_refused(late):
    """A STOP that is repeated a week later would undo a START."""
    fields = sign_vonage(VONAGE_FIELDS | {"timestamp": str(NOW_MS // 1000 + late)})

    with pytest.raises(CallbackSignatureError):
        vonage().parse_callback(build_callback(fields))


def test_vonages_message_is_unsigned_without_the_secret():
    """This is its default."""
    fields = {
        name: each for name, each in VONAGE_FIELDS.items() if name not in {"timestamp", "nonce"}
    }
    message = msgspec.structs.replace(VONAGE_MESSAGE, is_signed=False)

    for callback in build_vonage_forms(fields):
        assert [message] == vonage(signature_secret=None).parse_callback(callback)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"type": "unicode", "text": "arrêt"}, "arrêt"),
        ({"type": "binary", "data": "53544F50", "udh": "06050415811581"}, ""),
        ({"type": "binary", "text": "STOP"}, ""),
        ({"text": ""}, ""),
        ({"text": "STOP"}, "STOP"),
        ({"concat": "true", "concat-ref": "1", "concat-total": "2", "concat-part": "2"}, ""),
        (
            {"concat": "true", "concat-ref": "1", "concat-total": "1", "concat-part": "1"},
            "Stop & go",
        ),
        ({"concat": "true"}, ""),
        ({"concat": "false"}, "Stop & go"),
        ({"concat-total": "3"}, ""),
        ({"concat-total": ""}, ""),
    ],
)
def test_a_part_or_a_binary_message_of_vonage_has_no_keyword(more, text):
    """The last part of a long message may be STOP, which is not what the person wrote."""
    for callback in build_vonage_forms(sign_vonage(VONAGE_FIELDS | more)):
        (message,) = vonage().parse_callback(callback)

        assert (text, "447400123456") == (message.text, message.sender)


@pytest.mark.parametrize("more", [{}, {"msisdn": ""}])
def test_vonages_message_without_a_sender_cannot_be_read(more):
    """Its format has changed: an operator has to know."""
    left = {name: each for name, each in VONAGE_FIELDS.items() if name != "msisdn"}

    for callback in build_vonage_forms(sign_vonage(left | more)):
        with pytest.raises(UnreadableCallback):
            vonage().parse_callback(callback)


@pytest.mark.parametrize("msisdn", [["447400123456"], {"number": "447400123456"}, None])
def test_a_sender_of_another_type_is_no_sender(msisdn):
    """JSON alone has types."""
    body = {"msisdn": msisdn, "to": "447400987654", "text": "STOP", "type": "text"}

    with pytest.raises(UnreadableCallback):
        vonage(signature_secret=None).parse_callback(build_callback(body))


@pytest.mark.parametrize(
    "fields",
    [
        VONAGE_FIELDS | {"status": "of next year"},
        {"msisdn": "447400123456", "timestamp": VONAGE_FIELDS["timestamp"], "event": "STOP"},
        {"type": "of next year", "timestamp": VONAGE_FIELDS["timestamp"], "text": "STOP"},
    ],
)
def test_other_events_of_vonage_are_no_messages(fields):
    """A receipt with a new status, and events of other kinds."""
    for callback in build_vonage_forms(sign_vonage(fields)):
        assert [SkippedEvent.OTHER] == vonage().parse_callback(callback)
