"""Vonage's Messages API: what is written, what its callbacks mean, and what its SDK says to both."""

import asyncio
import hashlib

import jwt
import msgspec
import pytest
from vonage import Auth
from vonage import Vonage as Sdk
from vonage_jwt import verify_signature
from vonage_messages import Sms

from otp_service.core.delivery import Fault, Receipt, RefusalScope, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply
from otp_service.sms.provider_callbacks import CallbackSignatureError
from otp_service.sms.providers import Provider
from otp_service.sms.providers.vonage_messages import FAULT_TABLE, RECEIPT_STATUSES, VonageMessages
from tests.sms.providers.callback_builder import (
    CALLBACK_URL,
    INVALID_BODIES,
    NOW_MS,
    LoopbackAdapter,
    assert_no_receipt,
    build_callback,
    get_base_url,
)
from tests.sms.providers.sdk_comparison import list_codes


UUID = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"
SECRET = "a-signature-secret-of-the-account-at-hand"
NEWS = {"message_uuid": UUID, "status": "delivered", "client_ref": "ref-3f9", "channel": "sms"}


def messages(**more):
    """An account that signs."""
    settings = {
        "api_key": "abcd1234",
        "api_secret": Secret("s3"),
        "sender": "Example",
        "signature_secret": Secret(SECRET),
    }
    return VonageMessages(**settings | more)


