"""Messages from phones as vendors document them, each with its dialect and its signature."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.gateway_inbound import InboundMessageSettings
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.provider_callbacks import (
    Callback,
)
from otp_service.sms.providers.generic_http import GenericHttp
from tests.sms.aws.sns_topic import NOW_MS, TOPIC_ARN, SnsTopic
from tests.sms.providers import (
    test_aws,
    test_bird,
    test_clickatell,
    test_jasmin,
    test_kannel,
    test_messagebird,
)
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.messagebird import create_messagebird


ADDRESS = "https://sms.example"
NOW_SECONDS = NOW_MS // 1000
CANARY = "864209"
"""A code that a person typed to the wrong place."""
TEXT = f"STOP {CANARY}"
SENDER, RECEIVER = "447400123456", "447400987654"
URL = "https://otp.example/v1/inbound/acme?token=worthless-token-of-an-address"

JSON_HEADERS = {"content-type": "application/json"}
FORM_HEADERS = {"content-type": "application/x-www-form-urlencoded"}


def build_json(event: object) -> Callback:
    """Build a POST of JSON, not yet signed."""
    return Callback("POST", URL, JSON_HEADERS, msgspec.json.encode(event), NOW_MS)


def build_form(fields: dict[str, str]) -> Callback:
    """Build a POST of a form, not yet signed."""
    return Callback("POST", URL, FORM_HEADERS, urlencode(fields).encode(), NOW_MS)


def build_get(fields: dict[str, str]) -> Callback:
    """Build a GET, not yet signed."""
    return Callback("GET", f"{URL}&{urlencode(fields)}", {}, b"", NOW_MS)


def add_headers(callback: Callback, headers: dict[str, str]) -> Callback:
    """Return the callback with more headers."""
    return replace(callback, headers={**callback.headers, **headers})


def build_post(body: bytes, **headers: str) -> Callback:
    """Build a POST as smsbox of Kannel does."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Callback("POST", URL, names, body, NOW_MS)


def sign_bird(callback: Callback) -> Callback:
    """Sign as Standard Webhooks does."""
    return add_headers(callback, test_bird.signed(callback.body, at=NOW_SECONDS))


def sign_messagebird(callback: Callback) -> Callback:
    """Sign address and body as MessageBird does."""
    signed = test_messagebird.signed(callback, at=NOW_SECONDS)
    return add_headers(callback, dict(signed.headers))


def sign_sns(callback: Callback) -> Callback:
    """Put it into a notification that a topic of SNS has signed."""
    topic = _create_topic()
    return replace(topic.build_callback(topic.build_notification(callback.json)), url=callback.url)


@functools.cache
def _create_topic() -> SnsTopic:
    return SnsTopic()


def keep_unsigned(callback: Callback) -> Callback:
    """Return the callback of a vendor that signs nothing: the address has a secret."""
    return callback


def sign_gateway(callback: Callback) -> Callback:
    """Put the secret of the gateway in the place of the token in the address."""
    url = callback.url.replace("token=worthless-token-of-an-address", f"key={GATEWAY_KEY}")
    return replace(callback, url=url)


GATEWAY_KEY = "worthless-key-of-a-gateway"
GATEWAY = GenericHttp(
    url=ADDRESS,
    fields={"to": "{to}"},
    receipt=ReceiptSettings("state", frozenset({"DELIVRD"}), failed=frozenset({"UNDELIV"})),
    inbound=InboundMessageSettings(
        sender="from",
        text="text",
        receiver="to",
        id="mo",
        key=Secret(GATEWAY_KEY),
        answer="RECEIVED",
    ),
)
JSON_GATEWAY = GenericHttp(
    url=ADDRESS,
    fields={"to": "{to}"},
    inbound_token=Secret("worthless-token-of-an-address"),
    inbound=InboundMessageSettings(
        sender="messages.0.from.number", text="messages.0.text", id="header:X-Message-Id"
    ),
)


class Vendor(NamedTuple):
    """A dialect, how its vendor signs, and what it answers to a message."""

    dialect: Any
    sign: Callable[[Callback], Callback]
    answer: tuple[int, bytes] = (204, b"")


VENDORS = {
    "messagebird": Vendor(
        create_messagebird(ADDRESS, signing_key=Secret(test_messagebird.KEY)),
        sign_messagebird,
        (200, b""),
    ),
    "bird": Vendor(create_bird(ADDRESS, webhook_secret=Secret(test_bird.SECRET)), sign_bird),
    "aws": Vendor(test_aws.settings(topic_arn=TOPIC_ARN), sign_sns),
    "clickatell": Vendor(test_clickatell.settings(), keep_unsigned),
    "kannel": Vendor(test_kannel.kannel(), keep_unsigned, (200, b"")),
    "jasmin": Vendor(test_jasmin.jasmin(), keep_unsigned, (200, b"ACK/Jasmin")),
    "gateway": Vendor(GATEWAY, sign_gateway, (200, b"RECEIVED")),
    "json-gateway": Vendor(JSON_GATEWAY, keep_unsigned),
    "header-gateway": Vendor(
        replace(
            JSON_GATEWAY,
            inbound=InboundMessageSettings(
                sender="header:X-From", text="text", receiver="header:X-To"
            ),
        ),
        keep_unsigned,
    ),
}
SIGNING_VENDORS = ("messagebird", "bird", "aws")

