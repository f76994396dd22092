"""Twilio: what is written, what its callbacks mean, and what its own SDK says to both."""

import asyncio
from base64 import b64encode
from urllib.parse import parse_qsl

import msgspec
import pytest
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from otp_service.core.delivery import Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply
from otp_service.sms.provider_callbacks import CallbackSignatureError
from otp_service.sms.providers import Provider
from otp_service.sms.providers.twilio import FAULT_TABLE, RECEIPT_STATUSES, Twilio
from otp_service.sms.twilio_signature import verify_signature
from tests.sms.providers.callback_builder import (
    CALLBACK_URL,
    INVALID_BODIES,
    LoopbackAdapter,
    assert_no_receipt,
    build_callback,
    get_base_url,
)
from tests.sms.providers.sdk_comparison import list_codes


ACCOUNT = "AC0123456789abcdef0123456789abcdef"
SERVICE = "MG0123456789abcdef0123456789abcdef"
SID = "SM0123456789abcdef0123456789abcdef"


def twilio(**more):
    """An account with a token and a number."""
    settings = {"auth_token": Secret("12345"), "sender": "+15005550006"}
    return Twilio(account_sid=ACCOUNT, **settings | more)


def signed(pairs, *, url=CALLBACK_URL, by="12345"):
    """A callback that Twilio's own SDK has signed."""
    signature = RequestValidator(by).compute_signature(url, dict(pairs))
    return build_callback(list(pairs), url=url, x_twilio_signature=signature)


def status(name, *more):
    """The fields of a status callback."""
    return [("MessageSid", SID), ("MessageStatus", name), ("To", "+447400123456"), *more]


def test_request_byte_by_byte(message):
    """Nothing outlives the code, and no feature is asked for that the account may lack (R43)."""
    request = twilio().build_request(msgspec.structs.replace(message, callback_url=CALLBACK_URL))

    assert "POST" == request.method
    assert f"https://api.twilio.com/2010-04-01/Accounts/{ACCOUNT}/Messages.json" == request.url
    assert (
        ("content-type", "application/x-www-form-urlencoded"),
        ("authorization", f"Basic {b64encode(f'{ACCOUNT}:12345'.encode()).decode()}"),
    ) == request.headers
    assert (
        b"To=%2B447400123456&From=%2B15005550006&Body=864209+is+your+Example+code."
        b"&ValidityPeriod=290"
        b"&StatusCallback=https%3A%2F%2Fotp.example%2Fv1%2Fcallbacks%2Facme"
        b"%3Fref%3Dref-3f9%26token%3Da%252Bb"
    ) == request.body


def test_key_goes_before_the_token(message):
    """A key can be withdrawn alone; the token still checks callbacks."""
    request = twilio(api_key="SK1", api_secret=Secret("s3")).build_request(message)

    assert f"Basic {b64encode(b'SK1:s3').decode()}" == dict(request.headers)["authorization"]


def test_service_sends_where_no_sender_may(message):
    """Names are not taken in the US (R44): there a messaging service picks a number."""
    settings = twilio(sender="Example", messaging_service_sid=SERVICE)
    phone = msgspec.structs.replace(message.to, country="US")

    there = dict(parse_qsl(settings.build_request(msgspec.structs.replace(message, to=phone)).body))
    here = dict(parse_qsl(settings.build_request(message).body))

    assert (SERVICE.encode(), None) == (there[b"MessagingServiceSid"], there.get(b"From"))
    assert (b"Example", None) == (here[b"From"], here.get(b"MessagingServiceSid"))


@pytest.mark.parametrize(("life", "asked"), [(0, "1"), (290, "290"), (90_000, "36000")])
def test_validity_is_within_twilios_bounds(message, life, asked):
    """From 1 to 36000 seconds."""
    request = twilio().build_request(msgspec.structs.replace(message, validity_seconds=life))

    assert asked == dict(parse_qsl(request.body.decode()))["ValidityPeriod"]


