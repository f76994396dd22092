"""What a vendor reports of an opt-out: one reason for the codes of all, and no sign of bad health (R43)."""

import msgspec
import pytest

from otp_service.core.delivery import Fault, Receipt, RefusalScope, Refused
from otp_service.sms.http_provider import HttpReply
from otp_service.sms.provider_health import health_events_from_replies
from otp_service.sms.recipient_refusals import is_number_refusal
from otp_service.sms.router import health_event_from_receipt
from tests.sms.providers import test_clickatell, test_infobip, test_twilio, test_vonage
from tests.sms.providers.callback_builder import build_callback as build_vonage_callback
from tests.sms.providers.contracts.aws import create_aws
from tests.sms.providers.contracts.bird import create_bird
from tests.sms.providers.contracts.infobip import create_infobip
from tests.sms.providers.contracts.plivo import create_plivo
from tests.sms.providers.contracts.telnyx import create_telnyx
from tests.sms.providers.sdk_comparison import build_callback
from tests.sms.providers.test_skipped_events import sign_plivo


ADDRESS = "https://sms.example"
OPTED_OUT = Refused(Fault.RECIPIENT, "recipient_opted_out", scope=RefusalScope.BLOCKED)
STOP_ERROR = {"code": "40300", "title": "Blocked due to STOP message"}


def build_reply(status, body):
    """Build a reply of JSON."""
    return HttpReply(status, {}, msgspec.json.encode(body))


def build_infobip_reply(number):
    """Build the reply for a rejected message, which is 200."""
    status = {"groupId": 5, "id": number}
    return build_reply(200, {"messages": [{"status": status, "messageId": "1"}]})


def sign_twilio_failure(code):
    """Build a status callback of a message that failed with this code."""
    return test_twilio.signed(test_twilio.status("failed", ("ErrorCode", code)))


def build_infobip_receipt(number, error):
    """Build a receipt of group 5 with this status and error."""
    failed = test_infobip.failed(2, error, permanent=True) if error else None
    body = {"results": [test_infobip.result(5, number, failed)]}
    return build_callback(body)


REPLIES = {
    "twilio 21610": (test_twilio.twilio(), build_reply(400, {"code": 21610, "status": 400})),
    "telnyx 40300": (create_telnyx(ADDRESS), build_reply(400, {"errors": [STOP_ERROR]})),
    "aws": (
        create_aws(ADDRESS),
        build_reply(
            400, {"__type": "ConflictException", "Reason": "DESTINATION_PHONE_NUMBER_OPTED_OUT"}
        ),
    ),
    "clickatell 26": (test_clickatell.settings(), test_clickatell.says(400, 26)),
    "infobip status 14": (create_infobip(ADDRESS), build_infobip_reply(14)),
}
RECEIPTS = {
    "twilio 21610": (test_twilio.twilio(), sign_twilio_failure("21610")),
    "telnyx 40300": (
        create_telnyx(ADDRESS),
        build_callback(
            {
                "data": {
                    "event_type": "message.finalized",
                    "payload": {
                        "id": "1",
                        "to": [{"status": "sending_failed"}],
                        "errors": [STOP_ERROR],
                    },
                }
            }
        ),
    ),
    "plivo 200": (
        create_plivo(ADDRESS),
        sign_plivo({"MessageUUID": "1", "Status": "failed", "ErrorCode": "200"})[1],
    ),
    "bird": (
        create_bird(ADDRESS),
        build_callback(
            {
                "type": "sms.rejected",
                "data": {"sms_id": "1", "error": {"code": "recipient_opted_out"}},
            }
        ),
    ),
    "clickatell": (
        test_clickatell.settings(),
        build_callback(
            {"event": {"messageStatusUpdate": [{"messageId": "1", "status": "STOPPED_BY_USER"}]}}
        ),
    ),
    "vonage 9": (
        test_vonage.vonage(),
        build_vonage_callback(test_vonage.receipt(status="rejected", err_code="9")),
    ),
    "infobip status 14": (create_infobip(ADDRESS), build_infobip_receipt(14, 0)),
    **{
        f"infobip {error}": (create_infobip(ADDRESS), build_infobip_receipt(9, error))
        for error in (560, 573, 603)
    },
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_refusal_is_the_recipients_and_says_so(name):
    """It is believed however many there are, and no provider is worse for it."""
    dialect, reply = REPLIES[name]

    refused = dialect.interpret_reply(reply)

    assert OPTED_OUT == refused
    assert [] == health_events_from_replies([("acme", refused)], "GB", "p1:00", 0)
    assert not is_number_refusal(refused)


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt_is_a_permanent_failure_and_says_so(name):
    """No other provider is asked, and the quality of this one is the same as before."""
    dialect, callback = RECEIPTS[name]

    (receipt,) = dialect.parse_callback(callback)

    assert isinstance(receipt, Receipt)
    assert ("permanent-failure", "recipient_opted_out") == (receipt.status, receipt.reason)
    assert None is health_event_from_receipt(receipt, "acme", "GB", "p1:00", 1000, 2000)


@pytest.mark.parametrize(
    ("dialect", "reply", "reason"),
    [
        (test_twilio.twilio(), build_reply(400, {"code": 30450}), "30450"),
        (create_telnyx(ADDRESS), build_reply(400, {"errors": [{"code": "40020"}]}), "40020"),
        (create_infobip(ADDRESS), build_infobip_reply(87), "status-87"),
        (create_infobip(ADDRESS), build_infobip_reply(10), "status-10"),
    ],
)
def test_another_block_keeps_the_vendors_code(dialect, reply, reason):
    """Against fraud, or of a register: the person has not opted out of our messages."""
    blocked = Refused(Fault.RECIPIENT, reason, scope=RefusalScope.BLOCKED)

    assert blocked == dialect.interpret_reply(reply)