FLOW_FIELDS = {"originator": SENDER, "recipient": RECEIVER, "payload": TEXT, "id": "mo-1"}
WEBHOOK_FIELDS = {
    "id": "mo-1",
    "recipient": RECEIVER,
    "originator": SENDER,
    "body": TEXT,
    "createdDatetime": "2026-11-19T00:00:00+00:00",
}
BIRD_DATA = {
    "sms_id": "mo-1",
    "workspace_id": "ws_01krdgeqcxet5s7t44vh8rt9mg",
    "from": f"+{SENDER}",
    "to": f"+{RECEIVER}",
    "text": TEXT,
    "segments": {"count": 1, "encoding": "GSM_7BIT"},
    "country_code": "GB",
}
AWS_FIELDS = {
    "originationNumber": f"+{SENDER}",
    "destinationNumber": f"+{RECEIVER}",
    "messageKeyword": "KEYWORD_123456789012",
    "messageBody": TEXT,
    "inboundMessageId": "mo-1",
    "previousPublishedMessageId": "wJalrXUtnFEMI",
}
CLICKATELL_ITEM = {
    "channel": "sms",
    "messageId": "mo-1",
    "relatedMessageId": "d0c2a1",
    "relatedClientMessageId": "ref-3f9",
    "from": SENDER,
    "to": RECEIVER,
    "timestamp": 1553104954322,
    "encryptionKey": None,
    "charset": "UTF-8",
    "content": TEXT,
    "sms": {"network": "655-07"},
}
KANNEL_FIELDS = {"from": SENDER, "to": RECEIVER, "text": TEXT, "id": "mo-1", "charset": "UTF-8"}
KANNEL_HEADERS = {
    "content_type": 'text/plain; charset="UTF-8"',
    "x_kannel_from": SENDER,
    "x_kannel_to": RECEIVER,
    "x_kannel_time": "2026-11-30 14:48:29",
    "x_kannel_smsc": "FAKE",
    "x_kannel_coding": "0",
    "x_kannel_service": "default",
}


JASMIN_FIELDS = {
    "id": "mo-1",
    "from": SENDER,
    "to": RECEIVER,
    "origin-connector": "smsc-1",
    "priority": "0",
    "coding": "\x00",
    "content": TEXT,
    "binary": TEXT.encode().hex(),
}
GATEWAY_FIELDS = {"from": SENDER, "to": RECEIVER, "text": TEXT, "mo": "mo-1"}
GATEWAY_EVENT = {"messages": [{"from": {"number": int(SENDER)}, "text": TEXT}]}


def build_bird_event(**changes: object) -> dict[str, object]:
    """Return an sms.received event of Bird."""
    return {
        "type": "sms.received",
        "timestamp": "2026-11-19T00:00:00Z",
        "data": BIRD_DATA | changes,
    }


def build_clickatell_event(*items: object, **more: object) -> dict[str, object]:
    """Return a callback of Clickatell with these items."""
    event = {"moText": [*items], **more}
    return {"integrationId": "ff80", "integrationName": "otp", "event": event}


