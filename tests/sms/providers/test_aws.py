"""End User Messaging: one request byte by byte, its codes, its receipts, and botocore's opinion."""

import asyncio
import json
import logging
import re
from datetime import UTC, datetime

import boto3  # type: ignore[import-untyped]
import botocore.auth  # type: ignore[import-untyped]
import msgspec
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from msgspec.structs import replace

from otp_service.core.delivery import Fault, Receipt, RefusalScope
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import CallbackSignatureError, SkippedEvent
from otp_service.sms.providers.aws import (
    FAULT_TABLE,
    FORMAT_REASONS,
    RECEIPT_STATUSES,
    REQUEST_HEADERS,
    Aws,
)
from tests.sms.aws.sns_topic import CERTIFICATE_URL, NOW_MS, TOPIC_ARN, SnsTopic
from tests.sms.providers.contracts.aws import CONTRACTS
from tests.sms.providers.sdk_comparison import list_codes


def settings(**more):
    """An account."""
    keys = {"access_key_id": Secret("AKIDEXAMPLE"), "secret_access_key": Secret("hunter2")}
    return Aws(**{"region": "eu-west-1", **keys} | more)


FULL = {
    "sender": "Example",
    "configuration_set": "otp",
    "protect_configuration": "protect-1",
    "max_price": "0.50",
}


