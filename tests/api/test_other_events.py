"""Other events and messages, as each vendor signs them: acknowledged, and their text is nowhere (R64, R65)."""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import httpx
import msgspec
import pytest
from msgspec.structs import replace
from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3
from twilio.request_validator import RequestValidator
from vonage import Auth

from otp_service.core.secret import Secret
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.provider_callbacks import Callback
from otp_service.sms.providers.generic_http import GenericHttp
from tests.api.fakes import ApiHarness
from tests.sms.aws.sns_topic import NOW_MS, TOPIC_ARN, SnsTopic
from tests.sms.providers import (
    test_aws,
    test_bird,
    test_clickatell,
    test_jasmin,
    test_kannel,
    test_messagebird,
    test_sinch,
    test_telnyx,
    test_twilio,
    test_vonage,
    test_vonage_messages,
)
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.messagebird import create_messagebird
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.sinch import create_sinch
from tests.sms.providers.contracts.telnyx import create_telnyx


ADDRESS = "https://sms.example"
NOW_SECONDS = NOW_MS // 1000
CANARY = "864209"
"""A code that a person typed to the wrong place."""
TEXT = f"STOP {CANARY}"
FROM, TO = "447400123456", "447400987654"
REFERENCE = "shop.c07-5d41402abc4b2a76b9719d911017c592.1.1"
GATEWAY_KEY = "worthless-key-of-a-gateway"
TOPIC = SnsTopic()


def build_json(event: object) -> Callback:
    """Build a POST of JSON, not yet signed."""
    headers = {"content-type": "application/json"}
    return Callback("POST", "", headers, msgspec.json.encode(event), NOW_MS)


def build_form(**fields: str) -> Callback:
    """Build a POST of a form, not yet signed."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Callback("POST", "", headers, urlencode(fields).encode(), NOW_MS)


def build_get(**fields: str) -> Callback:
    """Build a GET, not yet signed."""
    return Callback("GET", f"?{urlencode(fields)}", {}, b"", NOW_MS)


def add_headers(callback: Callback, headers: dict[str, str]) -> Callback:
    """Return the callback with more headers."""
    return replace(callback, headers={**callback.headers, **headers})


def sign_twilio(callback: Callback) -> Callback:
    """Sign as Twilio's SDK does."""
    fields = dict(parse_qsl(callback.text))
    signature = RequestValidator("12345").compute_signature(callback.url, fields)
    return add_headers(callback, {"x-twilio-signature": signature})


def sign_plivo(callback: Callback) -> Callback:
    """Sign as Plivo's SDK does, with the version that its messages have."""
    if callback.method == "GET":
        text = construct_get_url(callback.url, {})
    else:
        text = construct_post_url(callback.url, dict(parse_qsl(callback.text)))
    mac = get_signature_v3("t0ken", text.decode() if isinstance(text, bytes) else text, "1")
    signature = mac.decode() if isinstance(mac, bytes) else mac
    headers = {"x-plivo-signature-ma-v3": signature, "x-plivo-signature-v3-nonce": "1"}
    return add_headers(callback, headers)


def sign_vonage(callback: Callback) -> Callback:
    """Sign the fields as Vonage's SDK does."""
    auth = Auth(api_key="abcd1234", signature_secret="signs", signature_method="sha256")
    fields = {**callback.flat_fields, "timestamp": str(NOW_SECONDS)}
    fields["sig"] = auth.sign_params(dict(fields))
    if callback.method == "GET":
        return replace(callback, url=f"{callback.url.partition('?')[0]}?{urlencode(fields)}")
    return replace(callback, body=msgspec.json.encode(fields))


def sign_vonage_messages(callback: Callback) -> Callback:
    """Sign with a token as Vonage does."""
    signed = test_vonage_messages.signed(callback.body, iat=NOW_SECONDS)
    return add_headers(callback, dict(signed.headers))


def sign_messagebird(callback: Callback) -> Callback:
    """Sign address and body as MessageBird does."""
    signed = test_messagebird.signed(callback, at=NOW_SECONDS)
    return add_headers(callback, dict(signed.headers))


def sign_telnyx(callback: Callback) -> Callback:
    """Sign as Telnyx does."""
    return add_headers(callback, test_telnyx.signed(callback.body, at=NOW_SECONDS))


def sign_bird(callback: Callback) -> Callback:
    """Sign as Standard Webhooks does."""
    return add_headers(callback, test_bird.signed(callback.body, at=NOW_SECONDS))


def sign_sinch(callback: Callback) -> Callback:
    """Sign as Sinch does."""
    return add_headers(callback, test_sinch.signed(callback.body, at=NOW_SECONDS))


def sign_sns(callback: Callback) -> Callback:
    """Put it into a notification that a topic of SNS has signed."""
    return replace(TOPIC.build_callback(TOPIC.build_notification(callback.json)), url=callback.url)


def sign_gateway(callback: Callback) -> Callback:
    """Add the secret of a gateway."""
    return add_headers(callback, {"x-key": GATEWAY_KEY})