DIGITS = InboundMessage(SENDER, TEXT, RECEIVER, "mo-1")
E164 = InboundMessage(f"+{SENDER}", TEXT, f"+{RECEIVER}", "mo-1", is_signed=True)
DOCUMENTED = [
    ("messagebird", build_form(FLOW_FIELDS), replace(DIGITS, is_signed=True)),
    ("messagebird", build_json(FLOW_FIELDS), replace(DIGITS, is_signed=True)),
    ("messagebird", build_get(FLOW_FIELDS), replace(DIGITS, is_signed=True)),
    ("messagebird", build_form(WEBHOOK_FIELDS), replace(DIGITS, is_signed=True)),
    (
        "messagebird",
        build_get({"receiver": RECEIVER, "originator": SENDER, "body": TEXT, "id": "mo-1"}),
        replace(DIGITS, is_signed=True),
    ),
    (
        "messagebird",
        build_json(FLOW_FIELDS | {"originator": int(SENDER), "recipient": int(RECEIVER)}),
        replace(DIGITS, is_signed=True),
    ),
    ("bird", build_json(build_bird_event()), E164),
    (
        "bird",
        build_json(
            {
                "type": "sms.received",
                "data": {name: value for name, value in BIRD_DATA.items() if name != "text"},
            }
        ),
        replace(E164, text=""),
    ),
    ("bird", build_json(build_bird_event(text=None)), replace(E164, text="")),
    ("aws", build_json(AWS_FIELDS), E164),
    ("clickatell", build_json(build_clickatell_event(CLICKATELL_ITEM)), DIGITS),
    ("kannel", build_get(KANNEL_FIELDS), DIGITS),
    ("kannel", build_post(TEXT.encode(), **KANNEL_HEADERS), replace(DIGITS, id="")),
    ("jasmin", build_form(JASMIN_FIELDS), DIGITS),
    ("jasmin", build_get(JASMIN_FIELDS), DIGITS),
    ("gateway", build_form(GATEWAY_FIELDS), replace(DIGITS, is_signed=True)),
    ("gateway", build_get(GATEWAY_FIELDS), replace(DIGITS, is_signed=True)),
    ("gateway", build_json(GATEWAY_FIELDS), replace(DIGITS, is_signed=True)),
    (
        "gateway",
        build_form({**GATEWAY_FIELDS, "state": "RECEIVED"}),
        replace(DIGITS, is_signed=True),
    ),
    (
        "json-gateway",
        add_headers(build_json(GATEWAY_EVENT), {"x-message-id": "mo-1"}),
        replace(DIGITS, receiver=""),
    ),
    ("json-gateway", build_json(GATEWAY_EVENT), replace(DIGITS, receiver="", id="")),
    (
        "header-gateway",
        add_headers(build_form({"text": TEXT}), {"x-from": SENDER, "x-to": RECEIVER}),
        replace(DIGITS, id=""),
    ),
]

OTHER_EVENTS = [
    ("messagebird", build_form({"payload": TEXT, "recipient": RECEIVER, "id": "1"})),
    ("messagebird", build_form({"originator": SENDER, "recipient": RECEIVER, "id": "1"})),
    ("messagebird", build_form({**FLOW_FIELDS, "originator": ""})),
    ("messagebird", build_form({**FLOW_FIELDS, "status": "of next year"})),
    ("messagebird", build_json({"of": {"next": "year"}, "payload": TEXT})),
    ("messagebird", build_json({**FLOW_FIELDS, "payload": {"text": TEXT}})),
    ("bird", build_json({"type": "email.received", "data": BIRD_DATA})),
    ("bird", build_json({"type": "SMS.RECEIVED", "data": BIRD_DATA})),
    ("bird", build_json({"type": ["sms.received"], "data": BIRD_DATA})),
    ("aws", build_json({**AWS_FIELDS, "eventType": "VOICE_ANSWERED"})),
    ("aws", build_json({"messageBody": TEXT, "destinationNumber": RECEIVER})),
    ("aws", build_json([AWS_FIELDS])),
    ("aws", build_json(TEXT)),
    ("clickatell", build_json({"integrationId": "1", "event": {"ofNextYear": [TEXT]}})),
    ("clickatell", build_json(build_clickatell_event({**CLICKATELL_ITEM, "channel": "whatsapp"}))),
    ("clickatell", build_json(build_clickatell_event())),
    ("kannel", build_get({"from": SENDER, "text": TEXT})),
    ("kannel", build_get({"from": SENDER, "to": RECEIVER})),
    ("kannel", build_get({**KANNEL_FIELDS, "type": "64"})),
    ("jasmin", build_form({**JASMIN_FIELDS, "from": ""})),
    ("jasmin", build_form({"id": "mo-1", "from": SENDER, "to": RECEIVER})),
    ("jasmin", build_form({**JASMIN_FIELDS, "message_status": "of next year"})),
    ("gateway", build_form({**GATEWAY_FIELDS, "text": ""})),
    ("gateway", build_form({**GATEWAY_FIELDS, "from": ""})),
    ("gateway", build_json({**GATEWAY_FIELDS, "text": {"body": TEXT}})),
    ("gateway", build_json([GATEWAY_FIELDS])),
    ("json-gateway", build_json({"messages": []})),
    ("json-gateway", build_form(GATEWAY_FIELDS)),
]
"""Almost messages."""

UNREADABLE_EVENTS = [
    ("bird", build_json({"type": "sms.received"})),
    ("bird", build_json({"type": "sms.received", "data": TEXT})),
    ("bird", build_json({"type": "sms.received", "data": {"text": TEXT}})),
    ("bird", build_json(build_bird_event(**{"from": int(SENDER)}))),
    ("bird", build_json(build_bird_event(text=[TEXT]))),
    ("aws", build_json({**AWS_FIELDS, "originationNumber": None, "messageBody": 7})),
    ("aws", build_json({**AWS_FIELDS, "originationNumber": [SENDER]})),
    ("aws", build_json({**AWS_FIELDS, "messageBody": {"text": TEXT}})),
    ("kannel", build_get({})),
    ("jasmin", build_get({})),
    ("json-gateway", Callback("POST", URL, JSON_HEADERS, TEXT.encode(), NOW_MS)),
]
"""Messages that lack something."""
