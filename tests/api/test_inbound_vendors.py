"""/v1/inbound with the documented payloads of every vendor: who is trusted, and the exact answers (R64).

A vendor signs with its own SDK or, without one, with the code that the tests of its dialect have.
"""

import base64
from collections.abc import Callable
from typing import Any, NamedTuple, get_args
from urllib.parse import urlencode

import httpx
import pytest
from msgspec.structs import replace
from plivo.utils import validate_signature as validate_v2_signature

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.gateway_inbound import InboundMessageSettings
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.provider_settings import HttpSettings
from otp_service.sms.providers import Provider
from otp_service.sms.providers.generic_http import GenericHttp
from otp_service.sms.signatures import compute_signature
from tests.api import test_other_events
from tests.api.fakes import ApiHarness
from tests.api.test_other_events import (
    NOW_SECONDS,
    TOPIC,
    VENDORS,
    add_headers,
    build_form,
    build_get,
    build_json,
    call,
)
from tests.sms.aws.sns_topic import NOW_MS
from tests.sms.providers import test_twilio, test_vonage
from tests.sms.providers.contracts.sns import create_sns


TOKEN, PREVIOUS = "worthless-token-of-inbound", "worthless-token-of-before"
TOKENS = {"inbound_token": Secret(TOKEN), "previous_inbound_token": Secret(PREVIOUS)}
PHONE, OURS = "447400123456", "447400987654"
CANARY = "864209"
"""A code that a person typed to the wrong place."""
TEXT = f"STOP {CANARY}"

ONLY_SIGNED = "aws"
"""Its messages have a signature always, so it needs no token."""


def sign_plivo_v2(callback: Callback) -> Callback:
    """Sign the address as Plivo's older version does: its fields are not signed, so the token decides."""
    address, nonce = callback.url.partition("?")[0], "1"
    signature = compute_signature(b"t0ken", f"{address}{nonce}".encode())
    assert validate_v2_signature(address, nonce, signature, "t0ken")
    headers = {"x-plivo-signature-v2": signature, "x-plivo-signature-v2-nonce": nonce}
    return add_headers(callback, headers)


class InboundVendor(NamedTuple):
    """What a vendor sends, and what the service reads."""

    messages: list[Callback]
    """Documented payloads, not yet signed."""
    message: InboundMessage
    """What is read of each; unsigned."""
    answer: tuple[int, bytes] = (204, b"")
    unsigned: Any = None
    """The dialect as it is set up without a signature; by default that of VENDORS."""
    sign_unsigned: Callable[[Callback], Callback] = lambda callback: callback
    """What the vendor adds to an unsigned message."""


def expect_message(sender: str = PHONE, receiver: str = OURS, id: str = "1") -> InboundMessage:  # noqa: A002  # as in InboundMessage
    """Return the message of a person; numbers are as the vendor writes them."""
    return InboundMessage(sender, TEXT, receiver, id)


KANNEL_POST = Callback(
    "POST",
    "",
    {
        "content-type": 'text/plain; charset="UTF-8"',
        "x-kannel-from": f"+{PHONE}",
        "x-kannel-to": OURS,
    },
    TEXT.encode(),
    NOW_MS,
)
"""A `post-url`, which has no id."""

