"""What vendors without a type of their own need: templates, words for no, plain text, receipts."""

import re
import tomllib
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest

from otp_service.core.delivery import Accepted, Fault, Receipt, RefusalScope, Refused
from otp_service.core.inbound import InboundMessage
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.settings.provider_rules import find_provider_errors
from otp_service.sms.gateway_inbound import InboundMessageSettings
from otp_service.sms.gateway_receipts import ReceiptSettings
from otp_service.sms.http_provider import HttpReply
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.providers import Provider
from otp_service.sms.providers.generic_http import Acceptance, GenericHttp


PAGE = Path("docs/http-gateways.md").read_text(encoding="utf-8")
KEY = "0123456789abcdef0123456789abcdef"
URL = "https://otp.example/v1/callbacks/fixed"
FIELDS = {"to": "{to}", "text": "{text}"}


def read_examples():
    """Return the providers of the page, as the settings read them."""
    tables = {}
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        tables |= tomllib.loads(block)["providers"]
    return {
        name: msgspec.convert(
            table, Provider, dec_hook=lambda _, value: Secret(value), strict=False
        )
        for name, table in tables.items()
    }


EXAMPLES = read_examples()


def says(body, status=200, **headers):
    """A reply."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(status, headers, content)


def calls(query="", body=b"", **headers):
    """A callback."""
    method = "POST" if body else "GET"
    return Callback(method, f"{URL}?{query}", headers, body, 0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_the_page_pass_check(name):
    """Each block of the page is a provider that could run."""
    assert [] == find_provider_errors(EXAMPLES[name])


def test_template_of_the_vendor_gets_its_values(message):
    """The vendor has the text, we have the values; the sender is by country."""
    message = msgspec.structs.replace(message, code="864209", minutes=5, brand="Example")
    american = msgspec.structs.replace(message, to=PhoneNumber("+12025550123", "US", 1))

    body = msgspec.json.decode(EXAMPLES["template"].build_request(message).body)

    values = {"code": "864209", "brand": "Example", "minutes": 5}
    expected = {"to": "+447400123456", "from": "Example", "template": "otp-1", "values": values}
    assert expected == body
    body = msgspec.json.decode(EXAMPLES["template"].build_request(american).body)
    assert "+15005550006" == body["from"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("864209 is your code", b"msg=864209+is+your+code&type=0"),
        ("864209 \u2014 \u043a\u043e\u0434", b"type=2&charset=UCS2"),
    ],
)
def test_flag_for_unicode_is_set_only_where_it_is_needed(message, text, fields):
    """The default alphabet of SMS cannot write every language."""
    body = EXAMPLES["flagged"].build_request(msgspec.structs.replace(message, text=text)).body

    assert body.endswith(fields)


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (says({"result": {"status": "OK", "id": "7"}}), Accepted("7")),
        (says({"result": {"status": "QUEUED"}}), Accepted()),
        (says({"result": {"status": "NOCREDIT"}}), Refused(Fault.PROVIDER, "NOCREDIT")),
        (says({"result": {"status": 0}}), Refused(Fault.PROVIDER, "0")),
        (says({"result": {}}), Refused(Fault.UNKNOWN, "http-200")),
        (says(b"<html>maintenance</html>"), Refused(Fault.UNKNOWN, "http-200")),
        (says({"result": {"status": "OK"}}, 500), Refused(Fault.UNKNOWN, "http-500")),
    ],
)
def test_2xx_with_another_word_is_a_refusal(reply, meaning):
    """The word says no, so nothing was sent; without a word it may have been."""
    assert meaning == EXAMPLES["polite"].interpret_reply(reply)


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (says(b"OK: 77a1"), Accepted("77a1")),
        (says(b"\xef\xbb\xbfOK: 77a1\r\n"), Accepted("77a1")),
        (
            says(b"ERROR 102 no credit"),
            Refused(Fault.PROVIDER, "102", None, RefusalScope.ACCOUNT),
        ),
        (says(b"ERROR 7"), Refused(Fault.PROVIDER, "7")),
        (says(b"ERROR f\xfcr immer"), Refused(Fault.UNKNOWN, "http-200")),
        (says(b""), Refused(Fault.UNKNOWN, "http-200")),
    ],
)
def test_plain_text_is_read_by_its_pattern(reply, meaning):
    """Its groups are the values, and a text of another form may mean anything."""
    assert meaning == EXAMPLES["plain"].interpret_reply(reply)


@pytest.mark.parametrize(
    ("table", "fault", "scope"),
    [
        ("recipient_codes", Fault.RECIPIENT, RefusalScope.MESSAGE),
        ("blocked_codes", Fault.RECIPIENT, RefusalScope.BLOCKED),
        ("account_codes", Fault.PROVIDER, RefusalScope.ACCOUNT),
        ("provider_codes", Fault.PROVIDER, RefusalScope.MESSAGE),
        ("throttled_codes", Fault.PROVIDER, RefusalScope.THROTTLED),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_each_table_of_codes_has_its_fault(table, fault, scope, status):
    """With any status: the code is certain."""
    gateway = GenericHttp(url=URL, fields=FIELDS, code="code", **{table: frozenset({7})})

    reply = gateway.interpret_reply(says({"code": "7"}, status))

    assert (fault, "7", scope) == (reply.fault, reply.reason, reply.scope)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("account", (Fault.PROVIDER, RefusalScope.ACCOUNT)),
        ("throttled", (Fault.PROVIDER, RefusalScope.THROTTLED)),
        ("blocked", (Fault.RECIPIENT, RefusalScope.BLOCKED)),
        ("unknown", (Fault.UNKNOWN, RefusalScope.MESSAGE)),
    ],
)
def test_statuses_have_the_same_faults(fault, expected):
    """Where a gateway says it by its status."""
    gateway = GenericHttp(url=URL, fields=FIELDS, statuses={409: fault})

    reply = gateway.interpret_reply(says(b"", 409))

    assert expected == (reply.fault, reply.scope)


@pytest.mark.parametrize(
    ("callback", "receipt"),
    [
        (
            calls(f"key={KEY}&status=DELIVRD&client_ref=shop.c1.1.1"),
            Receipt("delivered", "shop.c1.1.1", is_signed=True),
        ),
        (
            calls(f"key={KEY}", b"status=UNDELIV&client_ref=r"),
            Receipt("technical-failure", "r", reason="UNDELIV", is_signed=True),
        ),
        (
            calls(
                f"key={KEY}",
                b'{"status": "OTHER", "client_ref": "r"}',
                **{"content-type": "application/json"},
            ),
            Receipt("pending", "r", is_signed=True),
        ),
        (calls("token=k:1&ref=r&status=DELIVRD"), Receipt("delivered")),
    ],
)
def test_receipts_at_one_address_are_trusted_by_its_secret(callback, receipt):
    """Each names our message; an address with a token of its message needs no secret."""
    assert [receipt] == EXAMPLES["fixed"].parse_callback(callback)


@pytest.mark.parametrize("query", ["status=DELIVRD", "key=&status=DELIVRD", f"key={KEY}0&status=D"])
def test_receipts_without_the_secret_are_refused(query):
    """The address alone is no proof."""
    with pytest.raises(CallbackSignatureError):
        EXAMPLES["fixed"].parse_callback(calls(query))


def test_secret_in_a_header():
    """It then is in no access log of a proxy."""
    receipt = ReceiptSettings(status="s", reference="r", key=Secret(KEY), key_header="X-Key")
    gateway = GenericHttp(url=URL, fields=FIELDS, receipt=receipt)

    (found,) = gateway.parse_callback(calls("s=1&r=2", **{"x-key": KEY}))

    assert found.is_signed
    with pytest.raises(CallbackSignatureError):
        gateway.parse_callback(calls(f"s=1&r=2&key={KEY}"))


def test_expired_is_a_temporary_failure():
    """The phone was off: another provider would not have reached it either."""
    (receipt,) = EXAMPLES["reports"].parse_callback(calls("status=EXPIRED"))

    assert Receipt("temporary-failure", reason="EXPIRED") == receipt


def test_callback_without_a_status_is_no_receipt():
    """It may be an inbound message; one without any field is nothing at all."""
    assert [SkippedEvent.OTHER] == EXAMPLES["reports"].parse_callback(calls("other=1"))
    with pytest.raises(UnreadableCallback):
        EXAMPLES["reports"].parse_callback(calls(""))


BOTH_KEYS = {"receipt": "worthless-key-of-receipts", "inbound": "worthless-key-of-messages"}
BOTH = GenericHttp(
    url=URL,
    fields={**FIELDS},
    inbound_token=Secret("worthless-token-of-messages"),
    receipt=ReceiptSettings(
        "state",
        frozenset({"DELIVRD"}),
        reference="ref",
        key=Secret(BOTH_KEYS["receipt"]),
        key_header="X-Receipts",
    ),
    inbound=InboundMessageSettings(
        sender="from", text="text", key=Secret(BOTH_KEYS["inbound"]), key_header="X-Messages"
    ),
)
RECEIPT_FORM, MESSAGE_FORM = b"state=DELIVRD&ref=r&from=1&text=STOP", b"from=447400123456&text=STOP"


@pytest.mark.parametrize(
    ("headers", "signed"),
    [
        ({"x-receipts": BOTH_KEYS["receipt"]}, (True, False)),
        ({"x-messages": BOTH_KEYS["inbound"]}, (False, True)),
        (
            {"x-receipts": BOTH_KEYS["receipt"], "x-messages": BOTH_KEYS["inbound"]},
            (True, True),
        ),
        ({"x-receipts": "wrong", "x-messages": BOTH_KEYS["inbound"]}, (False, True)),
        (
            {"authorization": f"Basic {b64encode(b'a:worthless-token-of-messages').decode()}"},
            2 * (False,),
        ),
    ],
)
def test_the_key_of_receipts_proves_no_message_and_that_of_messages_no_receipt(headers, signed):
    """R64: who reports deliveries may not stop the codes of a person."""
    (receipt,) = BOTH.parse_callback(calls("", RECEIPT_FORM, **headers))
    (message,) = BOTH.parse_callback(calls("", MESSAGE_FORM, **headers))

    assert (Receipt("delivered", "r"), InboundMessage("447400123456", "STOP")) == (
        msgspec.structs.replace(receipt, is_signed=False),
        msgspec.structs.replace(message, is_signed=False),
    )
    assert signed == (receipt.is_signed, message.is_signed)


@pytest.mark.parametrize("body", [RECEIPT_FORM, MESSAGE_FORM, b"event=of-next-year"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-receipts": BOTH_KEYS["inbound"]},
        {"x-messages": BOTH_KEYS["receipt"]},
        {"x-messages": f"{BOTH_KEYS['inbound']}0"},
        {"x-messages": "\u00e4"},
        {"x-messages": "\udc80"},
        {"authorization": f"Basic {b64encode(b'a:wrong').decode()}"},
    ],
)
def test_without_any_secret_nothing_is_read(body, headers):
    """R64: also no other event, which would be counted as one of the gateway's."""
    callback = calls("", body, **headers)

    assert BOTH.requires_signature(callback)
    with pytest.raises(CallbackSignatureError):
        BOTH.parse_callback(callback)


