"""Amazon SNS: Publish to a phone number.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html

InvalidParameter is the code of everything that is wrong with a request, so its prose decides: for a
number it is "Invalid parameter: PhoneNumber Reason: … is not valid to publish to". The form E.164 is
asked for of our own sender too, so it proves nothing. A region without SMS answers the same for every
number: try `send-test` first.

A number that has opted out is accepted and then dropped, and there is no webhook for deliveries:
they are reported to CloudWatch Logs only. There is no field for our reference or a validity. Use
`aws` (End User Messaging) where that matters; this one is for accounts that have only SNS.
"""

import re
from typing import ClassVar, Final
from urllib.parse import urlencode

from otp_service.core.delivery import Message, Reply
from otp_service.sms.aws.sigv4 import AwsSettings
from otp_service.sms.fault_table import FaultTable, classify_reply
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.sender_ids import is_numeric_sender_id


FAULT_TABLE: Final[FaultTable] = {
    "AccessDenied": "account",
    "AccessDeniedException": "account",
    "AuthorizationError": "account",
    "ExpiredToken": "account",
    "InvalidClientTokenId": "account",
    "InvalidSecurity": "account",
    "KMSAccessDenied": "account",
    "KMSDisabled": "account",
    "KMSInvalidState": "account",
    "KMSNotFound": "account",
    "KMSOptInRequired": "account",
    "MissingAuthenticationToken": "account",
    "OptInRequired": "account",
    "SignatureDoesNotMatch": "account",
    "UnrecognizedClientException": "account",
    "KMSThrottling": "throttled",
    "RequestLimitExceeded": "throttled",
    "Throttled": "throttled",
    "ThrottledException": "throttled",
    "Throttling": "throttled",
}
NUMBER_FAULT_TABLE: Final[FaultTable] = {"InvalidParameter": "recipient"}
"""Where the prose is about the number."""

REQUEST_HEADERS: Final = (
    ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
    ("accept", "text/xml"),  # SNS would answer our usual header, which prefers JSON, with JSON
)

_ERROR_CODE_PATTERN: Final = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE_ID_PATTERN: Final = re.compile(rb"<MessageId>([!-;=-~]{1,128})</MessageId>")
_NUMBER_ERROR_PATTERN: Final = re.compile(
    rb"<Message>Invalid parameter: PhoneNumber\b[^<]*</Message>"
)


class Sns(AwsSettings, frozen=True, kw_only=True, tag="sns"):
    """An AWS account that sends through SNS.

    A numeric sender is sent as OriginationNumber, any other as SenderID.
    """

    service: ClassVar[str] = "sns"

    max_price: str = ""
    """The highest price of one message in USD: 0.50."""

    @property
    def has_sender_pool(self) -> bool:
        """SNS selects one of the account's numbers for a message without a sender."""
        return True

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
            fields[f"{entry}.Name"] = name
            fields[f"{entry}.Value.DataType"] = kind
            fields[f"{entry}.Value.StringValue"] = value
        return HttpRequest("POST", self.url, REQUEST_HEADERS, urlencode(fields).encode())

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply.

        Two elements of the XML are searched as text: a parser would expose us to more of what an
        unauthenticated peer can send.
        """
        code = _extract_text(_ERROR_CODE_PATTERN, reply)
        is_number_error = _NUMBER_ERROR_PATTERN.search(reply.body)
        faults = {**FAULT_TABLE, **NUMBER_FAULT_TABLE} if is_number_error else FAULT_TABLE
        return classify_reply(reply, _extract_text(_MESSAGE_ID_PATTERN, reply), faults, code)

    def _build_attributes(self, message: Message) -> list[tuple[str, str, str]]:
        attributes = [("AWS.SNS.SMS.SMSType", "String", "Transactional")]
        sender = self.select_sender_id(message)
        if sender:
            is_number = is_numeric_sender_id(sender)
            name = "AWS.MM.SMS.OriginationNumber" if is_number else "AWS.SNS.SMS.SenderID"
            attributes.append((name, "String", sender))
        if self.max_price:
            attributes.append(("AWS.SNS.SMS.MaxPrice", "Number", self.max_price))
        return attributes


def _extract_text(pattern: re.Pattern[bytes], reply: HttpReply) -> str | None:
    found = pattern.search(reply.body)
    return found[1].decode() if found else None