def signed(news, *, by=SECRET, algorithm="HS256", about=None, **claims):
    """A status callback with a token that PyJWT has made, as Vonage describes it."""
    body = news if isinstance(news, bytes) else msgspec.json.encode(news)
    hashed = hashlib.sha256(body if about is None else about).hexdigest()
    facts = {"iat": NOW_MS // 1000, "iss": "Vonage", "api_key": "abcd1234", "payload_hash": hashed}
    token = jwt.encode(facts | {"jti": UUID} | claims, by, algorithm=algorithm)
    return build_callback(body, authorization=f"Bearer {token}")


def problem(code, **more):
    """An error as callbacks have it."""
    kind = f"https://developer.vonage.com/api-errors/messages#{code}"
    return {"type": kind, "title": code, "detail": "447400123456"} | more


def test_request_byte_by_byte(message):
    """Digits only, seconds, our reference, and where to bring news, in their newest form."""
    request = messages().build_request(msgspec.structs.replace(message, callback_url=CALLBACK_URL))

    assert ("POST", "https://api.nexmo.com/v1/messages") == (request.method, request.url)
    assert (
        ("content-type", "application/json"),
        ("authorization", "Basic YWJjZDEyMzQ6czM="),
    ) == request.headers
    assert (
        b'{"message_type":"text","channel":"sms","to":"447400123456","from":"Example",'
        b'"text":"864209 is your Example code.","ttl":290,"client_ref":"ref-3f9",'
        b'"webhook_url":"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=a%2Bb",'
        b'"webhook_version":"v1"}'
    ) == request.body


@pytest.mark.parametrize(
    ("http", "body", "means"),
    [
        *(
            (422, problem(c), Refused(Fault.RECIPIENT, c))
            for c in list_codes(FAULT_TABLE, "recipient")
        ),
        *(
            (422, problem(c), Refused(Fault.PROVIDER, c, scope=RefusalScope.ACCOUNT))
            for c in list_codes(FAULT_TABLE, "account")
        ),
        (422, problem("1150"), Refused(Fault.PROVIDER, "1150")),
        (422, problem("x", title=1050), Refused(Fault.RECIPIENT, "1050")),
        (
            402,
            problem("low-balance"),
            Refused(Fault.PROVIDER, "low-balance", None, RefusalScope.ACCOUNT),
        ),
        (
            401,
            {"title": "Unauthorized"},
            Refused(Fault.PROVIDER, "http-401", None, RefusalScope.ACCOUNT),
        ),
        (429, problem("1000"), Refused(Fault.PROVIDER, "1000", None, RefusalScope.THROTTLED)),
        (500, problem("1000"), Refused(Fault.UNKNOWN, "1000")),
        (502, {}, Refused(Fault.UNKNOWN, "http-502")),
    ],
)
def test_table(http, body, means):
    """The code follows the #, or is the title; a 500 may have been sent with any code."""
    assert means == messages().interpret_reply(HttpReply(http, {}, msgspec.json.encode(body)))


@pytest.mark.parametrize("name", RECEIPT_STATUSES)
def test_every_status_is_a_receipt(name):
    """Submitted is pending; undeliverable is an outage of theirs."""
    means = RECEIPT_STATUSES[name]

    (news,) = messages().parse_callback(signed(NEWS | {"status": name}))

    assert Receipt(means, "ref-3f9", UUID, is_signed=True) == news


@pytest.mark.parametrize(
    ("error", "means", "reason"),
    [
        (problem("1050"), "permanent-failure", "1050"),
        (problem("rejected", title=1050), "permanent-failure", "1050"),
        ({"error": problem("1050")}, "permanent-failure", "1050"),
        (problem("1030"), "technical-failure", "1030"),
        (problem("447400123456"), "technical-failure", "unreadable"),
        (problem("rejected", title="No route to 447400123456"), "technical-failure", "rejected"),
    ],
)
def test_code_decides_whose_fault_it_was(error, means, reason):
    """In each of the forms that callbacks have been seen in, and never with prose (R68)."""
    (news,) = messages().parse_callback(signed(NEWS | {"status": "rejected", "error": error}))

    assert (means, reason) == (news.status, news.reason)


def test_sdk_checks_what_our_tests_sign():
    """So the tokens of these tests are of Vonage's kind, and the forged ones are not."""
    token = signed(NEWS).headers["authorization"].removeprefix("Bearer ")
    forged = signed(NEWS, by=SECRET[::-1]).headers["authorization"].removeprefix("Bearer ")

    assert verify_signature(token, SECRET)
    assert not verify_signature(forged, SECRET)


@pytest.mark.parametrize(
    "forged",
    [
        build_callback(NEWS),
        build_callback(NEWS, authorization="Bearer"),
        build_callback(NEWS, authorization="Bearer a.b.c"),
        build_callback(NEWS, authorization="Bearer ä.ö.ü"),
        signed(NEWS, by=SECRET[::-1]),
        signed(NEWS, by=None, algorithm="none"),
        signed(NEWS, by=SECRET * 2, algorithm="HS512"),
        signed(NEWS, about=b"{}"),
        signed(NEWS, iss="Somebody"),
        signed(NEWS, api_key="other"),
        signed(NEWS, iat=NOW_MS // 1000 - 301),
        signed(NEWS, iat=NOW_MS // 1000 + 302),
        signed(NEWS, iat=-1),
        signed(NEWS, iat="now"),
        signed(NEWS, payload_hash=None),
    ],
)
def test_wrong_token_is_refused(forged):
    """None, of another key, algorithm, body, issuer, account or time, or no token at all."""
    with pytest.raises(CallbackSignatureError):
        messages().parse_callback(forged)


def test_algorithm_is_pinned():
    """Also one that is signed with our secret by another algorithm is refused."""
    with pytest.raises(CallbackSignatureError):
        messages(signature_secret=Secret(SECRET * 2)).parse_callback(
            signed(NEWS, by=SECRET * 2, algorithm="HS384")
        )


def test_without_the_secret_receipts_are_not_signed():
    """Then the address has to be trusted."""
    (news,) = messages(signature_secret=None).parse_callback(build_callback(NEWS))

    assert Receipt("delivered", "ref-3f9", UUID) == news


@pytest.mark.parametrize("body", [*INVALID_BODIES, msgspec.json.encode(NEWS | {"status": "gone"})])
def test_garbage_is_refused(body):
    """With nothing but the errors that the API expects, also if it is signed."""
    assert_no_receipt(messages(signature_secret=None), build_callback(body))
    assert_no_receipt(messages(), signed(body))


def test_without_a_callback_nothing_is_asked_for(message):
    """Then news go where the account has them go."""
    written = msgspec.json.decode(messages().build_request(message).body)

    assert not {"webhook_url", "webhook_version"} & written.keys()


def test_reference_that_is_too_long_is_left_out(message):
    """With 101 characters Vonage would refuse the message."""
    request = messages().build_request(msgspec.structs.replace(message, reference="r" * 101))

    assert "client_ref" not in msgspec.json.decode(request.body)


async def test_sdk_sends_the_same(gateway, transport, message):
    """The same message through Vonage's SDK and through us: path, credentials and JSON agree."""
    gateway.set_reply(202, {"message_uuid": UUID})
    message = msgspec.structs.replace(message, callback_url=CALLBACK_URL)
    to_gateway, client = (
        LoopbackAdapter(gateway.url),
        Sdk(Auth(api_key="abcd1234", api_secret="s3")),
    )
    client.http_client._session.mount("https://", to_gateway)

    await asyncio.to_thread(
        client.messages.send,
        Sms(
            to="447400123456",
            from_="Example",
            text=message.text,
            ttl=290,
            client_ref=message.reference,
            webhook_url=CALLBACK_URL,
            webhook_version="v1",
        ),
    )
    client.http_client._session.close()
    await HttpProvider("acme", messages(base_url=get_base_url(gateway)), transport).send(message)

    theirs, ours = gateway.requests
    assert [messages().build_request(message).url] == to_gateway.urls
    assert (theirs.method, theirs.target) == (ours.method, ours.target)
    assert theirs.json == ours.json
    for name in ("authorization", "content-type"):
        assert theirs.headers[name] == ours.headers[name]


def test_settings_are_read_by_their_type():
    """`type = "vonage-messages"` and the account; nothing secret is shown (R68)."""
    written = {"type": "vonage-messages", "api_key": "ab12", "api_secret": "hunter2"}

    read = msgspec.convert(written, Provider, dec_hook=lambda kind, value: kind(value))

    assert ["sender"] == [name for name, _ in read.find_errors()]
    assert "hunter2" not in repr(read)
    assert (200, b"") == read.acknowledgement