def test_an_address_with_a_token_needs_no_key_and_signs_nothing():
    """The token is that of a submission or of the gateway's messages, which others know."""
    callback = calls("token=k:1", MESSAGE_FORM)

    assert not BOTH.requires_signature(callback)
    assert [InboundMessage("447400123456", "STOP")] == BOTH.parse_callback(callback)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"state=DELIVRD&from=1&text=STOP", Receipt("delivered")),  # its text is that of a message
        (b"state=RECEIVED&from=1&text=STOP", InboundMessage("1", "STOP")),
        (b"state=BUFFERED&from=1", Receipt("pending")),
        (b"from=1&text=STOP&from=2", InboundMessage("2", "STOP")),
        (b"from=1", SkippedEvent.OTHER),
        (b"from=1&text=", SkippedEvent.OTHER),
        (b"from=1&text=%FF", InboundMessage("1", "\ufffd")),
    ],
)
def test_one_address_for_receipts_and_messages(body, expected):
    """Only the words of the tables make a receipt of a request that has a sender and a text."""
    assert [expected] == BOTH.parse_callback(calls("token=k:1", body))


def test_without_the_table_a_message_is_another_event():
    """A gateway whose messages are described nowhere."""
    assert [SkippedEvent.OTHER] == EXAMPLES["reports"].parse_callback(calls("", MESSAGE_FORM))
    with pytest.raises(UnreadableCallback):
        GenericHttp(url=URL, fields=FIELDS).parse_callback(calls("", MESSAGE_FORM))


