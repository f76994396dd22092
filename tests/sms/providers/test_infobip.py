"""How Infobip is asked, what its receipts mean, and whether its own SDK agrees."""

import json

import msgspec
import pytest

from otp_service.core.delivery import Receipt
from otp_service.sms.http_provider import HttpRequest
from tests.sms.providers.callback_builder import assert_no_receipt
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.lazy_sdk import import_infobip
from tests.sms.providers.sdk_comparison import (
    CALLBACK_URL,
    INVALID_BODIES,
    build_callback,
    send_with_both,
)


def result(group, number, error=None, **more):
    """One message of a receipt."""
    names = ["ACCEPTED", "PENDING", "UNDELIVERABLE", "DELIVERED", "EXPIRED", "REJECTED"]
    status = {"groupId": group, "groupName": names[group], "id": number, "name": "N"}
    return {
        "bulkId": "2034",
        "messageId": "2250be2d",
        "to": "447400123456",
        "sentAt": "2026-09-21T14:13:20.000+0000",
        "doneAt": "2026-09-21T14:13:21.000+0000",
        "messageCount": 1,
        "callbackData": "ref-3f9",
        "status": status,
        "error": error,
    } | more


def failed(group, number, *, permanent):
    """Why a message failed."""
    return {"groupId": group, "id": number, "name": "EC_X", "permanent": permanent}


def test_a_request_byte_by_byte(message):
    """One destination, our reference, and no longer than the code lives."""
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    request = create_infobip("https://k3x9.api.infobip.com/").build_request(asked)

    assert request == HttpRequest(
        "POST",
        "https://k3x9.api.infobip.com/sms/3/messages",
        (("content-type", "application/json"), ("authorization", "App k3y")),
        b'{"messages":[{"destinations":[{"to":"447400123456"}],'
        b'"content":{"text":"864209 is your Example code."},'
        b'"options":{"validityPeriod":{"amount":290,"timeUnit":"SECONDS"}},'
        b'"webhooks":{"callbackData":"ref-3f9","delivery":{"url":'
        b'"https://otp.example/v1/callbacks/acme?ref=ref-3f9&token=T0k%2Fen"},'
        b'"contentType":"application/json"},"sender":"Example"}]}',
    )


@pytest.mark.parametrize(
    ("group", "number", "error", "means", "why"),
    [
        (0, 1, None, "pending", None),
        (1, 3, None, "pending", None),
        (3, 5, failed(0, 0, permanent=False), "delivered", None),
        (4, 15, None, "temporary-failure", "status-15"),
        (2, 9, failed(1, 1, permanent=True), "permanent-failure", "error-1"),
        (2, 9, failed(1, 27, permanent=False), "temporary-failure", "error-27"),
        (2, 9, failed(2, 4099, permanent=True), "technical-failure", "error-4099"),
        (2, 9, failed(3, 368, permanent=True), "technical-failure", "error-368"),
        (2, 9, None, "technical-failure", "status-9"),
        (3, 2, None, "pending", None),  # DELIVERED_TO_OPERATOR
        *(
            (
                group,
                9,
                failed(2, number, permanent=permanent),
                "permanent-failure",
                f"error-{number}",
            )
            for number in (2050, 568, 569, 352, 566)
            for group, permanent in ((2, True), (5, False))
        ),
        (5, 12, None, "technical-failure", "status-12"),
        (5, 52, None, "permanent-failure", "status-52"),
        (5, 87, None, "permanent-failure", "status-87"),
    ],
)
def test_each_status(group, number, error, means, why):
    """A receipt gives the status and the reason of a failure; "permanent" alone is not enough."""
    body = {"results": [result(group, number, error)]}

    (receipt,) = create_infobip(CALLBACK_URL).parse_callback(build_callback(body))

    assert Receipt(means, "ref-3f9", "2250be2d", why) == receipt


def test_several_at_once():
    """Up to a hundred messages come in one callback."""
    body = {"results": [result(3, 5), result(1, 3, messageId="2", callbackData=None)]}

    receipts = create_infobip(CALLBACK_URL).parse_callback(build_callback(body))

    assert [Receipt("delivered", "ref-3f9", "2250be2d"), Receipt("pending", "", "2")] == receipts


@pytest.mark.parametrize("body", INVALID_BODIES)
def test_garbage_is_a_value_or_key_error(body):
    """Whatever is brought, nothing else is raised."""
    assert_no_receipt(create_infobip(CALLBACK_URL), build_callback(body))


async def test_the_sdk_asks_for_the_same(gateway, transport, message):
    """Outside opinion: method, path, key and body of Infobip's own SDK."""
    sdk = import_infobip()

    gateway.set_reply(200, {"bulkId": "1", "messages": []})
    asked = msgspec.structs.replace(message, callback_url=CALLBACK_URL, sender="Example")

    def send():
        settings = sdk.Configuration(host=gateway.url, api_key="k3y")
        with sdk.ApiClient(settings) as client:
            sdk.SmsApi(client).send_sms_messages(
                sdk.SmsRequest(
                    messages=[
                        sdk.SmsMessage(
                            sender=asked.sender,
                            destinations=[sdk.SmsDestination(to=asked.to.e164[1:])],
                            content=sdk.SmsMessageContent(sdk.SmsTextContent(text=asked.text)),
                            options=sdk.SmsMessageOptions(
                                validity_period=sdk.ValidityPeriod(
                                    amount=asked.validity_seconds,
                                    time_unit=sdk.ValidityPeriodTimeUnit.SECONDS,
                                )
                            ),
                            webhooks=sdk.SmsWebhooks(
                                delivery=sdk.SmsMessageDeliveryReporting(url=asked.callback_url),
                                content_type="application/json",
                                callback_data=asked.reference,
                            ),
                        )
                    ]
                )
            )

    ours, theirs = await send_with_both(
        gateway, transport, create_infobip(gateway.url), asked, send
    )

    assert ours == theirs


def test_the_sdk_reads_the_receipt_that_we_read():
    """Outside opinion: every field that we look at is one of its model."""
    sdk = import_infobip()

    body = {"results": [result(2, 9, failed(1, 1, permanent=True) | {"groupName": "USER_ERRORS"})]}

    read = sdk.SmsDeliveryResult.from_json(json.dumps(body)).results[0]

    assert (2, 9) == (read.status.group_id, read.status.id)
    assert (1, 1, True) == (read.error.group_id, read.error.id, read.error.permanent)
    assert ("2250be2d", "ref-3f9") == (read.message_id, read.callback_data)
