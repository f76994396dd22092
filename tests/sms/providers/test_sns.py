"""SNS: one request byte by byte, its codes, botocore's opinion, and moto's server for real."""

import asyncio
import re
from datetime import UTC, datetime

import boto3  # type: ignore[import-untyped]
import botocore.auth  # type: ignore[import-untyped]
import msgspec
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer
from moto.sns.models import sns_backends

from otp_service.core.delivery import Accepted, Fault, RefusalScope
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import UnreadableCallback
from otp_service.sms.providers.sns import FAULT_TABLE, REQUEST_HEADERS, Sns
from tests.sms.aws.sns_topic import NOW_MS, SnsTopic
from tests.sms.providers.contracts.sns import CONTRACTS
from tests.sms.providers.sdk_comparison import list_codes


FULL = {"sender": "Example", "max_price": "0.50"}


def settings(**more):
    """An account."""
    keys = {"access_key_id": Secret("AKIDEXAMPLE"), "secret_access_key": Secret("hunter2")}
    return Sns(**{"region": "eu-west-1", **keys} | more)


def client(url):
    """The vendor's own SDK, that asks once."""
    return boto3.client(
        "sns",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="hunter2",
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture(scope="module")
def moto():
    """The address of moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_request_byte_by_byte(message):
    """All that can be said of one message; the reply is asked for as XML."""
    request = settings(**FULL).build_request(message)

    assert (
        HttpRequest(
            "POST",
            "https://sns.eu-west-1.amazonaws.com/",
            (
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("accept", "text/xml"),
            ),
            b"Action=Publish&Version=2010-03-31&PhoneNumber=%2B447400123456"
            b"&Message=864209+is+your+Example+code."
            b"&MessageAttributes.entry.1.Name=AWS.SNS.SMS.SMSType"
            b"&MessageAttributes.entry.1.Value.DataType=String"
            b"&MessageAttributes.entry.1.Value.StringValue=Transactional"
            b"&MessageAttributes.entry.2.Name=AWS.SNS.SMS.SenderID"
            b"&MessageAttributes.entry.2.Value.DataType=String"
            b"&MessageAttributes.entry.2.Value.StringValue=Example"
            b"&MessageAttributes.entry.3.Name=AWS.SNS.SMS.MaxPrice"
            b"&MessageAttributes.entry.3.Value.DataType=Number"
            b"&MessageAttributes.entry.3.Value.StringValue=0.50",
        )
        == request
    )


def test_number_is_an_origination_number(message):
    """A name is dropped where it may not be used (R44)."""
    american = msgspec.structs.replace(message, to=PhoneNumber("+12025550123", "US", 1))
    number = settings(sender="Example", senders={"US": "+12025550100"}).build_request(american).body

    assert b"SMS.OriginationNumber" in number
    assert b"%2B12025550100" in number
    assert b"SenderID" not in settings(sender="Example").build_request(american).body


@pytest.mark.parametrize(
    ("code", "text", "fault", "about"),
    [
        (
            "InvalidParameter",
            "Invalid parameter: PhoneNumber Reason: ?",
            Fault.RECIPIENT,
            RefusalScope.MESSAGE,
        ),
        *(
            ("InvalidParameter", text, Fault.PROVIDER, RefusalScope.MESSAGE)
            for text in (
                "does not meet the E164 format",
                "Invalid parameter: OriginationNumber Reason: not an E.164 PhoneNumber of yours",
                "Invalid parameter: MessageAttributes Reason: the PhoneNumber must be in E.164",
                "Invalid parameter: PhoneNumberOrSender",
            )
        ),
        ("InvalidParameter", "Invalid parameter: SenderID", Fault.PROVIDER, RefusalScope.MESSAGE),
        ("ParameterValueInvalid", "PhoneNumber", Fault.PROVIDER, RefusalScope.MESSAGE),
        *(
            (code, "PhoneNumber", Fault.PROVIDER, RefusalScope.ACCOUNT)
            for code in list_codes(FAULT_TABLE, "account")
        ),
        *(
            (code, "PhoneNumber", Fault.PROVIDER, RefusalScope.THROTTLED)
            for code in list_codes(FAULT_TABLE, "throttled")
        ),
    ],
)
def test_codes_by_fault(code, text, fault, about):
    """Only InvalidParameter can be the number's, and only if it says so."""
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>"

    reply = settings().interpret_reply(HttpReply(400, {}, body.encode()))

    assert (fault, code, about) == (reply.fault, reply.reason, reply.scope)


@pytest.mark.parametrize(
    ("status", "body", "fault", "reason"),
    [
        (500, b"<Error><Code>InternalError</Code></Error>", Fault.UNKNOWN, "InternalError"),
        (400, b"<html>", Fault.PROVIDER, "http-400"),
        (400, b"<Code>+447400123456 </Code>", Fault.PROVIDER, "http-400"),
        (200, b"<MessageId></MessageId>", Fault.UNKNOWN, "no-message-id"),
    ],
)
def test_without_a_code_the_status_decides(status, body, fault, reason):
    """A body that is not SNS XML has no SNS error code."""
    reply = settings().interpret_reply(HttpReply(status, {}, body))

    assert (fault, reason) == (reply.fault, reply.reason)


def test_there_are_no_receipts():
    """SNS reports deliveries to CloudWatch only."""
    with pytest.raises(UnreadableCallback):
        settings().parse_callback(SnsTopic().build_callback(b"{}"))


async def test_botocore_asks_for_the_same(gateway, transport, message, monkeypatch):
    """Method, path, headers that matter, body, and the signature of the same instant."""
    instant = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: instant)
    gateway.set_reply(*CONTRACTS["sns"].accepted)
    sns = settings(base_url=gateway.url, **FULL)
    await asyncio.to_thread(
        client(gateway.url).publish,
        PhoneNumber=message.to.e164,
        Message=message.text,
        MessageAttributes={
            "AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Transactional"},
            "AWS.SNS.SMS.SenderID": {"DataType": "String", "StringValue": "Example"},
            "AWS.SNS.SMS.MaxPrice": {"DataType": "Number", "StringValue": "0.50"},
        },
    )

    await HttpProvider("sns", sns, transport, now=lambda: NOW_MS).send(message)

    theirs, ours = gateway.requests
    assert ("POST", theirs.target.rstrip("/")) == (ours.method, ours.target.rstrip("/"))
    assert sorted(theirs.form) == sorted(ours.form)
    matter = ("content-type", "x-amz-date", "host")
    assert [theirs.headers[name] for name in matter] == [ours.headers[name] for name in matter]
    signed = sns.sign_request(
        HttpRequest("POST", gateway.url, REQUEST_HEADERS, theirs.body), NOW_MS
    )
    assert theirs.headers["authorization"] == dict(signed.headers)["authorization"].lower()
    assert re.search("signedheaders=content-type;host;x-amz-date", ours.headers["authorization"])