FORM_OF_TWILIO = {
    "From": f"+{PHONE}",
    "To": f"+{OURS}",
    "Body": TEXT,
    "MessageSid": test_twilio.SID,
    "SmsSid": test_twilio.SID,
    "AccountSid": test_twilio.ACCOUNT,
    "NumMedia": "0",
    "SmsStatus": "received",
    "NumSegments": "1",
    "FromCountry": "GB",
    "ApiVersion": "2010-04-01",
}
FIELDS_OF_VONAGE = {
    "api-key": "abcd1234",
    "msisdn": PHONE,
    "to": OURS,
    "messageId": "1",
    "text": TEXT,
    "type": "text",
    "keyword": "STOP",
    "message-timestamp": "2026-11-30 12:00:00",
    "timestamp": str(NOW_SECONDS),
    "nonce": "a-nonce",
}
JSON_OF_VONAGE_MESSAGES = {
    "channel": "sms",
    "message_uuid": "1",
    "to": OURS,
    "from": PHONE,
    "text": TEXT,
    "timestamp": "2026-11-30T12:00:00Z",
    "message_type": "text",
    "sms": {"num_messages": "1"},
}
JSON_OF_OLDER_VONAGE_MESSAGES = {
    "message_uuid": "1",
    "from": {"type": "sms", "number": PHONE},
    "to": {"type": "sms", "number": OURS},
    "message": {"content": {"type": "text", "text": TEXT}},
    "timestamp": "2026-11-30T12:00:00.000Z",
    "direction": "inbound",
}
JSON_OF_SINCH = {
    "type": "mo_text",
    "id": "1",
    "from": PHONE,
    "to": OURS,
    "body": TEXT,
    "operator_id": "23410",
    "received_at": "2026-11-30T12:00:00Z",
}
JSON_OF_INFOBIP = {
    "messageId": "1",
    "from": PHONE,
    "to": OURS,
    "text": TEXT,
    "cleanText": CANARY,
    "keyword": "STOP",
    "receivedAt": "2026-11-30T12:00:00.000+0000",
    "smsCount": 1,
}
JSON_OF_TELNYX = {
    "id": "1",
    "direction": "inbound",
    "type": "SMS",
    "text": TEXT,
    "parts": 1,
    "from": {"phone_number": f"+{PHONE}"},
    "to": [{"phone_number": f"+{OURS}"}],
    "messaging_profile_id": "p",
    "received_at": "2026-11-30T12:00:00Z",
}
FIELDS_OF_PLIVO = {
    "From": PHONE,
    "To": OURS,
    "Text": TEXT,
    "Type": "sms",
    "MessageUUID": "1",
    "Units": "1",
}
FIELDS_OF_FLOW_BUILDER = {"originator": PHONE, "recipient": OURS, "payload": TEXT, "id": "1"}
JSON_OF_BIRD = {"from": f"+{PHONE}", "to": f"+{OURS}", "text": TEXT, "sms_id": "1", "segments": 1}
JSON_OF_AWS = {
    "originationNumber": f"+{PHONE}",
    "destinationNumber": f"+{OURS}",
    "messageBody": TEXT,
    "messageKeyword": "KEYWORD_1",
    "inboundMessageId": "1",
}
JSON_OF_CLICKATELL = {
    "channel": "sms",
    "messageId": "1",
    "from": PHONE,
    "to": OURS,
    "content": TEXT,
    "timestamp": NOW_MS,
    "charset": "UTF-8",
}
QUERY_OF_KANNEL = {"from": f"+{PHONE}", "to": OURS, "text": TEXT, "id": "1", "charset": "UTF-8"}

FIELDS_OF_JASMIN = {
    "id": "1",
    "from": PHONE,
    "to": OURS,
    "origin-connector": "c",
    "priority": "1",
    "coding": "0",
    "content": TEXT,
    "binary": TEXT.encode().hex(),
    "validity": "",
}
FIELDS_OF_GATEWAY = {"from": PHONE, "to": OURS, "text": TEXT, "id": "1"}
GATEWAY_PLACES: dict[str, Any] = {"sender": "from", "text": "text", "receiver": "to", "id": "id"}


def create_gateway(**settings: Any) -> GenericHttp:
    """Return a gateway whose messages are described in the settings."""
    inbound = InboundMessageSettings(**GATEWAY_PLACES, **settings)
    return GenericHttp(url="https://sms.example", fields={"to": "{to}"}, inbound=inbound)


