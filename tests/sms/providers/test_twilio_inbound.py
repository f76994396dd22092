"""Messages from phones at Twilio, which its own SDK has signed (R64).

https://www.twilio.com/docs/messaging/guides/webhook-request
"""

from urllib.parse import urlencode

import msgspec
import pytest
from twilio.request_validator import RequestValidator

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.signatures import compute_signature
from tests.sms.providers.callback_builder import build_callback
from tests.sms.providers.test_twilio import ACCOUNT, SID, twilio


URL = "https://otp.example/v1/inbound/acme"
OWN_URL = f"{URL}?token=worthless-0123456789"
PHONE, OURS = "+447400123456", "+447400987654"
VICTIM = "+447400555666"
TWILIO_FIELDS = {
    "ToCountry": "GB",
    "ToState": "",
    "SmsMessageSid": SID,
    "NumMedia": "0",
    "ToCity": "",
    "FromZip": "",
    "SmsSid": SID,
    "FromState": "",
    "SmsStatus": "received",
    "FromCity": "",
    "Body": "Stop",
    "FromCountry": "GB",
    "To": OURS,
    "MessagingServiceSid": "MG0123456789abcdef0123456789abcdef",
    "ToZip": "",
    "NumSegments": "1",
    "MessageSid": SID,
    "AccountSid": ACCOUNT,
    "From": PHONE,
    "ApiVersion": "2010-04-01",
}


def sign_twilio(fields, *, url=OWN_URL, key="12345", algorithm="HMAC_SHA1", **headers):
    """Build the POST of a message, signed by Twilio's own SDK."""
    signature = RequestValidator(key).compute_signature(url, dict(fields), algorithm)
    pairs = list(fields.items())
    return build_callback(pairs, url=url, x_twilio_signature=signature, **headers)


def sign_twilio_get(fields, *, url=OWN_URL):
    """Build the GET of a message, signed by Twilio's own SDK."""
    whole = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
    signature = RequestValidator("12345").compute_signature(whole, {})
    return build_callback(b"", url=whole, method="GET", x_twilio_signature=signature)


@pytest.mark.parametrize("url", [URL, OWN_URL])
@pytest.mark.parametrize("sign", [sign_twilio, sign_twilio_get])
def test_twilios_documented_message_is_read(sign, url):
    """By POST and by GET, with and without our token; no city means that the value is empty."""
    parts = twilio().parse_callback(sign(TWILIO_FIELDS, url=url))

    assert [InboundMessage(PHONE, "Stop", OURS, SID, is_signed=True)] == parts


@pytest.mark.parametrize("auth_token", [None, Secret("12345")])
def test_a_message_under_a_webhooks_rule_is_signed(auth_token):
    """With the shared key and SHA-256, which its header names."""
    account = twilio(
        auth_token=auth_token, shared_key=Secret("shared"), api_key="SK1", api_secret=Secret("s3")
    )
    rule = {"x_twilio_webhooks_signature_settings": "key=k,algorithm=HMAC_SHA256"}
    callback = sign_twilio(TWILIO_FIELDS, key="shared", algorithm="HMAC_SHA256", **rule)

    (message,) = account.parse_callback(callback)

    assert ("Stop", True) == (message.text, message.is_signed)


def test_twilios_message_is_unsigned_without_the_token():
    """Then only the secret in the address can prove it."""
    pairs = list(TWILIO_FIELDS.items())

    (message,) = twilio(auth_token=None).parse_callback(build_callback(pairs, url=OWN_URL))

    assert InboundMessage(PHONE, "Stop", OURS, SID, is_signed=False) == message


