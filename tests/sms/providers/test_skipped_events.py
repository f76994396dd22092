"""Callbacks without a receipt: signed ones are acknowledged, whatever they are about (R64)."""

from urllib.parse import urlencode

import msgspec
import pytest
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from twilio.request_validator import RequestValidator

from otp_service.core.delivery import Receipt
from otp_service.core.secret import Secret
from otp_service.sms.provider_callbacks import (
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.telemetry.labels import CALLBACK_REASONS
from tests.sms.aws.sns_topic import TOPIC_ARN, SnsTopic
from tests.sms.providers import (
    test_aws,
    test_bird,
    test_clickatell,
    test_infobip,
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
from tests.sms.providers.sdk_comparison import CALLBACK_URL, build_callback
from tests.sms.providers.unsigned_dialects import ADDRESS, FORM_DIALECTS, GATEWAY, JSON_DIALECTS


TEXT = "STOP 447400123456"


def sign_telnyx(event):
    """Sign an event as Telnyx."""
    body = msgspec.json.encode(event)
    dialect = create_telnyx(ADDRESS, public_key=test_telnyx.PUBLIC_KEY)
    return dialect, build_callback(body, headers=test_telnyx.signed(body))


def sign_bird(event):
    """Sign an event as Bird."""
    body = msgspec.json.encode(event)
    dialect = create_bird(ADDRESS, webhook_secret=Secret(test_bird.SECRET))
    return dialect, build_callback(body, headers=test_bird.signed(body))


def sign_sinch(event):
    """Sign an event as Sinch."""
    body = msgspec.json.encode(event)
    dialect = create_sinch(ADDRESS, signing_secret=Secret(test_sinch.SECRET))
    return dialect, build_callback(body, headers=test_sinch.signed(body))


def sign_twilio(event):
    """Sign the fields as Twilio."""
    return test_twilio.twilio(), test_twilio.signed(list(event.items()))


def sign_twilio_json(event):
    """Sign an event of JSON as Twilio, by its SDK."""
    body = msgspec.json.encode(event)
    url = f"{CALLBACK_URL}&bodySHA256={RequestValidator('').compute_hash(body.decode())}"
    headers = {
        "content-type": "application/json; charset=utf-8",
        "x-twilio-signature": RequestValidator("12345").compute_signature(url, {}),
    }
    return test_twilio.twilio(), build_callback(body, url=url, headers=headers)


def sign_plivo(event):
    """Sign the fields as Plivo, by its SDK."""
    mac = get_signature_v3("t0ken", construct_post_url(CALLBACK_URL, event).decode(), "1").decode()
    headers = {"x-plivo-signature-ma-v3": mac, "x-plivo-signature-v3-nonce": "1"}
    return create_plivo(ADDRESS), build_callback(urlencode(event).encode(), headers=headers)


def sign_vonage(event):
    """Sign the fields as Vonage, in JSON."""
    fields = test_vonage.receipt(**event)
    left = {name: value for name, value in fields.items() if name not in {"status", "sig"}}
    auth = test_vonage.Auth(api_key="abcd1234", signature_secret="signs", signature_method="sha256")
    return test_vonage.vonage(), build_callback(left | {"sig": auth.sign_params(dict(left))})


def sign_vonage_messages(event):
    """Sign an event as Vonage's Messages API."""
    return test_vonage_messages.messages(), test_vonage_messages.signed(event)


def sign_messagebird(event):
    """Sign the fields as MessageBird."""
    dialect = create_messagebird(ADDRESS, signing_key=Secret(test_messagebird.KEY))
    callback = build_callback(urlencode(event).encode())
    return dialect, test_messagebird.signed(callback)


def sign_sns(event):
    """Sign a notification of a topic of SNS."""
    topic = SnsTopic()
    if event == "UnsubscribeConfirmation":
        body = topic.build_subscription_confirmation(Type=event)
    else:
        body = topic.build_notification(event)
    return test_aws.settings(topic_arn=TOPIC_ARN), topic.build_callback(body)


SIGNED = [
    (sign_telnyx, {"data": {"event_type": "10dlc.campaign.update", "payload": "anything"}}),
    (sign_telnyx, {"data": {"event_type": "number_order.complete"}}),
    (sign_telnyx, {"meta": {}}),
    (sign_bird, {"type": "email.delivered", "data": {"email_id": "1"}}),
    (sign_bird, {"type": "sms.clicked", "data": 7}),
    (sign_sinch, {"type": "delivery_report_sms", "batch_id": "1", "statuses": []}),
    (sign_sinch, {"event": "of another product"}),
    (sign_twilio, {"CallSid": "CA1", "CallStatus": "completed"}),
    (sign_twilio, {"MessageSid": test_twilio.SID, "MessageStatus": "received", "Body": TEXT}),
    (sign_twilio, {"MessageSid": test_twilio.SID, "MessageStatus": "of next year"}),
    (sign_twilio_json, {"MessageStatus": "delivered", "MessageSid": test_twilio.SID}),
    (sign_twilio_json, [{"type": "com.twilio.messaging.message.delivered"}]),
    (sign_plivo, {"CallUUID": "1", "CallStatus": "ringing"}),
    (sign_plivo, {"MessageUUID": "1", "Status": "of next year"}),
    (sign_vonage, {"type": "of next year", "keyword": "STOP"}),
    (sign_vonage_messages, {"message_uuid": "1", "channel": "sms", "text": TEXT}),
    (sign_vonage_messages, {"status": "answered", "uuid": "1", "error": 7}),
    (sign_vonage_messages, {"message_uuid": "1", "status": "of next year"}),
    (sign_messagebird, {"id": "1", "recipient": "447400123456", "payload": TEXT}),
    (sign_messagebird, {"id": "1", "status": "of next year"}),
    (sign_sns, {"numberOfNextYear": "+447400123456", "messageBody": TEXT}),
    (sign_sns, {"eventType": "VOICE_ANSWERED"}),
    (sign_sns, "no JSON at all"),
    (sign_sns, "UnsubscribeConfirmation"),
]


@pytest.mark.parametrize(("sign", "event"), SIGNED)
def test_a_signed_event_that_is_no_receipt_is_acknowledged(sign, event):
    """Vendors pause an address that answers 400, and add types of events."""
    dialect, callback = sign(event)

    assert [SkippedEvent.OTHER] == dialect.parse_callback(callback)


@pytest.mark.parametrize(("sign", "event"), SIGNED)
def test_the_same_event_without_a_signature_is_refused(sign, event):
    """The signature comes first."""
    dialect, callback = sign(event)
    bare = msgspec.structs.replace(callback, headers={}, certificates={})
    if sign is sign_vonage:
        fields = {name: each for name, each in bare.json.items() if name != "sig"}
        bare = build_callback(fields)

    with pytest.raises(CallbackSignatureError):
        dialect.parse_callback(bare)


JSON_HEADERS = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("dialect", "callback"),
    [
        (create_infobip(ADDRESS), build_callback({"results": [], "messageCount": 0})),
        (create_infobip(ADDRESS), build_callback({"event": "of another product"})),
        (test_clickatell.settings(), build_callback({"event": {"moMedia": [{"content": TEXT}]}})),
        (test_clickatell.settings(), build_callback({"integrationId": "1"})),
        (
            test_jasmin.jasmin(),
            build_callback(b"id=1&number_of_next_year=447400123456&to=1&content=STOP"),
        ),
        (
            test_kannel.kannel(),
            build_callback(b"STOP", url=f"{CALLBACK_URL}&from=447400123456&to=1"),
        ),
        (test_kannel.kannel(), build_callback(b"", url=f"{CALLBACK_URL}&type=64", method="GET")),
        (GATEWAY, build_callback(b"from=447400123456&text=STOP")),
        (GATEWAY, build_callback(b"", url=f"{CALLBACK_URL}&text=STOP", method="GET")),
        (GATEWAY, build_callback({"from": "447400123456"}, headers=JSON_HEADERS)),
    ],
)
def test_vendors_without_signatures_send_other_events_too(dialect, callback):
    """These have no effect, so nothing has to prove them."""
    assert [SkippedEvent.OTHER] == dialect.parse_callback(callback)


NOT_JSON = [b"", b"hello", b"[]", b"null", b"a=b", b"\xff\xfe", b"[" * 60_000, b'{"a":' * 40_000]
NO_FORM = [b"", b"hello", b"[]", b"null", b"[" * 60_000, b'{"a":' * 40_000]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *((name, body) for name in JSON_DIALECTS for body in NOT_JSON),
        *((name, body) for name in FORM_DIALECTS for body in NO_FORM),
    ],
)
def test_what_is_not_in_the_vendors_format_cannot_be_read(name, body):
    """It is not the vendor's, or its format has changed: an operator has to know."""
    with pytest.raises(UnreadableCallback):
        (JSON_DIALECTS | FORM_DIALECTS)[name].parse_callback(build_callback(body))


