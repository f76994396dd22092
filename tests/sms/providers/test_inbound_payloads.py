"""Messages from phones as vendors document them: their fields, signatures and answers, and their errors."""

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.gateway_inbound import InboundMessageSettings
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.providers import aws, bird, clickatell
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
TOPIC = SnsTopic()

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
    return replace(TOPIC.build_callback(TOPIC.build_notification(callback.json)), url=callback.url)


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


@pytest.mark.parametrize(("name", "callback", "expected"), DOCUMENTED)
def test_a_documented_message_is_read(name, callback, expected):
    """Its numbers as the vendor writes them, its text and its id; signed only where the vendor signs."""
    vendor = VENDORS[name]

    assert [expected] == vendor.dialect.parse_callback(vendor.sign(callback))


@pytest.mark.parametrize(
    ("name", "callback"),
    [(name, callback) for name, callback, _ in DOCUMENTED if name in SIGNING_VENDORS],
)
def test_a_message_with_another_text_or_without_a_signature_is_refused(name, callback):
    """R64: a forged sender would stop the codes of another person."""
    vendor = VENDORS[name]
    signed = vendor.sign(callback)
    changed = replace(
        signed,
        url=signed.url.replace(SENDER, "447400123457"),
        body=signed.body.replace(SENDER.encode(), b"447400123457"),
    )
    unsigned = replace(signed, headers=callback.headers, certificates={})

    for forged in (changed, unsigned):
        with pytest.raises(CallbackSignatureError):
            vendor.dialect.parse_callback(forged)


@pytest.mark.parametrize("name", ["messagebird", "bird"])
def test_without_the_vendors_key_a_message_is_not_signed(name):
    """It then needs the secret in the address (R64)."""
    callback = next(callback for each, callback, _ in DOCUMENTED if each == name)
    dialect = {"messagebird": create_messagebird(ADDRESS), "bird": create_bird(ADDRESS)}[name]

    (message,) = dialect.parse_callback(callback)

    assert not message.is_signed


@pytest.mark.parametrize("name", VENDORS)
def test_the_answer_to_a_message_is_exactly_what_the_vendor_needs(name):
    """Kannel would send any text to the phone, and Jasmin repeats a message without its word."""
    assert VENDORS[name].answer == VENDORS[name].dialect.inbound_acknowledgement


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


@pytest.mark.parametrize(("name", "callback"), OTHER_EVENTS)
def test_an_event_that_is_almost_a_message_is_another_event(name, callback):
    """Vendors add events, so these are acknowledged and counted (R64)."""
    vendor = VENDORS[name]

    assert [SkippedEvent.OTHER] == vendor.dialect.parse_callback(vendor.sign(callback))


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


@pytest.mark.parametrize(("name", "callback"), UNREADABLE_EVENTS)
def test_a_message_that_lacks_something_cannot_be_read(name, callback):
    """It says what it is: the vendor has changed its format, and an operator has to know."""
    vendor = VENDORS[name]

    with pytest.raises(UnreadableCallback):
        vendor.dialect.parse_callback(vendor.sign(callback))


@pytest.mark.parametrize(
    "broken",
    [
        7,
        None,
        {},
        {"content": TEXT},
        {"from": SENDER},
        {**CLICKATELL_ITEM, "from": int(SENDER)},
        {**CLICKATELL_ITEM, "content": None},
    ],
)
def test_an_unreadable_message_of_clickatell_loses_no_other(broken):
    """A callback may have several, and receipts with them."""
    update = {"messageId": "m-1", "status": "READ"}
    event = build_clickatell_event(broken, CLICKATELL_ITEM, messageStatusUpdate=[update])

    receipt, *parts = test_clickatell.settings().parse_callback(build_json(event))

    assert "delivered" == receipt.status
    assert [SkippedEvent.UNREADABLE, DIGITS] == parts


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"ARR%C3%8AT", "UTF-8", "ARRÊT"),
        (b"ARR%CAT", "ISO-8859-1", "ARRÊT"),
        (b"%80", "WINDOWS-1252", "€"),
        (b"%00A%00R%00R%00%CA%00T", "UTF-16BE", "ARRÊT"),
        (b"%00S%00T%00O%00P%00++!", "UTF-16BE", "STOP \u2021"),
        (b"+%20STOP+", "utf-8", "  STOP "),
        (b"STOP%00%FF", "8-BIT", ""),  # binary, coding 1
        (b"STO", "UTF-16BE", ""),
        (b"%FF", "UTF-8", ""),
        (b"STOP", "idna", ""),
        (b"STOP", "unicode_escape", ""),
        (b"STOP", "", ""),
    ],
)
def test_a_text_of_kannel_is_decoded_by_its_charset(octets, charset, text):
    """As smsbox 1.4.5 writes %b and %C; a charset that it does not know is no text."""
    base = f"{URL}&from=%2B{SENDER}&to={RECEIVER}&charset={quote(charset)}&text="
    callback = Callback("GET", base + octets.decode(), {}, b"", NOW_MS)

    (message,) = test_kannel.kannel().parse_callback(callback)

    assert (f"+{SENDER}", text) == (message.sender, message.text)