INBOUND_VENDORS = {
    "twilio": InboundVendor(
        [build_form(**FORM_OF_TWILIO), build_get(**FORM_OF_TWILIO)],
        expect_message(f"+{PHONE}", f"+{OURS}", test_twilio.SID),
        unsigned=test_twilio.twilio(auth_token=None, api_key="SK1", api_secret=Secret("s3")),
    ),
    "vonage": InboundVendor(
        [build_json(FIELDS_OF_VONAGE), build_get(**FIELDS_OF_VONAGE)],
        expect_message(),
        (200, b""),
        test_vonage.vonage(signature_secret=None),
    ),
    "vonage-messages": InboundVendor(
        [build_json(JSON_OF_VONAGE_MESSAGES), build_json(JSON_OF_OLDER_VONAGE_MESSAGES)],
        expect_message(),
        (200, b""),
        replace(VENDORS["vonage-messages"].dialect, signature_secret=None),
    ),
    "sinch": InboundVendor(
        [build_json(JSON_OF_SINCH)],
        expect_message(),
        unsigned=replace(VENDORS["sinch"].dialect, signing_secret=None),
    ),
    "infobip": InboundVendor([build_json({"results": [JSON_OF_INFOBIP]})], expect_message()),
    "telnyx": InboundVendor(
        [build_json({"data": {"event_type": "message.received", "payload": JSON_OF_TELNYX}})],
        expect_message(f"+{PHONE}", f"+{OURS}"),
        unsigned=replace(VENDORS["telnyx"].dialect, public_key=""),
    ),
    "plivo": InboundVendor(
        [build_form(**FIELDS_OF_PLIVO), build_get(**FIELDS_OF_PLIVO)],
        expect_message(),
        sign_unsigned=sign_plivo_v2,
    ),
    "messagebird": InboundVendor(
        [
            build_form(**FIELDS_OF_FLOW_BUILDER),
            build_get(**FIELDS_OF_FLOW_BUILDER),
            build_json(FIELDS_OF_FLOW_BUILDER),
        ],
        expect_message(),
        (200, b""),
        replace(VENDORS["messagebird"].dialect, signing_key=None),
    ),
    "bird": InboundVendor(
        [build_json({"type": "sms.received", "data": JSON_OF_BIRD})],
        expect_message(f"+{PHONE}", f"+{OURS}"),
        unsigned=replace(VENDORS["bird"].dialect, webhook_secret=None),
    ),
    "aws": InboundVendor([build_json(JSON_OF_AWS)], expect_message(f"+{PHONE}", f"+{OURS}")),
    "clickatell": InboundVendor(
        [build_json({"integrationId": "i", "event": {"moText": [JSON_OF_CLICKATELL]}})],
        expect_message(),
    ),
    "kannel": InboundVendor(
        [build_get(**QUERY_OF_KANNEL)], expect_message(f"+{PHONE}"), (200, b"")
    ),
    "jasmin": InboundVendor(
        [build_form(**FIELDS_OF_JASMIN), build_get(**FIELDS_OF_JASMIN)],
        expect_message(),
        (200, b"ACK/Jasmin"),
    ),
    "gateway": InboundVendor(
        [
            build_form(**FIELDS_OF_GATEWAY),
            build_get(**FIELDS_OF_GATEWAY),
            build_json(FIELDS_OF_GATEWAY),
        ],
        expect_message(),
        unsigned=create_gateway(),
    ),
}
CASES = [(name, each) for name, vendor in INBOUND_VENDORS.items() for each in vendor.messages]
WITH_KEY = "gateway"
"""Its key is of the caller and of no text, so it is no signature: see the tests at the end."""
SIGNING = [name for name in INBOUND_VENDORS if VENDORS[name].sign and name != WITH_KEY]
SIGNED_CASES = [(name, each) for name, each in CASES if name in SIGNING]
TOKEN_CASES = [(name, each) for name, each in CASES if name != ONLY_SIGNED]