@pytest.mark.parametrize(
    ("dialect", "callback"),
    [
        (create_bird(ADDRESS), build_callback({"type": "sms.delivered", "data": {}})),
        (create_bird(ADDRESS), build_callback({"type": "sms.delivered"})),
        (create_telnyx(ADDRESS), build_callback({"data": {"event_type": "message.finalized"}})),
        (
            create_telnyx(ADDRESS),
            build_callback(
                {"data": {"event_type": "message.sent", "payload": {"id": "1", "to": []}}}
            ),
        ),
        (create_sinch(ADDRESS), build_callback({"type": "recipient_delivery_report_sms"})),
        (JSON_DIALECTS["vonage-messages"], build_callback({"status": "delivered"})),
        (FORM_DIALECTS["twilio"], build_callback(b"MessageStatus=sent")),
        (FORM_DIALECTS["vonage"], build_callback(b"status=delivered")),
        (FORM_DIALECTS["messagebird"], build_callback(b"status=delivered")),
        (FORM_DIALECTS["jasmin"], build_callback(b"message_status=DELIVRD")),
    ],
)
def test_a_receipt_that_lacks_something_cannot_be_read(dialect, callback):
    """It says what it is: the vendor has changed its format."""
    with pytest.raises(UnreadableCallback):
        dialect.parse_callback(callback)