@pytest.mark.parametrize("sign", [sign_twilio, sign_twilio_get])
@pytest.mark.parametrize(
    ("was", "becomes"), [("447400123456", "447400555666"), ("Stop", "Start"), ("token", "tokem")]
)
def test_a_changed_message_of_twilio_is_refused(sign, was, becomes):
    """R64: another sender, text or address, and no signature at all."""
    callback = sign(TWILIO_FIELDS)
    changed = msgspec.structs.replace(
        callback,
        url=callback.url.replace(was, becomes),
        body=callback.body.replace(was.encode(), becomes.encode()),
    )

    for forged in (changed, msgspec.structs.replace(callback, headers={})):
        with pytest.raises(CallbackSignatureError):
            twilio().parse_callback(forged)


@pytest.mark.parametrize(
    ("opt_out_type", "text"),
    [
        ("STOP", "STOP"),
        ("START", "START"),
        ("HELP", "HELP"),
        ("", "Přestaňte"),
        ("PAUSE", "Přestaňte"),
    ],
)
def test_the_keyword_of_advanced_opt_out_is_the_text(opt_out_type, text):
    """The account may have keywords of a language that no list here has; Twilio blocks by them."""
    fields = TWILIO_FIELDS | {"Body": "Přestaňte", "OptOutType": opt_out_type}

    (message,) = twilio().parse_callback(sign_twilio(fields))

    assert text == message.text


@pytest.mark.parametrize(
    "fields",
    [
        TWILIO_FIELDS | {"Body": "", "NumMedia": "1"},
        {name: each for name, each in TWILIO_FIELDS.items() if name != "Body"},
    ],
)
def test_twilios_mms_without_a_text_has_no_keyword(fields):
    """It is a message all the same."""
    (message,) = twilio().parse_callback(sign_twilio(fields))

    assert InboundMessage(PHONE, "", OURS, SID, is_signed=True) == message


@pytest.mark.parametrize("sender", ["Example", "65000", "whatsapp:+447400123456"])
def test_a_sender_that_is_no_number_is_passed_on(sender):
    """The service counts it as an invalid sender; a 401 would be an alarm."""
    (message,) = twilio().parse_callback(sign_twilio(TWILIO_FIELDS | {"From": sender}))

    assert sender == message.sender


@pytest.mark.parametrize("field", ["From", "MessageSid"])
@pytest.mark.parametrize("value", [None, ""])
def test_twilios_message_that_lacks_something_cannot_be_read(field, value):
    """Its format has changed: an operator has to know."""
    left = {name: each for name, each in TWILIO_FIELDS.items() if name != field}
    fields = left if value is None else left | {field: value}

    with pytest.raises(UnreadableCallback):
        twilio().parse_callback(sign_twilio(fields))


@pytest.mark.parametrize("sid", [SID[:-1], f"{SID}0", SID.upper(), "SM", "+447400123456"])
def test_an_id_of_another_form_cannot_be_read(sid):
    """A part of an id would make a repeated message a new one."""
    with pytest.raises(UnreadableCallback):
        twilio().parse_callback(sign_twilio(TWILIO_FIELDS | {"MessageSid": sid}))


@pytest.mark.parametrize(
    "fields",
    [
        {"EventType": "onMessageAdded", "Body": "STOP", "Author": PHONE},
        {"From": PHONE, "To": OURS, "CallSid": "CA1", "CallStatus": "ringing"},
        TWILIO_FIELDS | {"MessageStatus": "received"},
    ],
)
def test_other_events_of_twilio_are_no_messages(fields):
    """Of Conversations, of a call, and a status of next year."""
    assert [SkippedEvent.OTHER] == twilio().parse_callback(sign_twilio(fields))


def test_fields_that_twilio_adds_to_messages_are_no_forgery():
    """Also one whose name begins with that of the sender; the vendor adds them without notice."""
    more = {"FromCarrier": "Example", "ProfileName": "A", "FromLineType": ""}

    (message,) = twilio().parse_callback(sign_twilio(TWILIO_FIELDS | more))

    assert ("Stop", True) == (message.text, message.is_signed)