def build_harness(name: str, *, signs: bool) -> ApiHarness:
    """Build the API with this vendor alone, at the instant of the signatures."""
    certificate = httpx.MockTransport(lambda _: httpx.Response(200, content=TOPIC.pem))
    dialect = VENDORS[name].dialect if signs else INBOUND_VENDORS[name].unsigned
    return ApiHarness(
        now=lambda: NOW_MS,
        callback_dialects={name: replace(dialect or VENDORS[name].dialect, **TOKENS)},
        certificates=CertificateCache(certificate, clock=lambda: 0.0),
    )


def address_message(name: str, message: Callback, token: str = "") -> Callback:
    """Return the message at the address that is set up at the vendor, with this token or without."""
    query = "&".join(part for part in (f"token={token}" if token else "", message.url[1:]) if part)
    return replace(message, url=f"https://otp.example/v1/inbound/{name}?{query}".rstrip("?"))


def sign_message(name: str, message: Callback) -> Callback:
    """Return the message as its vendor sends it."""
    sign = VENDORS[name].sign
    assert sign
    return sign(message)


def remove_signature(message: Callback) -> Callback:
    """Return the message without a header, a field or a parameter that signs."""
    headers = {"content-type": message.headers.get("content-type", "text/plain")}
    return replace(
        message,
        headers=headers,
        url=message.url.replace("sig=", "no="),
        body=message.body.replace(b'"sig"', b'"no"').replace(b'"Signature"', b'"no"'),
    )


def read_messages(api: ApiHarness) -> list[InboundMessage]:
    """Return what has reached the handler."""
    return [message for _, _, message in api.inbound_messages]


def assert_content_type(answer: httpx.Response) -> None:
    """Check that an answer is plain text, of which a gateway makes no markup; a 204 has no type."""
    expected = None if answer.status_code == 204 else "text/plain; charset=utf-8"
    assert expected == answer.headers.get("content-type")


def test_every_type_with_an_address_is_here() -> None:
    """A new type of provider needs a row; SNS has no messages from phones."""
    types = {
        each.__struct_config__.tag for each in get_args(Provider) if issubclass(each, HttpSettings)
    }

    assert types - {"sns", "http"} == INBOUND_VENDORS.keys() - {WITH_KEY}


@pytest.mark.parametrize(("name", "message"), SIGNED_CASES)
@pytest.mark.parametrize("token", ["", "an-earlier-one"])
async def test_a_signed_message_is_accepted(name, message, token) -> None:
    """R64: with or without a token in the address, which the signature covers where it covers addresses."""
    api = build_harness(name, signs=True)

    answer = await call(api, sign_message(name, address_message(name, message, token)))

    assert INBOUND_VENDORS[name].answer == (answer.status_code, answer.content), api.rejected
    assert_content_type(answer)
    assert [replace(INBOUND_VENDORS[name].message, is_signed=True)] == read_messages(api)
    ((caller, provider, _),) = api.inbound_messages
    assert (f"callback-{name}", name, []) == (caller.key_id, provider, api.rejected)


@pytest.mark.parametrize(("name", "message"), SIGNED_CASES)
@pytest.mark.parametrize("token", ["", TOKEN])
async def test_another_text_under_a_signature_is_401(name, message, token) -> None:
    """R64: whatever the token is."""
    api = build_harness(name, signs=True)
    signed = sign_message(name, address_message(name, message, token))
    forged = replace(
        signed,
        url=signed.url.replace(CANARY, "864208"),
        body=signed.body.replace(CANARY.encode(), b"864208"),
    )
    assert forged != signed

    answer = await call(api, forged)

    assert (401, []) == (answer.status_code, api.inbound_messages)
    assert [(name, "signature")] == api.rejected


