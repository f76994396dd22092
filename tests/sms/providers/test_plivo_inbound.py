"""Messages from phones at Plivo, which its own SDK has signed (R64).

https://www.plivo.com/docs/messaging/api/message/handling-incoming
"""

from urllib.parse import quote, urlencode

import msgspec
import pytest
from plivo.utils import validate_signature as validate_v2_signature
from plivo.utils.signature_v3 import (
    construct_get_url,
    construct_post_url,
    get_signature_v3,
    validate_v3_signature,
)

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.signatures import compute_signature
from tests.sms.providers.callback_builder import build_callback
from tests.sms.providers.contracts.plivo import create_plivo


URL = "https://otp.example/v1/inbound/acme"
OWN_URL = f"{URL}?token=worthless-0123456789"
PLIVO_FIELDS = {
    "From": "447400123456",
    "MessageIntent": "",
    "MessageUUID": "db3ce55a-7f1d-11e1-8ea7-1231380bc196",
    "PowerpackUUID": "",
    "Text": "stop",
    "To": "447400987654",
    "TotalAmount": "0",
    "TotalRate": "0",
    "Type": "sms",
    "Units": "1",
}
NONCE = "05429567804466091622"


def sign_plivo(fields, *, url=OWN_URL, version="ma-v3", key="t0ken"):
    """Build the POST of a message, signed by Plivo's SDK."""
    text = construct_post_url(url, fields)
    mac = get_signature_v3(key, text.decode() if isinstance(text, bytes) else text, NONCE)
    names = {f"x-plivo-signature-{version}": mac.decode(), "x-plivo-signature-v3-nonce": NONCE}
    callback = build_callback(list(fields.items()), url=url)
    return msgspec.structs.replace(callback, headers=names)


def sign_plivo_get(fields, *, url=OWN_URL):
    """Build the GET of a message, signed by Plivo's SDK."""
    whole = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
    mac = get_signature_v3("t0ken", construct_get_url(whole, {}).decode(), NONCE).decode()
    names = {"x-plivo-signature-ma-v3": mac, "x-plivo-signature-v3-nonce": NONCE}
    return msgspec.structs.replace(build_callback(b"", url=whole, method="GET"), headers=names)


def read_plivo(callback):
    """Return the only part of the callback."""
    (part,) = create_plivo(URL).parse_callback(callback)
    return part


@pytest.mark.parametrize("url", [URL, OWN_URL])
@pytest.mark.parametrize("sign", [sign_plivo, sign_plivo_get])
def test_plivos_documented_message_is_read(sign, url):
    """By POST and by GET, with and without our token."""
    uuid = PLIVO_FIELDS["MessageUUID"]
    message = InboundMessage("447400123456", "stop", "447400987654", uuid, is_signed=True)

    assert message == read_plivo(sign(PLIVO_FIELDS, url=url))


@pytest.mark.parametrize("version", ["v3", "ma-v3"])
def test_either_account_may_have_signed_a_message(version):
    """Observed: `-Ma-V3` fits a message. The SDK agrees that the signature is right."""
    callback = sign_plivo(PLIVO_FIELDS, version=version)
    mac = callback.headers[f"x-plivo-signature-{version}"]

    assert validate_v3_signature("POST", OWN_URL, NONCE, "t0ken", mac, dict(PLIVO_FIELDS))
    assert read_plivo(callback).is_signed


def test_plivos_older_signature_proves_no_message():
    """V2 signs the address alone, so anyone with one callback could write another text."""
    mac = compute_signature(b"t0ken", f"{URL}77".encode())
    assert validate_v2_signature(OWN_URL, "77", mac, "t0ken")
    headers = {"x-plivo-signature-ma-v2": mac, "x-plivo-signature-v2-nonce": "77"}
    callback = build_callback(list(PLIVO_FIELDS.items()), url=OWN_URL)

    message = read_plivo(msgspec.structs.replace(callback, headers=headers))

    assert ("stop", False) == (message.text, message.is_signed)


@pytest.mark.parametrize("newer", ["x-plivo-signature-v3", "x-plivo-signature-ma-v3"])
def test_plivos_older_signature_does_not_help_a_message_with_a_wrong_newer_one(newer):
    """A V3 header decides: a caller must not choose the weaker signature."""
    mac = compute_signature(b"t0ken", f"{URL}77".encode())
    headers = {"x-plivo-signature-v2": mac, "x-plivo-signature-v2-nonce": "77", newer: "AAAA"}
    callback = build_callback(list(PLIVO_FIELDS.items()), url=OWN_URL)

    with pytest.raises(CallbackSignatureError):
        read_plivo(msgspec.structs.replace(callback, headers=headers))