@pytest.mark.parametrize(
    ("code", "http", "fault", "about"),
    [
        *(
            (code, 400, Fault.RECIPIENT, RefusalScope.BLOCKED)
            for code in list_codes(FAULT_TABLE, "blocked")
        ),
        *(
            (code, 400, Fault.RECIPIENT, RefusalScope.MESSAGE)
            for code in list_codes(FAULT_TABLE, "recipient")
        ),
        *(
            (code, 400, Fault.PROVIDER, RefusalScope.ACCOUNT)
            for code in list_codes(FAULT_TABLE, "account")
        ),
        *(
            (code, 400, Fault.PROVIDER, RefusalScope.THROTTLED)
            for code in list_codes(FAULT_TABLE, "throttled")
        ),
        ("30007", 400, Fault.PROVIDER, RefusalScope.MESSAGE),
        ("20500", 500, Fault.UNKNOWN, RefusalScope.MESSAGE),
    ],
)
def test_table(code, http, fault, about):
    """Each code in its place; only a 5xx may have been sent."""
    reply = HttpReply(http, {}, b'{"code": %s, "status": 400}' % code.encode())

    assert Refused(fault, code, scope=about) == twilio().interpret_reply(reply)


@pytest.mark.parametrize(
    ("codes", "fault", "about"),
    [
        ("21635", Fault.RECIPIENT, RefusalScope.MESSAGE),
        ("21660 21703 21705 10001 30029 30030", Fault.PROVIDER, RefusalScope.ACCOUNT),
    ],
)
def test_a_code_decides_what_a_refusal_is_about(codes, fault, about):
    """A landline ends the chain; a setting of the account needs an operator."""
    for code in codes.split():
        reply = HttpReply(400, {}, b'{"code": %s, "status": 400}' % code.encode())

        assert Refused(fault, code, scope=about) == twilio().interpret_reply(reply)


@pytest.mark.parametrize("name", RECEIPT_STATUSES)
def test_every_status_is_a_receipt(name):
    """A message in transit is pending; a failure without a known code is the provider's."""
    means = RECEIPT_STATUSES[name]

    (receipt,) = twilio().parse_callback(signed(status(name)))

    assert Receipt(means, message_id=SID, is_signed=True) == receipt


@pytest.mark.parametrize(
    ("code", "means", "reason"),
    [
        ("30003", "temporary-failure", "30003"),
        ("30005", "permanent-failure", "30005"),
        ("30450", "permanent-failure", "30450"),
        ("21635", "permanent-failure", "21635"),
        ("30036", "temporary-failure", "30036"),
        ("30007", "technical-failure", "30007"),
        ("447400123456", "technical-failure", "unreadable"),
        ("864209", "technical-failure", "unreadable"),
    ],
)
def test_code_decides_whose_fault_it_was(code, means, reason):
    """It is kept only if it cannot be a phone number or a code (R68)."""
    (receipt,) = twilio().parse_callback(signed(status("undelivered", ("ErrorCode", code))))

    assert (means, reason) == (receipt.status, receipt.reason)


def test_known_signature():
    """The example of Twilio's documentation, computed by Twilio."""
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
        "Caller": "+14158675309",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    given = "RSOYDt4T1cUTdK1PDd93/VVr8B8="

    verify_signature(
        build_callback(list(fields.items()), url=url, x_twilio_signature=given), Secret("12345")
    )


@pytest.mark.parametrize("told", ["https://otp.example/cb", "https://otp.example:443/cb"])
@pytest.mark.parametrize("known", ["https://otp.example/cb", "https://otp.example:443/cb"])
def test_port_may_be_signed_or_not(told, known):
    """Twilio is not sure of it itself, and its SDK tries both."""
    callback = signed(status("sent"), url=told)

    assert twilio().parse_callback(msgspec.structs.replace(callback, url=known))


@pytest.mark.parametrize(
    "forged",
    [
        build_callback(status("delivered")),
        build_callback(status("delivered"), x_twilio_signature="ä"),
        signed(status("delivered"), by="54321"),
        msgspec.structs.replace(signed(status("sent")), body=b"MessageStatus=delivered"),
        msgspec.structs.replace(signed(status("sent")), url=CALLBACK_URL.replace("3f9", "4f9")),
        msgspec.structs.replace(
            signed(status("sent"), url="https://otp.example:8443/cb"),
            url="https://otp.example:9443/cb",
        ),
    ],
)
def test_wrong_signature_is_refused(forged):
    """None, another token's, of other fields, of another address or port."""
    with pytest.raises(CallbackSignatureError):
        twilio().parse_callback(forged)


def move_boundary(callback, was, becomes):
    """The same signed text, cut into other fields."""
    assert was in callback.body
    return msgspec.structs.replace(callback, body=callback.body.replace(was, becomes))