@pytest.mark.parametrize(("name", "message"), SIGNED_CASES)
@pytest.mark.parametrize("token", ["", TOKEN])
async def test_a_message_of_a_vendor_that_signs_needs_its_signature(name, message, token) -> None:
    """R64: the token is not enough where the signature is set up."""
    api = build_harness(name, signs=True)
    signed = sign_message(name, address_message(name, message, token))

    answer = await call(api, remove_signature(signed))

    assert (400 if name == ONLY_SIGNED else 401) == answer.status_code
    assert [] == api.inbound_messages


@pytest.mark.parametrize(("name", "message"), TOKEN_CASES)
@pytest.mark.parametrize("way", ["token", "previous", "password"])
async def test_an_unsigned_message_with_the_token_is_accepted(name, message, way) -> None:
    """In the address or as the password of Basic authentication; the previous one too."""
    api = build_harness(name, signs=False)
    secret = PREVIOUS if "previous" in way else TOKEN
    addressed = address_message(name, message, "" if "password" in way else secret)
    if "password" in way:
        basic = base64.b64encode(f"otp:{secret}".encode()).decode()
        addressed = add_headers(addressed, {"authorization": f"Basic {basic}"})

    answer = await call(api, INBOUND_VENDORS[name].sign_unsigned(addressed))

    assert INBOUND_VENDORS[name].answer == (answer.status_code, answer.content), api.rejected
    assert_content_type(answer)
    assert [INBOUND_VENDORS[name].message] == read_messages(api)
    assert [] == api.rejected


@pytest.mark.parametrize(("name", "message"), TOKEN_CASES)
@pytest.mark.parametrize("token", ["", f"{TOKEN}x"])
async def test_an_unsigned_message_without_the_token_is_401(name, message, token) -> None:
    """R64: it is counted, and nothing is passed on."""
    api = build_harness(name, signs=False)
    addressed = address_message(name, message, token)

    answer = await call(api, INBOUND_VENDORS[name].sign_unsigned(addressed))

    assert (401, []) == (answer.status_code, api.inbound_messages)
    assert [(name, "token")] == api.rejected


@pytest.mark.parametrize("name", INBOUND_VENDORS)
async def test_an_event_of_next_year_is_acknowledged(name) -> None:
    """R65: a vendor pauses an address that refuses events, and messages come to it too."""
    for event in VENDORS[name].events:
        api = build_harness(name, signs=name in SIGNING)
        addressed = address_message(name, event, "" if name in SIGNING else TOKEN)
        signed = sign_message(name, addressed) if name in SIGNING else addressed

        answer = await call(api, signed)

        assert INBOUND_VENDORS[name].answer == (answer.status_code, answer.content)
        assert ([(name, "other")], []) == (api.rejected, api.inbound_messages)


@pytest.mark.parametrize("name", [name for name in INBOUND_VENDORS if name != ONLY_SIGNED])
async def test_an_event_of_an_unauthenticated_caller_is_401(name) -> None:
    """R64: not even the count of the vendor's events changes. Plivo signs the address of an older one."""
    for event in VENDORS[name].events:
        for token in ("", "wrong"):
            api = build_harness(name, signs=False)

            answer = await call(api, address_message(name, event, token))

            reason = "signature" if name == "plivo" else "token"
            assert (401, [(name, reason)]) == (answer.status_code, api.rejected)


@pytest.mark.parametrize(("name", "message"), SIGNED_CASES)
async def test_a_signed_message_counts_at_the_address_of_receipts(name, message) -> None:
    """Bird, Telnyx, Sinch and a topic of AWS have one webhook for both."""
    api = build_harness(name, signs=True)
    url = f"https://otp.example/v1/callbacks/{name}{message.url}"

    answer = await call(api, sign_message(name, replace(message, url=url)))

    assert INBOUND_VENDORS[name].answer == (answer.status_code, answer.content)
    assert [replace(INBOUND_VENDORS[name].message, is_signed=True)] == read_messages(api)