@pytest.mark.parametrize("sign", [sign_plivo, sign_plivo_get])
@pytest.mark.parametrize(
    ("was", "becomes"), [("447400123456", "447400555666"), ("stop", "start"), ("token", "tokem")]
)
def test_a_changed_message_of_plivo_is_refused(sign, was, becomes):
    """R64: another sender, text or address, and no signature at all."""
    callback = sign(PLIVO_FIELDS)
    changed = msgspec.structs.replace(
        callback,
        url=callback.url.replace(was, becomes),
        body=callback.body.replace(was.encode(), becomes.encode()),
    )

    for forged in (changed, msgspec.structs.replace(callback, headers={})):
        with pytest.raises(CallbackSignatureError):
            read_plivo(forged)


@pytest.mark.parametrize(
    ("intent", "text"),
    [
        *(("optout", "STOP"), ("optin", "START"), ("help", "HELP"), ("OPTOUT", "STOP")),
        *(("", "zatrzymaj"), ("refund", "zatrzymaj")),
    ],
)
def test_plivos_intent_is_the_text(intent, text):
    """Plivo blocks the number by it."""
    fields = PLIVO_FIELDS | {"Text": "zatrzymaj", "MessageIntent": intent}

    assert text == read_plivo(sign_plivo(fields)).text


@pytest.mark.parametrize("body", ["stop", None, ""])
def test_the_text_of_plivos_mms_has_another_name(body):
    """And may be missing."""
    left = {name: each for name, each in PLIVO_FIELDS.items() if name != "Text"}
    fields = left | {"Type": "mms", "MediaCount": "1"} | ({} if body is None else {"Body": body})

    assert (body or "") == read_plivo(sign_plivo(fields)).text


@pytest.mark.parametrize(
    "fields",
    [
        PLIVO_FIELDS | {"Type": "whatsapp", "Body": "stop"},
        PLIVO_FIELDS | {"Status": "of next year"},
        {"From": "447400123456", "To": "447400987654", "CallUUID": "1", "CallStatus": "ringing"},
    ],
)
def test_other_events_of_plivo_are_no_messages(fields):
    """Of another channel, of next year, and of a call."""
    assert SkippedEvent.OTHER is read_plivo(sign_plivo(fields))


@pytest.mark.parametrize("more", [{}, {"From": ""}])
def test_plivos_message_without_a_sender_cannot_be_read(more):
    """Its format has changed: an operator has to know."""
    left = {name: each for name, each in PLIVO_FIELDS.items() if name != "From"}

    with pytest.raises(UnreadableCallback):
        read_plivo(sign_plivo(left | more))


def test_the_owner_of_plivos_signed_message_cannot_make_it_one_of_another_phone():
    """The signature fits, because a value of the query is signed without its escapes."""
    inner = ".From447400555666MessageUUID1TextSTOPz"
    fields = PLIVO_FIELDS | {"Text": inner}
    true = sign_plivo(fields)
    before, after = "".join(f"{name}{fields[name]}" for name in sorted(fields)).split(inner)
    url = f"{OWN_URL}{quote(f'.{before}')}"
    moved = {"From": "447400555666", "MessageUUID": "1", "Text": "STOP", f"z{after}": ""}
    mac = true.headers["x-plivo-signature-ma-v3"]
    assert validate_v3_signature("POST", url, NONCE, "t0ken", mac, moved)

    message = read_plivo(msgspec.structs.replace(true, url=url, body=urlencode(moved).encode()))

    assert ("447400555666", "") == (message.sender, message.text)


@pytest.mark.parametrize("text", ["From Bob", "STOPFrom447400555666"])
@pytest.mark.parametrize("sign", [sign_plivo, sign_plivo_get])
def test_plivos_text_with_the_name_of_the_sender_has_no_keyword(sign, text):
    """It is genuine, so it is no 401."""
    message = read_plivo(sign(PLIVO_FIELDS | {"Text": text, "MessageIntent": "optout"}))

    assert ("", True) == (message.text, message.is_signed)


@pytest.mark.parametrize("field", ["inbound_token", "previous_inbound_token"])
@pytest.mark.parametrize(
    ("token", "faults"),
    [("worthless-0123From4567", ["inbound_token"]), ("worthless-0123from4567", [])],
)
def test_a_token_with_the_name_of_the_sender_is_a_fault(field, token, faults):
    """It is in the signed address, so no message would have a keyword, and nothing would say so."""
    account = create_plivo(URL, sender="Example", **{field: Secret(token)})

    assert faults == [name for name, _ in account.find_errors()]