@pytest.mark.parametrize(
    "broken", [{}, {"messageId": 7}, {"messageId": "2", "status": {"groupId": "three"}}, 7, None]
)
def test_an_unreadable_result_of_infobip_loses_no_other(broken):
    """Up to a hundred results come in one call."""
    body = {"results": [test_infobip.result(3, 5), broken, test_infobip.result(1, 3)]}

    parts = create_infobip(ADDRESS).parse_callback(build_callback(body))

    good = Receipt("delivered", "ref-3f9", "2250be2d"), Receipt("pending", "ref-3f9", "2250be2d")
    assert [good[0], SkippedEvent.UNREADABLE, good[1]] == parts


def test_an_unknown_group_of_infobip_loses_no_other():
    """Group 77 is of next year."""
    status = {"groupId": 77, "id": 1}
    body = {"results": [{"messageId": "1", "status": status}, test_infobip.result(3, 5)]}

    parts = create_infobip(ADDRESS).parse_callback(build_callback(body))

    assert [SkippedEvent.OTHER, Receipt("delivered", "ref-3f9", "2250be2d")] == parts


@pytest.mark.parametrize("broken", [{}, {"messageId": 7, "status": "READ"}, 7, None])
def test_an_unreadable_update_of_clickatell_loses_no_other(broken):
    """The kind: every vendor that sends several in one call."""
    good = {"messageId": "1", "status": "READ", "clientMessageId": "ref-3f9"}
    body = {"event": {"messageStatusUpdate": [broken, good]}}

    parts = test_clickatell.settings().parse_callback(build_callback(body))

    assert [SkippedEvent.UNREADABLE, Receipt("delivered", "ref-3f9", "1")] == parts


def test_a_signature_of_json_does_not_fit_another_body():
    """Only its hash is signed, as a part of the address."""
    dialect, callback = sign_twilio_json({"a": 1})
    other = msgspec.structs.replace(callback, body=b'{"a":2}')
    bare = msgspec.structs.replace(callback, url=CALLBACK_URL)

    for changed in (other, bare):
        with pytest.raises(CallbackSignatureError):
            dialect.parse_callback(changed)


def test_each_part_is_a_reason_of_the_metric():
    """The parts of callbacks are counted by their value."""
    assert {each.value for each in SkippedEvent} <= CALLBACK_REASONS