@pytest.mark.parametrize(("name", "message"), TOKEN_CASES)
async def test_an_unsigned_message_at_the_address_of_receipts_has_no_effect(name, message) -> None:
    """R64: also at the address of a submission. It is acknowledged and counted."""
    api = build_harness(name, signs=False)
    reference = test_other_events.REFERENCE
    addresses = [
        f"https://otp.example/v1/callbacks/{name}?{urlencode({'a': '1'})}",
        api.callback_urls.build_url(name, reference),
    ]

    for address in addresses:
        addressed = replace(
            message, url="&".join(each for each in (address, message.url[1:]) if each)
        )
        answer = await call(api, INBOUND_VENDORS[name].sign_unsigned(addressed))
        assert INBOUND_VENDORS[name].answer == (answer.status_code, answer.content)

    assert ([], [(name, "unsigned")] * 2) == (api.inbound_messages, api.rejected)


@pytest.mark.parametrize(("name", "message"), CASES)
async def test_neither_the_text_nor_the_token_is_in_a_log_or_an_answer(
    name, message, caplog
) -> None:
    """R68: with a right token and with a wrong one, which may be the right one of another service."""
    caplog.set_level("DEBUG")
    api = build_harness(name, signs=name == ONLY_SIGNED)
    told = ""

    for token in (TOKEN, "worthless-but-near"):
        addressed = address_message(name, message, token)
        sign = VENDORS[name].sign if name == ONLY_SIGNED else None
        answer = await call(api, (sign or INBOUND_VENDORS[name].sign_unsigned)(addressed))
        told += str(answer.headers) + answer.text

    ours = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    told += repr([(one.getMessage(), one.__dict__) for one in ours]) + repr(api.request_summaries)
    told += repr(api.rejected)
    assert 2 == len(api.request_summaries)
    assert not [secret for secret in (CANARY, PHONE, TOKEN, "worthless") if secret in told]


async def test_a_post_url_of_kannel_is_read() -> None:
    """Its text is the body, and it has no id."""
    api = build_harness("kannel", signs=False)

    answer = await call(api, address_message("kannel", KANNEL_POST, TOKEN))

    assert (200, b"") == (answer.status_code, answer.content)
    assert [expect_message(f"+{PHONE}", id="")] == read_messages(api)


@pytest.mark.parametrize("message", INBOUND_VENDORS[WITH_KEY].messages)
async def test_the_key_of_a_gateway_takes_the_place_of_a_signature(message) -> None:
    """Of messages alone: that of receipts does not count here, and a wrong one is counted."""
    receipt = ReceiptSettings("status", reference="ref", key=Secret(PREVIOUS), key_header="x-key")
    dialect = replace(create_gateway(key=Secret(TOKEN), key_header="x-key"), receipt=receipt)
    statuses = {}
    for key in (TOKEN, PREVIOUS, "wrong", ""):
        api = ApiHarness(callback_dialects={WITH_KEY: dialect})
        addressed = address_message(WITH_KEY, message)
        answer = await call(api, add_headers(addressed, {"x-key": key}))
        statuses[key] = (answer.status_code, len(api.inbound_messages), api.rejected)

    assert {
        TOKEN: (204, 1, []),
        PREVIOUS: (401, 0, [(WITH_KEY, "token")]),
        "wrong": (401, 0, [(WITH_KEY, "signature")]),
        "": (401, 0, [(WITH_KEY, "signature")]),
    } == statuses


async def test_a_vendor_without_messages_refuses_them() -> None:
    """SNS sends only; an unauthenticated caller learns nothing else."""
    dialect = replace(create_sns("https://sms.example"), inbound_token=Secret(TOKEN))
    api = ApiHarness(callback_dialects={"sns": dialect})

    for token, status in {"": 401, "wrong": 401, TOKEN: 400}.items():
        answer = await call(api, address_message("sns", build_json(JSON_OF_AWS), token))
        assert status == answer.status_code

    assert [] == api.inbound_messages