FAILED = [("ErrorCode", "21211"), ("From", "Example"), ("MessageSid", SID)]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"ErrorCode=21211", b"ErrorCode2=1211"),
        (b"ErrorCode=21211", b"ErrorCode21211="),
        (b"ErrorCode=21211", b"Error=Code21211"),
        (b"ErrorCode=21211&From=Example", b"ErrorCode=21211FromExample"),
        (b"&ErrorCode=21211", b"ErrorCode21211"),
        (b"ErrorCode=21211&", b"ErrorCode=21211&ErrorCode=&"),
        (b"MessageSid=SM", b"MessageSidS=M"),
    ],
)
def test_a_signed_text_has_one_reading(was, becomes):
    """21211 is the recipient's fault; without it another message would be sent."""
    callback = signed([("AccountSid", ACCOUNT), *FAILED, ("MessageStatus", "failed")])
    assert "permanent-failure" == twilio().parse_callback(callback)[0].status

    with pytest.raises(CallbackSignatureError):
        twilio().parse_callback(move_boundary(callback, was, becomes))


def test_no_field_can_be_moved_into_the_signed_address():
    """Twilio signs address and fields one after the other, so an own query could take the first ones."""
    url = f"{CALLBACK_URL.partition('?')[0]}?x=1"
    callback = signed([*FAILED, ("MessageStatus", "failed")], url=url)
    moved = msgspec.structs.replace(
        callback,
        url=f"{url}ErrorCode21211FromExample",
        body=callback.body.replace(b"ErrorCode=21211&From=Example&", b""),
    )
    assert "permanent-failure" == twilio().parse_callback(callback)[0].status

    with pytest.raises(CallbackSignatureError):
        twilio().parse_callback(moved)


def test_fields_that_twilio_adds_later_are_no_forgery():
    """Twilio documents that it adds some."""
    pairs = status("delivered", ("NewOfNextYear", "Error 21211"), ("ErrorMessage", "Sent: 7"))

    (receipt,) = twilio().parse_callback(signed(pairs))

    assert "delivered" == receipt.status


def sign_by_rule(pairs, algorithm="HMAC_SHA256", key="shared", settings=None):
    """A callback that a Webhooks Rule signs, by Twilio's own SDK."""
    settings = settings or f"key=webhooks_sharedkey_1,algorithm={algorithm}"
    signature = RequestValidator(key).compute_signature(CALLBACK_URL, dict(pairs), algorithm)
    name = "x_twilio_webhooks_signature_settings"
    return build_callback(list(pairs), x_twilio_signature=signature, **{name: settings})


@pytest.mark.parametrize("algorithm", ["HMAC_SHA256", "HMAC_SHA1", "hmac_sha256"])
@pytest.mark.parametrize("auth_token", [None, Secret("12345")])
def test_a_webhooks_rule_signs_with_a_shared_key(algorithm, auth_token):
    """Its header names the hash; the account's token signs everything else."""
    settings = twilio(
        auth_token=auth_token,
        shared_key=Secret("shared"),
        api_key="SK1",
        api_secret=Secret("s3"),
    )

    (receipt,) = settings.parse_callback(sign_by_rule(status("delivered"), algorithm))

    assert Receipt("delivered", message_id=SID, is_signed=True) == receipt
    assert [] == settings.find_errors()


@pytest.mark.parametrize(
    ("callback", "keys"),
    [
        (sign_by_rule(status("delivered")), {}),
        (sign_by_rule(status("delivered"), key="12345"), {"shared_key": Secret("shared")}),
        (sign_by_rule(status("delivered"), key="12345"), {}),
        (sign_by_rule(status("delivered"), "HMAC_SHA1", key="12345", settings="key=k"), {}),
        (
            sign_by_rule(status("delivered"), settings="key=k,algorithm=HMAC_MD5"),
            {"shared_key": Secret("shared")},
        ),
        (
            sign_by_rule(status("delivered"), settings="key=k,algorithm=HMAC_SHA1"),
            {"shared_key": Secret("shared")},
        ),
        (signed(status("delivered"), by="shared"), {"shared_key": Secret("shared")}),
        (
            signed(status("delivered"), by="shared"),
            {"shared_key": Secret("shared"), "auth_token": None},
        ),
    ],
)
def test_each_key_signs_its_own_callbacks_only(callback, keys):
    """A caller does not choose which key or hash is weak enough."""
    with pytest.raises(CallbackSignatureError):
        twilio(**keys).parse_callback(callback)