class Vendor(NamedTuple):
    """A dialect, how its vendor signs, and events that are no receipts."""

    dialect: Any
    sign: Callable[[Callback], Callback] | None
    """None for a vendor that signs nothing: the token of the address proves its callbacks."""
    events: list[Callback]
    answer: tuple[int, bytes] = (204, b"")
    messages: tuple[Callback, ...] = ()
    """Messages from phones."""


MO_FIELDS = {"From": FROM, "To": TO, "Body": TEXT, "MessageSid": test_twilio.SID}
MO_VONAGE = {"msisdn": FROM, "to": TO, "text": TEXT, "messageId": "0A01", "type": "text"}
MO_PLIVO = {"From": FROM, "To": TO, "Text": TEXT, "Type": "sms", "MessageUUID": "1"}
MO_INFOBIP = {"from": FROM, "to": TO, "text": TEXT, "messageId": "1", "receivedAt": "2026"}
VENDORS = {
    "twilio": Vendor(
        test_twilio.twilio(),
        sign_twilio,
        [build_form(EventOfNextYear=TEXT)],
        messages=(
            build_form(**MO_FIELDS, SmsStatus="received", NumMedia="0"),
            build_get(**MO_FIELDS, SmsStatus="received"),
        ),
    ),
    "vonage": Vendor(
        test_vonage.vonage(),
        sign_vonage,
        [build_json({"event-of-next-year": TEXT})],
        (200, b""),
        messages=(
            build_json({**MO_VONAGE, "keyword": "STOP", "message-timestamp": "2026-11-30"}),
            build_get(**MO_VONAGE, concat="true"),
        ),
    ),
    "vonage-messages": Vendor(
        test_vonage_messages.messages(),
        sign_vonage_messages,
        [
            build_json({"message_uuid": "1", "from": FROM, "to": TO, "text": TEXT}),
            build_json({"direction": "inbound", "message": {"content": {"text": TEXT}}}),
            build_json({"status": {"of": "next year"}, "text": TEXT}),
        ],
        (200, b""),
        messages=(
            build_json({"message_uuid": "1", "channel": "sms", "from": FROM, "text": TEXT}),
            build_json(
                {
                    "direction": "inbound",
                    "from": {"type": "sms", "number": FROM},
                    "message": {"content": {"text": TEXT}},
                }
            ),
        ),
    ),
    "sinch": Vendor(
        create_sinch(ADDRESS, signing_secret=Secret(test_sinch.SECRET)),
        sign_sinch,
        [build_json({"type": ["of next year"], "body": TEXT})],
        messages=(
            build_json({"type": "mo_text", "from": FROM, "to": TO, "body": TEXT, "id": "1"}),
        ),
    ),
    "telnyx": Vendor(
        create_telnyx(ADDRESS, public_key=test_telnyx.PUBLIC_KEY),
        sign_telnyx,
        [build_json({"data": [{"of": "next year", "text": TEXT}]})],
        messages=(
            build_json(
                {
                    "data": {
                        "event_type": "message.received",
                        "payload": {"from": {"phone_number": FROM}, "text": TEXT, "id": "1"},
                    }
                }
            ),
        ),
    ),
    "plivo": Vendor(
        create_plivo(ADDRESS),
        sign_plivo,
        [build_form(EventOfNextYear=TEXT)],
        messages=(build_form(**MO_PLIVO), build_get(**MO_PLIVO)),
    ),
    "messagebird": Vendor(
        create_messagebird(ADDRESS, signing_key=Secret(test_messagebird.KEY)),
        sign_messagebird,
        [
            build_form(of_next_year=TEXT, payload=TEXT),
            build_get(of_next_year=TEXT, payload=TEXT),
            build_json({"of": {"next": "year"}, "payload": TEXT}),
        ],
        (200, b""),
    ),
    "bird": Vendor(
        create_bird(ADDRESS, webhook_secret=Secret(test_bird.SECRET)),
        sign_bird,
        [
            build_json({"type": "sms.of_next_year", "data": {"from": FROM, "text": TEXT}}),
            build_json({"type": 7, "data": TEXT}),
        ],
    ),
    "aws": Vendor(
        test_aws.settings(topic_arn=TOPIC_ARN),
        sign_sns,
        [
            build_json({"ofNextYear": FROM, "messageBody": TEXT}),
            build_json({"eventType": "OF_NEXT_YEAR", "messageBody": TEXT}),
        ],
    ),
    "infobip": Vendor(
        create_infobip(ADDRESS),
        None,
        [build_json({"event": "of next year", "text": TEXT})],
        messages=(
            build_json({"results": [MO_INFOBIP], "messageCount": 1, "pendingMessageCount": 0}),
        ),
    ),
    "clickatell": Vendor(
        test_clickatell.settings(),
        None,
        [
            build_json({"event": {"moMedia": [{"from": FROM, "to": TO, "caption": TEXT}]}}),
            build_json({"event": {"ofNextYear": TEXT}}),
        ],
    ),
    "kannel": Vendor(
        test_kannel.kannel(),
        None,
        [
            build_get(of_next_year=FROM, text=TEXT),
            build_get(type="64", text=TEXT),
        ],
        (200, b""),
    ),
    "jasmin": Vendor(
        test_jasmin.jasmin(),
        None,
        [build_form(event=TEXT), build_get(event=TEXT)],
        (200, b"ACK/Jasmin"),
    ),
    "gateway": Vendor(
        GenericHttp(
            url=ADDRESS,
            fields={"to": "{to}"},
            receipt=ReceiptSettings(
                "status", reference="ref", key=Secret(GATEWAY_KEY), key_header="x-key"
            ),
        ),
        sign_gateway,
        [build_form(sender=FROM, text=TEXT), build_get(text=TEXT), build_json({"text": TEXT})],
    ),
}
EVENTS = [(name, event) for name, vendor in VENDORS.items() for event in vendor.events]
MESSAGES = [(name, each) for name, vendor in VENDORS.items() for each in vendor.messages]