def client(url):
    """The vendor's own SDK, that asks once."""
    return boto3.client(
        "pinpoint-sms-voice-v2",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="hunter2",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_request_byte_by_byte(message):
    """All that can be said of one message."""
    request = settings(**FULL).build_request(message)

    assert (
        HttpRequest(
            "POST",
            "https://sms-voice.eu-west-1.amazonaws.com/",
            (
                ("content-type", "application/x-amz-json-1.0"),
                ("x-amz-target", "PinpointSMSVoiceV2.SendTextMessage"),
            ),
            b'{"DestinationPhoneNumber":"+447400123456","MessageBody":"864209 is your Example code.",'
            b'"MessageType":"TRANSACTIONAL","TimeToLive":290,"Context":{"reference":"ref-3f9"},'
            b'"OriginationIdentity":"Example","ConfigurationSetName":"otp",'
            b'"ProtectConfigurationId":"protect-1","MaxPrice":"0.50"}',
        )
        == request
    )


def test_sender_is_a_number_where_one_is_required(message):
    """A pool replaces a name that is not allowed (R44)."""
    american = msgspec.structs.replace(message, to=PhoneNumber("+12025550123", "US", 1))
    aws = settings(sender="Example", pool="pool-1")

    identities = [
        json.loads(aws.build_request(each).body).get("OriginationIdentity")
        for each in (message, american)
    ]

    assert ["Example", "pool-1"] == identities
    assert b"OriginationIdentity" not in settings().build_request(message).body


def test_validity_is_never_longer_than_the_codes(message):
    """AWS takes three days at most."""
    long = msgspec.structs.replace(message, validity_seconds=1_000_000)

    assert 259_200 == json.loads(settings().build_request(long).body)["TimeToLive"]


@pytest.mark.parametrize(
    ("error", "fault", "reason", "about"),
    [
        *(
            (
                {"__type": "ConflictException", "Reason": reason},
                Fault.RECIPIENT,
                reason,
                RefusalScope.BLOCKED,
            )
            for reason in list_codes(FAULT_TABLE, "blocked")
        ),
        *(
            (
                {
                    "__type": "ValidationException",
                    "Reason": reason,
                    "Fields": [{"Name": "DestinationPhoneNumber", "Message": "+447400123456?"}],
                },
                Fault.RECIPIENT,
                reason,
                RefusalScope.MESSAGE,
            )
            for reason in sorted(FORMAT_REASONS)
        ),
        (
            {
                "__type": "ValidationException",
                "Reason": "INVALID_PARAMETER",
                "Fields": [{"Name": "DestinationPhoneNumber"}, {"Name": "OriginationIdentity"}],
            },
            Fault.PROVIDER,
            "INVALID_PARAMETER",
            RefusalScope.MESSAGE,
        ),
        (
            {
                "__type": "ConflictException",
                "Reason": "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION",
            },
            Fault.PROVIDER,
            "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION",
            RefusalScope.ACCOUNT,
        ),
        (
            {"__type": "AccessDeniedException"},
            Fault.PROVIDER,
            "AccessDeniedException",
            RefusalScope.ACCOUNT,
        ),
        (
            {"__type": "AccessDeniedException", "Reason": "ACCOUNT_DISABLED"},
            Fault.PROVIDER,
            "ACCOUNT_DISABLED",
            RefusalScope.ACCOUNT,
        ),
        (
            {"__type": "ServiceQuotaExceededException", "Reason": "SOMETHING_NEW"},
            Fault.PROVIDER,
            "SOMETHING_NEW",
            RefusalScope.ACCOUNT,
        ),
        (
            {"__type": "ValidationException", "Reason": "DESTINATION_COUNTRY_BLOCKED"},
            Fault.PROVIDER,
            "DESTINATION_COUNTRY_BLOCKED",
            RefusalScope.MESSAGE,
        ),
        ({}, Fault.PROVIDER, "http-400", RefusalScope.MESSAGE),
    ],
)
def test_codes_by_fault(error, fault, reason, about):
    """The reason decides, or the type if it is missing; only the number's field is the number's fault."""
    reply = settings().interpret_reply(HttpReply(400, {}, json.dumps(error).encode()))

    assert (fault, reason, about) == (reply.fault, reply.reason, reply.scope)


def test_internal_error_may_have_been_sent():
    """A 5xx is never certain."""
    reply = settings().interpret_reply(HttpReply(500, {}, b'{"__type": "InternalServerException"}'))

    assert (Fault.UNKNOWN, "InternalServerException") == (reply.fault, reply.reason)


def test_every_code_of_ours_is_the_vendors():
    """As the SDK's own description of the service lists them."""
    model = client("http://127.0.0.1:9").meta.service_model
    reasons = {
        reason
        for name in model.shape_names
        if name.endswith("ExceptionReason")
        for reason in model.shape_for(name).enum
    }
    ours = {code for code in {*FAULT_TABLE, *FORMAT_REASONS} if code.isupper()}
    errors = {error.name for error in model.operation_model("SendTextMessage").error_shapes}
    general = {code for code in list_codes(FAULT_TABLE, "account") if not code.isupper()} - errors

    assert ours <= reasons
    assert {event for event in model.shape_for("EventType").enum if event.startswith("TEXT_")} == {
        *RECEIPT_STATUSES,
        "TEXT_ALL",
    }
    assert {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    } == general


@pytest.fixture(scope="module")
def topic():
    """A topic that signs."""
    return SnsTopic()


@pytest.mark.parametrize(
    ("event", "is_final", "status"),
    [
        ("TEXT_QUEUED", False, "pending"),
        ("TEXT_SUCCESSFUL", False, "pending"),
        ("TEXT_SUCCESSFUL", True, "delivered"),
        ("TEXT_DELIVERED", True, "delivered"),
        ("TEXT_UNREACHABLE", True, "temporary-failure"),
        ("TEXT_INVALID", True, "permanent-failure"),
        ("TEXT_BLOCKED", True, "permanent-failure"),
        ("TEXT_PROTECT_BLOCKED", True, "permanent-failure"),
        ("TEXT_CARRIER_UNREACHABLE", True, "technical-failure"),
        ("TEXT_SPAM", True, "technical-failure"),
        ("TEXT_SOMETHING_NEW", True, "pending"),
    ],
)
def test_receipt_of_an_event(topic, event, is_final, status):
    """AWS's example (configuration-sets-event-format), with our reference in its context."""
    body = {
        "eventType": event,
        "eventVersion": "1.0",
        "eventTimestamp": NOW_MS,
        "isFinal": is_final,
        "originationPhoneNumber": "+12065550152",
        "destinationPhoneNumber": "+14255550156",
        "isoCountryCode": "US",
        "messageId": "862a8790-60c0-4430-9b2b-658bdexample",
        "messageStatus": "SUCCESSFUL",
        "messageStatusDescription": "Message has been accepted by phone carrier",
        "context": {"reference": "ref-3f9"},
        "totalMessagePrice": 0.09582,
    }

    receipts = settings(topic_arn=TOPIC_ARN).parse_callback(
        topic.build_callback(topic.build_notification(body))
    )

    assert [
        Receipt(
            status,
            reference="ref-3f9",
            message_id="862a8790-60c0-4430-9b2b-658bdexample",
            reason=event if status.endswith("failure") else None,
            is_signed=True,
        )
    ] == receipts
    assert (204, b"") == settings().acknowledgement


@pytest.mark.parametrize("context", [None, {}, {"other": "x"}])
def test_receipt_without_our_reference(topic, context):
    """Another application's message of the same account has only an id."""
    body = {"eventType": "TEXT_DELIVERED", "messageId": "m-1", "context": context}

    receipts = settings(topic_arn=TOPIC_ARN).parse_callback(
        topic.build_callback(topic.build_notification(body))
    )

    assert [("", "m-1")] == [(each.reference, each.message_id) for each in receipts]


def test_events_of_other_channels_are_no_receipts(topic):
    """A topic may carry calls and pictures too."""
    callback = topic.build_callback(topic.build_notification({"eventType": "VOICE_ANSWERED"}))

    assert [SkippedEvent.OTHER] == settings(topic_arn=TOPIC_ARN).parse_callback(callback)


async def test_subscription_is_logged_for_an_operator_and_never_followed(topic, gateway, caplog):
    """With what the operator needs for it; the subscriber chose the address to visit."""
    caplog.set_level(logging.INFO)
    callback = topic.build_callback(topic.build_subscription_confirmation(SubscribeURL=gateway.url))
    aws = settings(topic_arn=TOPIC_ARN)

    needed = aws.find_certificate_url(callback)
    receipts = await asyncio.to_thread(
        aws.parse_callback, callback
    )  # it could be visited meanwhile

    assert ([SkippedEvent.OTHER], []) == (receipts, gateway.requests)
    assert CERTIFICATE_URL == needed
    assert [("WARNING", True)] == [
        (
            record.levelname,
            f"--topic-arn {TOPIC_ARN} --token 2336412f37fb687f" in record.getMessage(),
        )
        for record in caplog.records
    ]


def test_subscription_to_a_foreign_topic_is_not_even_logged(topic, caplog):
    """A foreign subscriber gets 401."""
    foreign = topic.build_subscription_confirmation(
        TopicArn="arn:aws:sns:eu-west-1:999999999999:theirs"
    )

    with pytest.raises(CallbackSignatureError):
        settings(topic_arn=TOPIC_ARN).parse_callback(topic.build_callback(foreign))

    assert [] == caplog.records


TWO_WAY_TOPIC = "arn:aws:sns:us-east-1:123456789012:two-way"
MESSAGE = json.dumps({"originationNumber": "+447400123456", "messageBody": "STOP"})


def test_messages_from_phones_may_have_a_topic_of_their_own(topic):
    """A two-way channel names its topic, which need not be that of events, nor in its region."""
    certificate_url = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem"
    notification = topic.build_notification(
        MESSAGE, TopicArn=TWO_WAY_TOPIC, SigningCertURL=certificate_url
    )
    callback = replace(
        topic.build_callback(notification), certificates={certificate_url: topic.pem}
    )
    both = settings(topic_arn=TOPIC_ARN, inbound_topic_arn=TWO_WAY_TOPIC)

    [message] = both.parse_callback(callback)

    assert ("STOP", True) == (message.text, message.is_signed)
    assert certificate_url == both.find_certificate_url(callback)
    for other in (
        settings(topic_arn=TOPIC_ARN),
        settings(),
        settings(topic_arn=TWO_WAY_TOPIC[:-1]),
    ):
        with pytest.raises(CallbackSignatureError):
            other.parse_callback(callback)


def test_the_certificate_is_that_of_the_region_of_its_topic(topic):
    """Another region of the settings must not lend its host."""
    notification = topic.build_notification(MESSAGE, TopicArn=TWO_WAY_TOPIC)
    both = settings(topic_arn=TOPIC_ARN, inbound_topic_arn=TWO_WAY_TOPIC)

    with pytest.raises(CallbackSignatureError):
        both.parse_callback(topic.build_callback(notification))


async def test_botocore_asks_for_the_same(gateway, transport, message, monkeypatch):
    """Method, path, headers that matter, body, and the signature of the same instant."""
    instant = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: instant)
    gateway.set_reply(200, {"MessageId": "m-1"})
    aws = settings(base_url=gateway.url, **FULL)
    await asyncio.to_thread(
        client(gateway.url).send_text_message,
        DestinationPhoneNumber=message.to.e164,
        OriginationIdentity="Example",
        MessageBody=message.text,
        MessageType="TRANSACTIONAL",
        ConfigurationSetName="otp",
        ProtectConfigurationId="protect-1",
        MaxPrice="0.50",
        TimeToLive=290,
        Context={"reference": "ref-3f9"},
    )

    await HttpProvider("aws", aws, transport, now=lambda: NOW_MS).send(message)

    theirs, ours = gateway.requests
    assert ("POST", theirs.target.rstrip("/")) == (ours.method, ours.target.rstrip("/"))
    assert theirs.json == ours.json
    matter = ("content-type", "x-amz-target", "x-amz-date", "host")
    assert [theirs.headers[name] for name in matter] == [ours.headers[name] for name in matter]
    signed = aws.sign_request(
        HttpRequest("POST", gateway.url, REQUEST_HEADERS, theirs.body), NOW_MS
    )
    assert theirs.headers["authorization"] == dict(signed.headers)["authorization"].lower()
    assert re.search(
        "signedheaders=content-type;host;x-amz-date;x-amz-target", ours.headers["authorization"]
    )


@pytest.mark.parametrize("case", ["recipient", "account", "throttled", "unknown"])
async def test_botocore_reads_the_same_code(gateway, case):
    """The SDK reads the AWS replies of the contract in the same way."""
    contract = CONTRACTS["aws"]
    gateway.set_reply(*getattr(contract, case))

    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(
            client(gateway.url).send_text_message, DestinationPhoneNumber="+447400123456"
        )

    response = caught.value.response
    assert getattr(contract, f"{case}_code") == response.get("Reason", response["Error"]["Code"])