@pytest.mark.parametrize("text", ["From Bob: stop", f"STOPFrom{VICTIM}", "stop\nFrom"])
@pytest.mark.parametrize("sign", [sign_twilio, sign_twilio_get])
def test_a_text_with_the_name_of_the_sender_has_no_keyword(sign, text):
    """It is genuine, so it is no 401; and its signed text has more than one reading."""
    (message,) = twilio().parse_callback(sign(TWILIO_FIELDS | {"Body": text}))

    assert InboundMessage(PHONE, "", OURS, SID, is_signed=True) == message


def build_twilio_forgery():
    """Build a message of another number, whose signed text is that of one from PHONE."""
    text = f"STOPFrom{VICTIM}Fz"
    fields = dict(sorted((TWILIO_FIELDS | {"Body": text, "OptOutType": "STOP"}).items()))
    true, names = sign_twilio(fields), list(fields)
    rest = "".join(f"{name}{fields[name]}" for name in names[names.index("From") :])
    kept = {name: fields[name] for name in names[: names.index("Body")]}
    tail = rest[: rest.index("MessageSid")]
    moved = kept | {"Body": "STOP", "From": VICTIM, f"Fz{tail}": ""}
    moved |= {name: fields[name] for name in names[names.index("MessageSid") :]}
    body = urlencode(moved).encode()
    return msgspec.structs.replace(true, body=body)


def test_the_owner_of_a_signed_message_cannot_make_it_one_of_another_phone():
    """The signature fits, because names and values are signed without a boundary."""
    forged = build_twilio_forgery()
    fields = dict(forged.form)
    signature = forged.headers["x-twilio-signature"]
    assert RequestValidator("12345").validate(forged.url, fields, signature)
    assert (VICTIM, "STOP") == (fields["From"], fields["Body"])

    (message,) = twilio().parse_callback(forged)

    assert "" == message.text


@pytest.mark.parametrize("name", ["From", "%46rom"])
@pytest.mark.parametrize("end", ["", "#"])
def test_a_signed_form_cannot_be_moved_into_the_address(name, end):
    """By GET the address alone is signed: as text, it could be the address and the form of a POST."""
    inner = urlencode({"Body": "STOP", "MessageSid": SID, "SmsStatus": "received"})
    text = f"&{name}=%2B447400555666&{inner}&x={end}"
    fields = {"Body": text, "From": PHONE, "MessageSid": SID, "SmsStatus": "received", "To": OURS}
    posted = sign_twilio(fields)
    joined = "".join(f"{each}{fields[each]}" for each in sorted(fields))
    moved = build_callback(b"", url=f"{OWN_URL}{joined}", method="GET", **dict(posted.headers))
    moved = msgspec.structs.replace(moved, headers=posted.headers)
    assert VICTIM == moved.query["From"]

    (message,) = twilio().parse_callback(moved)

    assert "" == message.text


def test_a_field_that_is_given_twice_counts_once():
    """Twilio's SDK signs distinct values."""
    once = sign_twilio(TWILIO_FIELDS)
    twice = msgspec.structs.replace(once, body=once.body + b"&" + once.body)

    assert twilio().parse_callback(once) == twilio().parse_callback(twice)


def test_two_senders_leave_no_keyword():
    """Twilio never signs two."""
    pairs = sorted([*TWILIO_FIELDS.items(), ("From", VICTIM)])
    text = OWN_URL + "".join(name + value for name, value in pairs)
    signature = compute_signature(b"12345", text.encode(), "sha1")

    (message,) = twilio().parse_callback(
        build_callback(pairs, url=OWN_URL, x_twilio_signature=signature)
    )

    assert "" == message.text


@pytest.mark.parametrize("field", ["inbound_token", "previous_inbound_token"])
@pytest.mark.parametrize(
    ("token", "faults"),
    [("worthless-0123From4567", ["inbound_token"]), ("worthless-0123from4567", [])],
)
def test_a_token_with_the_name_of_the_sender_is_a_fault(field, token, faults):
    """It is in the signed address, so no message would have a keyword, and nothing would say so."""
    account = twilio(**{field: Secret(token)})

    assert faults == [name for name, _ in account.find_errors()]