def build_harness(name: str) -> ApiHarness:
    """Build the API with this vendor alone, at the instant of the signatures."""
    certificate = httpx.MockTransport(lambda _: httpx.Response(200, content=TOPIC.pem))
    return ApiHarness(
        now=lambda: NOW_MS,
        callback_dialects={name: VENDORS[name].dialect},
        certificates=CertificateCache(certificate, clock=lambda: 0.0),
    )


def address_event(api: ApiHarness, name: str, event: Callback) -> Callback:
    """Return the event at the public address where its vendor calls."""
    if VENDORS[name].sign is None:
        query = f"&{event.url[1:]}" if event.url else ""
        return replace(event, url=api.callback_urls.build_url(name, REFERENCE) + query)
    return replace(event, url=f"https://otp.example/v1/callbacks/{name}{event.url}")


def sign_event(api: ApiHarness, name: str, event: Callback) -> Callback:
    """Return the event as its vendor sends it."""
    addressed, sign = address_event(api, name, event), VENDORS[name].sign
    return sign(addressed) if sign else addressed


async def call(api: ApiHarness, callback: Callback) -> httpx.Response:
    """Call the API with it."""
    path = callback.url.removeprefix("https://otp.example")
    return await api.call_public(
        callback.method, path, key="", headers=callback.headers, content=callback.body
    )


@pytest.mark.parametrize(("name", "event"), EVENTS)
async def test_it_is_acknowledged_and_counted_and_its_text_is_nowhere(name, event, caplog) -> None:
    """R64, R68: the service is not called, so nothing is stored and no event is written."""
    caplog.set_level("DEBUG")
    api = build_harness(name)

    answer = await call(api, sign_event(api, name, event))

    assert VENDORS[name].answer == (answer.status_code, answer.content)
    assert answer.headers.get("content-type", "text/plain").startswith("text/plain")
    assert ([(name, "other")], []) == (api.rejected, api.service.calls)
    assert_text_is_nowhere(api, answer, caplog)


@pytest.mark.parametrize(("name", "message"), MESSAGES)
async def test_a_message_is_acknowledged_and_its_text_is_nowhere(name, message, caplog) -> None:
    """R64, R68: an empty body, so that nothing is sent to the phone."""
    caplog.set_level("DEBUG")
    api = build_harness(name)

    answer = await call(api, sign_event(api, name, message))

    assert VENDORS[name].answer == (answer.status_code, answer.content)
    assert VENDORS[name].answer == VENDORS[name].dialect.inbound_acknowledgement
    assert b"" == answer.content
    assert not {reason for _, reason in api.rejected} & {"unreadable", "signature", "internal"}
    assert_text_is_nowhere(api, answer, caplog)


def assert_text_is_nowhere(api: ApiHarness, answer: httpx.Response, caplog: Any) -> None:
    """Check log lines, spans, calls of the service and the headers of the answer."""
    ours = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    told = repr([(one.getMessage(), one.__dict__) for one in ours])
    shown = repr(api.request_summaries) + repr(api.service.calls)
    assert CANARY not in told + shown + str(answer.headers)


@pytest.mark.parametrize(("name", "event"), EVENTS + MESSAGES)
async def test_a_forged_one_is_401_and_counted(name, event) -> None:
    """R64: without a signature, and where one is of another text or address."""
    api = build_harness(name)
    signed = sign_event(api, name, event)
    forged = [
        replace(
            signed,
            url=signed.url.replace(CANARY, "864208"),
            body=signed.body.replace(CANARY.encode(), b"864208"),
        ),
        replace(
            signed,
            headers={"content-type": signed.headers.get("content-type", "text/plain")},
            url=signed.url.replace("sig=", "no="),
            body=signed.body.replace(b'"sig"', b'"no"').replace(b'"Signature"', b'"no"'),
        ),
    ]
    if VENDORS[name].sign is None:
        forged = [replace(signed, url=signed.url.replace("token=1%3A", "token=1%3A0"))]
    elif name == "gateway":  # its secret is of the caller and of no text
        forged = forged[1:]

    for each in forged:
        answer = await call(api, each)
        unsigned_sns = name == "aws" and b'"no"' in each.body
        assert (400 if unsigned_sns else 401) == answer.status_code, answer.text

    assert [] == api.service.calls
    assert "other" not in {reason for _, reason in api.rejected}
    assert len(forged) == len(api.rejected)
