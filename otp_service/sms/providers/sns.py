"""Amazon SNS: Publish to a phone number. Tells nothing of what becomes of a message.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html

What came back, and whose fault it is:

    InvalidParameter that names the phone number   recipient: stop
    any other code with a 4xx                      provider: the next one
    any other 5xx                                  unknown

One code stands for everything that is wrong with a request, so its prose has to be looked at: for
a number it is "Invalid parameter: PhoneNumber Reason: … is not valid to publish to", or speaks of
E.164. A region that has no SMS at all says the same of every number: try `send-test` first.

A number that has opted out is accepted and then dropped, and there is no webhook for deliveries:
they are told to CloudWatch Logs only. There is no place for our reference, nor for a validity.
Use `aws` (End User Messaging) where that matters; this one is for accounts that have only SNS.
"""

import re
from typing import ClassVar
from urllib.parse import urlencode

from otp_service.core.delivery import Accepted, Message, Refused
from otp_service.sms.aws.sigv4 import AwsSettings
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.sender_ids import is_numeric_sender_id
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    classify_reply,
)


FAULT_TABLE: FaultTable = {
    "AccessDenied": ACCOUNT_FAULT,
    "AccessDeniedException": ACCOUNT_FAULT,
    "AuthorizationError": ACCOUNT_FAULT,
    "ExpiredToken": ACCOUNT_FAULT,
    "InvalidClientTokenId": ACCOUNT_FAULT,
    "InvalidSecurity": ACCOUNT_FAULT,
    "KMSAccessDenied": ACCOUNT_FAULT,
    "KMSDisabled": ACCOUNT_FAULT,
    "KMSInvalidState": ACCOUNT_FAULT,
    "KMSNotFound": ACCOUNT_FAULT,
    "KMSOptInRequired": ACCOUNT_FAULT,
    "MissingAuthenticationToken": ACCOUNT_FAULT,
    "OptInRequired": ACCOUNT_FAULT,
    "SignatureDoesNotMatch": ACCOUNT_FAULT,
    "UnrecognizedClientException": ACCOUNT_FAULT,
    "KMSThrottling": THROTTLED_FAULT,
    "RequestLimitExceeded": THROTTLED_FAULT,
    "Throttled": THROTTLED_FAULT,
    "ThrottledException": THROTTLED_FAULT,
    "Throttling": THROTTLED_FAULT,
}

REQUEST_HEADERS = (
    ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
    ("accept", "text/xml"),  # it would answer ours, which prefers JSON, with JSON
)

_ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE_ID = re.compile(rb"<MessageId>([!-;=-~]{1,128})</MessageId>")
_NUMBER_ERROR = re.compile(rb"<Message>[^<]*(?:PhoneNumber|E\.?164)[^<]*</Message>")


class Sns(AwsSettings, frozen=True, kw_only=True, tag="sns"):
    """The settings of an account that sends through SNS, and its dialect.

    A sender that is a number is sent as OriginationNumber, any other as SenderID.
    """

    service: ClassVar[str] = "sns"

    max_price: str = ""
    """The most that one message may cost, in USD: 0.50."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST, not yet signed."""
        fields = {
            "Action": "Publish",
            "Version": "2010-03-31",
            "PhoneNumber": message.to.e164,
            "Message": message.text,
        }
        for number, (name, kind, value) in enumerate(self._build_attributes(message), start=1):
            entry = f"MessageAttributes.entry.{number}"
            fields[f"{entry}.Name"] = f"AWS.SNS.SMS.{name}"
            fields[f"{entry}.Value.DataType"] = kind
            fields[f"{entry}.Value.StringValue"] = value
        return HttpRequest("POST", self.url, REQUEST_HEADERS, urlencode(fields).encode())

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top.

        Two places of the XML are looked for as text: a parser would do more than is asked of it
        with what a stranger sends.
        """
        known, code = _extract_text(_MESSAGE_ID, reply), _extract_text(_ERROR_CODE, reply)
        if code == "InvalidParameter" and _NUMBER_ERROR.search(reply.body):
            return classify_reply(reply, known, {code: RECIPIENT_FAULT}, code)
        return classify_reply(reply, known, FAULT_TABLE, code)

    def _build_attributes(self, message: Message) -> list[tuple[str, str, str]]:
        attributes = [("SMSType", "String", "Transactional")]
        sender = self.select_sender_id(message)
        if sender:
            name = "OriginationNumber" if is_numeric_sender_id(sender) else "SenderID"
            attributes.append((name, "String", sender))
        if self.max_price:
            attributes.append(("MaxPrice", "Number", self.max_price))
        return attributes


def _extract_text(pattern: re.Pattern[bytes], reply: HttpReply) -> str | None:
    found = pattern.search(reply.body)
    return found[1].decode() if found else None