@pytest.mark.parametrize("case", ["recipient", "account", "throttled", "unknown"])
async def test_botocore_reads_the_same_code(gateway, case):
    """The SDK reads the SNS replies of the contract in the same way."""
    contract = CONTRACTS["sns"]
    gateway.set_reply(*getattr(contract, case))

    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(
            client(gateway.url).publish, PhoneNumber="+447400123456", Message="m"
        )

    assert getattr(contract, f"{case}_code") == caught.value.response["Error"]["Code"]


async def test_moto_takes_the_message(moto, transport, message):
    """The text, the number and the attributes arrive, and the id is the one it gives."""
    reply = await HttpProvider("sns", settings(base_url=moto, **FULL), transport).send(message)

    backend = sns_backends["123456789012"]["eu-west-1"]
    assert isinstance(reply, Accepted)
    assert ("+447400123456", message.text) == backend.sms_messages[reply.message_id][:2]


async def test_moto_refuses_what_is_no_number(moto, transport, message):
    """Its prose names E.164 and not the field, which SNS itself does: it could be our sender's."""
    wrong = msgspec.structs.replace(message, to=PhoneNumber("+44x", "GB", 44))

    reply = await HttpProvider("sns", settings(base_url=moto), transport).send(wrong)

    assert (Fault.PROVIDER, "InvalidParameter") == (reply.fault, reply.reason)