@pytest.mark.parametrize(
    ("octets", "content_type", "text"),
    [
        ("ARRÊT".encode(), 'text/plain; charset="UTF-8"', "ARRÊT"),
        ("ARRÊT".encode("utf-16-be"), 'text/plain; charset="UTF-16BE"', "ARRÊT"),
        ("ARRÊT".encode("latin-1"), "text/plain;charset=iso-8859-1", "ARRÊT"),
        (b"STOP\x00\xff", "application/octet-stream", ""),
        (b"STO", 'text/plain; charset="UTF-16BE"', ""),
        (b"STOP", "text/plain", ""),
        (b"STOP", 'text/html; charset="UTF-8"', ""),
        (b"STOP", 'text/plain; charset="rot13"', ""),
        (b"", 'text/plain; charset="UTF-8"', ""),
    ],
)
def test_a_posted_text_of_kannel_is_decoded_by_its_content_type(octets, content_type, text):
    """As smsbox 1.4.5 posts it; binary messages are octet streams."""
    callback = build_post(octets, **{**KANNEL_HEADERS, "content_type": content_type})

    assert [replace(DIGITS, text=text, id="")] == test_kannel.kannel().parse_callback(callback)


def test_a_message_of_kannel_without_its_sender_is_skipped_and_not_refused():
    """Without `send-sender`: smsbox may send a phone a text of its own for any other answer than 200."""
    headers = {name: value for name, value in KANNEL_HEADERS.items() if name != "x_kannel_from"}
    callbacks = [build_post(TEXT.encode(), **headers), build_get({**KANNEL_FIELDS, "from": ""})]

    parts = [test_kannel.kannel().parse_callback(callback) for callback in callbacks]

    assert [[SkippedEvent.UNREADABLE]] * 2 == parts


def test_a_report_of_kannel_is_a_receipt_whatever_it_looks_like():
    """The address of a report has a parameter of ours, so a report is never taken for a message."""
    report = build_get({"type": "1", "fid": "1426e7ce", "from": SENDER, "to": "1", "text": "STOP"})
    posted = build_post(b"STOP", **KANNEL_HEADERS)

    for callback in (report, replace(posted, url=f"{URL}&type=1&fid=1426e7ce")):
        (receipt,) = test_kannel.kannel().parse_callback(callback)
        assert ("delivered", "1426e7ce") == (receipt.status, receipt.message_id)


@pytest.mark.parametrize(
    ("coding", "octets", "text"),
    [
        ("", b"STOP", "STOP"),
        ("%00", b"ARR\x1fT", "ARRÉT"),  # GSM 03.38
        ("0", b"STOP", "STOP"),
        ("%08", "ARRÊT".encode("utf-16-be"), "ARRÊT"),
        ("8", "ARRÊT".encode("utf-16-be"), "ARRÊT"),
        ("%03", "ARRÊT".encode("latin-1"), "ARRÊT"),
        ("%F0", b"STOP", "STOP"),
        ("240", b"STOP", "STOP"),
        ("%F4", b"STOP", ""),  # 8-bit data
        ("%04", b"STOP", ""),
        ("999", b"STOP", "STOP"),
        ("UCS2", b"STOP", "STOP"),
        ("8", b"\0S\0T\0", "ST\ufffd"),
        ("0", b"", ""),
    ],
)
def test_a_text_of_jasmin_is_decoded_by_its_coding(coding, octets, text):
    """Jasmin writes the octet of data_coding where its documentation has a number."""
    body = f"from={SENDER}&to={RECEIVER}&id=mo-1&content=x&coding={coding}&binary={octets.hex()}"
    if not coding:
        body = body.replace("&coding=", "")
    callback = Callback("POST", URL, FORM_HEADERS, body.encode(), NOW_MS)

    assert [replace(DIGITS, text=text)] == test_jasmin.jasmin().parse_callback(callback)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("content=%00S%00T%00O%00P&coding=%08", "STOP"),
        ("content=ARR%1FT", "ARRÉT"),
        ("content=ARR%CAT&coding=%03", "ARRÊT"),
    ],
)
def test_a_message_of_an_old_jasmin_is_read_from_its_content(more, text):
    """It has no `binary`; the octets are not UTF-8."""
    body = f"from={SENDER}&to={RECEIVER}&id=mo-1&{more}".encode()
    posted = Callback("POST", URL, FORM_HEADERS, body, NOW_MS)
    got = Callback("GET", f"{URL}&{body.decode()}", {}, b"", NOW_MS)

    for callback in (posted, got):
        assert [replace(DIGITS, text=text)] == test_jasmin.jasmin().parse_callback(callback)