def test_a_receipt_may_come_by_get():
    """Then the address alone is signed, and it has the fields."""
    url = f"{CALLBACK_URL}&MessageSid={SID}&MessageStatus=delivered"
    signature = RequestValidator("12345").compute_signature(url, {})
    callback = build_callback(b"", url=url, method="GET", x_twilio_signature=signature)

    (receipt,) = twilio().parse_callback(callback)

    assert Receipt("delivered", message_id=SID, is_signed=True) == receipt


def test_sdk_agrees_on_what_we_check():
    """A value that is given twice counts once, and empty ones count (RequestValidator)."""
    pairs = [("To", "+44 1&2=3"), ("Empty", ""), ("MessageSid", SID), ("MessageStatus", "sent")]

    assert twilio().parse_callback(signed(pairs))
    assert twilio().parse_callback(
        msgspec.structs.replace(signed(pairs), body=signed([*pairs, *pairs]).body)
    )


def test_without_the_token_receipts_are_not_signed():
    """A key alone opens the account, but checks nothing: then the address has to be trusted."""
    (receipt,) = twilio(auth_token=None).parse_callback(build_callback(status("delivered")))

    assert not receipt.is_signed


@pytest.mark.parametrize(
    "body", [*INVALID_BODIES, b"MessageSid=1&MessageStatus=gone", b"MessageStatus=sent"]
)
def test_garbage_is_refused(body):
    """With nothing but the errors that the API expects."""
    assert_no_receipt(twilio(auth_token=None), build_callback(body))


@pytest.mark.parametrize(
    "more",
    [{}, {"api_key": "SK1", "api_secret": Secret("s3")}, {"message_redaction": True}],
    ids=["token", "key", "redaction"],
)
async def test_sdk_sends_the_same(gateway, transport, message, more):
    """The same message through twilio-python and through us: path, credentials and form agree."""
    gateway.set_reply(201, {"sid": SID})
    message = msgspec.structs.replace(message, callback_url=CALLBACK_URL)
    to_gateway, http = LoopbackAdapter(gateway.url), TwilioHttpClient()
    http.session.mount("https://", to_gateway)
    user, password = ("SK1", "s3") if "api_key" in more else (ACCOUNT, "12345")
    kept = {"content_retention": "discard", "address_retention": "obfuscate"}
    retention = kept if "message_redaction" in more else {}
    client = Client(user, password, ACCOUNT, http_client=http)

    await asyncio.to_thread(
        client.messages.create,
        to="+447400123456",
        from_="+15005550006",
        body=message.text,
        validity_period=290,
        **retention,
        status_callback=CALLBACK_URL,
    )
    http.session.close()
    await HttpProvider("acme", twilio(base_url=get_base_url(gateway), **more), transport).send(
        message
    )

    theirs, ours = gateway.requests
    assert [twilio(**more).build_request(message).url] == to_gateway.urls
    assert (theirs.method, theirs.target) == (ours.method, ours.target)
    assert sorted(theirs.form) == sorted(ours.form)
    for name in ("authorization", "content-type"):
        assert theirs.headers[name] == ours.headers[name]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"base_url": "http://api.twilio.com"}, "base_url"),
        ({"account_sid": "AC1/../x"}, "account_sid"),
        ({"auth_token": None}, "auth_token"),
        ({"api_key": "SK1"}, "api_secret"),
        ({"sender": ""}, "sender"),
        ({"senders": {"US": "Example"}}, "senders.US"),
    ],
)
def test_settings_that_are_refused(more, field):
    """Each says which field, and what to do."""
    settings = {"account_sid": ACCOUNT, "auth_token": Secret("12345"), "sender": "+15005550006"}

    assert [field] == [name for name, _ in Twilio(**settings | more).find_errors()]


def test_settings_are_read_by_their_type():
    """`type = "twilio"` and the account; nothing secret is shown (R68)."""
    written = {"type": "twilio", "account_sid": ACCOUNT, "auth_token": "hunter2", "sender": "Shop"}

    read = msgspec.convert(written, Provider, dec_hook=lambda kind, value: kind(value))

    assert [] == read.find_errors()
    assert "hunter2" not in f"{read!r}{read._authorization and ''}"