def test_messages_of_the_page_are_read():
    """The example of docs/http-gateways.md."""
    body = (
        b'{"from": "447400123456", "to": "447400987654", "content": {"text": "STOP"}, "id": "m-1"}'
    )
    headers = {"content-type": "application/json", "x-api-key": KEY}

    (message,) = EXAMPLES["two-way"].parse_callback(calls("", body, **headers))

    assert InboundMessage("447400123456", "STOP", "447400987654", "m-1", is_signed=True) == message
    assert (200, b"OK") == EXAMPLES["two-way"].inbound_acknowledgement


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({}, (204, b"")),
        ({"answer": "OK"}, (200, b"OK")),
        ({"answer_status": 200}, (200, b"")),
        ({"answer": "<ok/>", "answer_status": 202}, (202, b"<ok/>")),
    ],
)
def test_answer_to_a_receipt_is_what_the_gateway_wants(settings, answer):
    """Some repeat a receipt until they read a word."""
    gateway = GenericHttp(url=URL, fields=FIELDS, receipt=ReceiptSettings(status="s", **settings))

    message = InboundMessageSettings(sender="f", text="t", **settings)
    two_way = msgspec.structs.replace(gateway, inbound=message, receipt=None)

    assert answer == gateway.acknowledgement == gateway.inbound_acknowledgement
    assert ((204, b""), answer) == (two_way.acknowledgement, two_way.inbound_acknowledgement)
    assert (204, b"") == GenericHttp(url=URL, fields=FIELDS).acknowledgement


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"reply_pattern": "("}, "reply_pattern"),
        ({"reply_pattern": "(?P<id>x)", "message_id": "data.id"}, "message_id"),
        ({"reply_pattern": "x", "code": "code"}, "code"),
        (
            {"reply_pattern": "x", "accepted": Acceptance(path="a", values=frozenset({"b"}))},
            "accepted.path",
        ),
        ({"unicode_fields": {"text": "{nothing}"}}, "unicode_fields"),
        ({"senders": {"US": "Example"}}, "senders.US"),
        ({"code": "c", "account_codes": {1}, "recipient_codes": {"1"}}, "recipient_codes"),
        ({"receipt": ReceiptSettings("s", key=Secret(KEY))}, "receipt.reference"),
        ({"receipt": ReceiptSettings("s", reference="r", key=Secret("k"))}, "receipt.key"),
        ({"receipt": ReceiptSettings("s", key_header="x-key")}, "receipt.key"),
        (
            {"receipt": ReceiptSettings("s", failed=frozenset({"1"}), delivered=frozenset({1}))},
            "receipt",
        ),
        ({"receipt": ReceiptSettings("s", answer="x", answer_status=204)}, "receipt.answer_status"),
        ({"inbound": InboundMessageSettings(sender="s", text="t")}, "inbound.key"),
        (
            {"inbound": InboundMessageSettings(sender="", text="t", key=Secret(KEY))},
            "inbound.sender",
        ),
        ({"inbound": InboundMessageSettings(sender="s", text="", key=Secret(KEY))}, "inbound.text"),
        ({"inbound": InboundMessageSettings(sender="s", text="t", key=Secret("k"))}, "inbound.key"),
        (
            {
                "inbound": InboundMessageSettings(sender="s", text="t", key_header="X-Key"),
                "inbound_token": Secret(KEY),
            },
            "inbound.key",
        ),
        (
            {
                "inbound": InboundMessageSettings(
                    sender="s", text="t", key=Secret(KEY), answer="x", answer_status=204
                )
            },
            "inbound.answer_status",
        ),
    ],
)
def test_settings_that_contradict_one_another_are_refused(more, field):
    """With the field to change."""
    errors = GenericHttp(**{"url": URL, "fields": FIELDS} | more).find_errors()

    assert field in [path for path, _ in errors]


def test_a_gateway_without_from_selects_the_sender_itself():
    """A route to the US needs a number only where we name the sender."""
    own, named = (GenericHttp(url=URL, fields=FIELDS | more) for more in ({}, {"from": "{from}"}))

    assert own.can_serve("US")
    assert not named.can_serve("US")
    assert msgspec.structs.replace(named, senders={"US": "+15005550006"}).can_serve("US")