@pytest.mark.parametrize("binary", ["53544", "STOP", "0x53", "5354\u0664"])
def test_a_message_of_jasmin_that_is_not_hexadecimal_is_skipped(binary):
    """After any other answer than its word it would be repeated three times."""
    callback = build_form({**JASMIN_FIELDS, "binary": binary})

    assert [SkippedEvent.UNREADABLE] == test_jasmin.jasmin().parse_callback(callback)


@pytest.mark.parametrize(("name", "callback", "expected"), DOCUMENTED)
def test_a_long_message_of_a_person_is_read_whole(name, callback, expected):
    """Vendors join the parts, and nobody here shortens what is compared as a whole."""
    callback = replace(
        callback,
        url=callback.url.replace(CANARY.encode().hex(), "78" * 9_000),
        body=callback.body.replace(CANARY.encode().hex().encode(), b"78" * 80_000),
    )
    longer = replace(
        callback,
        url=callback.url.replace(CANARY, "x" * 9_000),
        body=callback.body.replace(CANARY.encode(), b"x" * 200_000),
    )
    vendor = VENDORS[name]

    (message,) = vendor.dialect.parse_callback(vendor.sign(longer))

    assert len(message.text) > 9_000 or not expected.text


PERSONAL = (CANARY, SENDER, RECEIVER)


@pytest.mark.parametrize(
    ("name", "callback"),
    [(name, callback) for name, callback, _ in DOCUMENTED] + OTHER_EVENTS + UNREADABLE_EVENTS,
)
def test_no_part_and_no_error_shows_a_text_or_a_number(name, callback, caplog):
    """R68: in no form in which a log line, a trace or a traceback would print it."""
    caplog.set_level("DEBUG")
    vendor = VENDORS[name]
    signed = vendor.sign(callback)
    shown = f"{signed!r} {signed.__rich_repr__()}"
    try:
        parts = vendor.dialect.parse_callback(signed)
    except UnreadableCallback as error:
        shown += "".join(traceback.format_exception(error)) + repr(error)
    else:
        shown += "".join(f"{part!r} {part}" for part in parts)
        shown += "".join(
            repr(part.__rich_repr__()) for part in parts if isinstance(part, InboundMessage)
        )

    assert not [each for each in PERSONAL if each in shown + caplog.text]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (bird._InboundBody, BIRD_DATA),
        (bird._EventBody, {"type": "sms.received", "data": BIRD_DATA}),
        (aws._InboundBody, AWS_FIELDS),
        (aws._EventBody, AWS_FIELDS),
        (clickatell._InboundBody, CLICKATELL_ITEM),
        (clickatell._CallbackBody, build_clickatell_event(CLICKATELL_ITEM)),
    ],
)
def test_no_decoded_body_shows_a_text_or_a_number(kind, fields):
    """R68: an error reporter shows the values of variables."""
    body = msgspec.json.decode(msgspec.json.encode(fields), type=kind)

    assert not [each for each in PERSONAL if each in f"{body!r} {body.__rich_repr__()}"]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.text(max_size=5), max_size=2),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
JSON_PAYLOADS = {
    "messagebird": FLOW_FIELDS,
    "bird": BIRD_DATA,
    "aws": AWS_FIELDS,
    "clickatell": CLICKATELL_ITEM,
    "gateway": GATEWAY_FIELDS,
}


@pytest.mark.parametrize("name", JSON_PAYLOADS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_refused_by_the_contract(name, data):
    """Never another exception, which would be a 500, and the vendor would repeat it for days."""
    fields = dict(JSON_PAYLOADS[name])
    for field in data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=3)):
        fields[field] = data.draw(VALUES)
    event = {
        "bird": {"type": "sms.received", "data": fields},
        "clickatell": build_clickatell_event(fields),
    }.get(name, fields)
    vendor = VENDORS[name]

    try:
        parts = vendor.dialect.parse_callback(vendor.sign(build_json(event)))
    except UnreadableCallback:
        return

    assert parts
    for part in parts:
        assert isinstance(part, SkippedEvent) or all(
            isinstance(each, str) for each in (part.sender, part.text, part.receiver, part.id)
        )
