"""AWS End User Messaging: SendTextMessage, with receipts through a topic of SNS.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html

What came back, and whose fault it is. The code is the error's Reason, or its type if it gives none:

    RECIPIENT_FAULT                                         recipient: stop
    a reason of FORMAT that names the number's field  recipient: stop
    ACCOUNT_FAULT, THROTTLED_FAULT, any other code with a 4xx     provider: the next one
    any other 5xx                                     unknown

What Protect has blocked of a number stops the chain, as a refusal and as an event: it is there
against numbers that are paid to be called, and another provider would go around it. That a whole
country is blocked says nothing of a number. It is a setting of this account ("high message prices
or countries you don't operate in"), like a geo permission that is off elsewhere, and another
provider may well reach it. Whoever wants no messages to a country leaves it out of `countries`,
which holds for all providers. Throttling comes with a 400.

https://docs.aws.amazon.com/sms-voice/latest/userguide/filter-and-monitor-messages.html

Receipts are events of a configuration set, whose destination is a topic of SNS; subscribe
`/v1/callbacks/{provider}` to it over https, without raw delivery, as only the envelope is signed:

    configuration_set = "otp"
    topic_arn = "arn:aws:sns:eu-west-1:123456789012:sms-events"

https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html
"""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.sms.aws.sigv4 import AwsSettings
from otp_service.sms.aws.sns_notification import (
    Notification,
    find_topic_errors,
    parse_certificate_url,
    verify_notification,
)
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    classify_reply,
    decode_json,
    decode_json_or,
    sanitize_reason,
)


logger = logging.getLogger(__name__)

FAULT_TABLE: FaultTable = {
    "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE": RECIPIENT_FAULT,
    "DESTINATION_PHONE_NUMBER_OPTED_OUT": RECIPIENT_FAULT,
    "ACCOUNT_DISABLED": ACCOUNT_FAULT,
    "AccessDeniedException": ACCOUNT_FAULT,
    "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION": ACCOUNT_FAULT,
    "DESTINATION_PHONE_NUMBER_NOT_VERIFIED": ACCOUNT_FAULT,  # the account is still in the sandbox
    "ExpiredTokenException": ACCOUNT_FAULT,
    "INSUFFICIENT_ACCOUNT_REPUTATION": ACCOUNT_FAULT,
    "IncompleteSignatureException": ACCOUNT_FAULT,
    "InvalidSignatureException": ACCOUNT_FAULT,
    "MESSAGE_TYPE_MISMATCH": ACCOUNT_FAULT,
    "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT": ACCOUNT_FAULT,
    "MissingAuthenticationTokenException": ACCOUNT_FAULT,
    "NO_ORIGINATION_IDENTITIES_FOUND": ACCOUNT_FAULT,
    "NUMBER_CAPABILITIES_MISMATCH": ACCOUNT_FAULT,
    "RESOURCE_NOT_ACCESSIBLE": ACCOUNT_FAULT,
    "RESOURCE_NOT_ACTIVE": ACCOUNT_FAULT,
    "ResourceNotFoundException": ACCOUNT_FAULT,
    "SENDER_ID_NOT_REGISTERED": ACCOUNT_FAULT,
    "SENDER_ID_REQUIRES_REGISTRATION": ACCOUNT_FAULT,
    "ServiceQuotaExceededException": ACCOUNT_FAULT,
    "UnrecognizedClientException": ACCOUNT_FAULT,
    "RequestLimitExceeded": THROTTLED_FAULT,
    "ThrottlingException": THROTTLED_FAULT,
    "TooManyRequestsException": THROTTLED_FAULT,
}
FORMAT_REASONS = frozenset({"CANNOT_PARSE", "FIELD_VALIDATION_FAILED", "INVALID_PARAMETER"})

RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
    "TEXT_QUEUED": "pending",
    "TEXT_PENDING": "pending",
    "TEXT_SENT": "pending",
    "TEXT_SUCCESSFUL": "pending",
    "TEXT_DELIVERED": "delivered",
    "TEXT_UNREACHABLE": "temporary-failure",
    "TEXT_INVALID": "permanent-failure",
    "TEXT_BLOCKED": "permanent-failure",
    "TEXT_PROTECT_BLOCKED": "permanent-failure",
    "TEXT_CARRIER_BLOCKED": "technical-failure",
    "TEXT_CARRIER_UNREACHABLE": "technical-failure",
    "TEXT_INVALID_MESSAGE": "technical-failure",
    "TEXT_SPAM": "technical-failure",
    "TEXT_TTL_EXPIRED": "technical-failure",
    "TEXT_UNKNOWN": "technical-failure",
}
"""BLOCKED is the recipient's own will, CARRIER_BLOCKED is about this message. SUCCESSFUL means
that the carrier took it; in countries where nobody says more it is the final word, and then stands
for DELIVERED (event types, above)."""

MAX_TTL_SECONDS = 259_200
_TARGET = "PinpointSMSVoiceV2.SendTextMessage"
REQUEST_HEADERS = (("content-type", "application/x-amz-json-1.0"), ("x-amz-target", _TARGET))


class _ErrorField(msgspec.Struct, rename="pascal"):
    name: str = ""


class _ReplyBody(msgspec.Struct, rename="pascal"):
    """A reply, of which all but one side is missing."""

    message_id: str | None = None
    type: str = msgspec.field(name="__type", default="")
    reason: str | None = None
    fields: list[_ErrorField] = []

    @property
    def error_type(self) -> str:
        """The error's type, which may come with its namespace before it."""
        return self.type.rpartition("#")[2]

    @property
    def is_invalid_number(self) -> bool:
        """Whether the number is what could not be understood."""
        names = {field.name.lower() for field in self.fields}
        return self.reason in FORMAT_REASONS and names == {"destinationphonenumber"}


class _ReceiptBody(msgspec.Struct, rename="camel"):
    event_type: str
    message_id: str = ""
    is_final: bool = False
    context: dict[str, Any] | None = None


class Aws(AwsSettings, frozen=True, kw_only=True, tag="aws"):
    """The settings of an account of End User Messaging, and its dialect.

    The user of the keys needs `sms-voice:SendTextMessage` and nothing else.
    """

    service: ClassVar[str] = "sms-voice"

    pool: str = ""
    """A pool of numbers (pool-…), where no sender is set or none may be used."""
    configuration_set: str = ""
    protect_configuration: str = ""
    """Instead of the account's own, against pumping."""
    max_price: str = ""
    """The most that one part of a message may cost, in USD: 0.50."""
    topic_arn: str = ""
    """The only topic that receipts are taken from."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST, not yet signed."""
        optional = {
            "OriginationIdentity": self.select_sender_id(message) or self.pool,
            "ConfigurationSetName": self.configuration_set,
            "ProtectConfigurationId": self.protect_configuration,
            "MaxPrice": self.max_price,
        }
        body = {
            "DestinationPhoneNumber": message.to.e164,
            "MessageBody": message.text,
            "MessageType": "TRANSACTIONAL",
            "TimeToLive": min(message.validity_seconds, MAX_TTL_SECONDS),
            "Context": {"reference": message.reference},
            **{name: value for name, value in optional.items() if value},
        }
        return HttpRequest("POST", self.url, REQUEST_HEADERS, msgspec.json.encode(body))

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        said = decode_json_or(_ReplyBody(), reply.body)
        code = said.reason or said.error_type
        verdict = FAULT_TABLE.get(code) or FAULT_TABLE.get(said.error_type)
        if said.is_invalid_number:
            verdict = RECIPIENT_FAULT
        return classify_reply(reply, said.message_id, {code: verdict} if verdict else {}, code)

    def find_certificate_url(self, callback: Callback) -> str | None:
        """Return the address of SNS's certificate; raises BadSignature for any other."""
        return parse_certificate_url(callback, self.topic_arn)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the news of one event, or none for other channels and for subscriptions."""
        notification = verify_notification(callback, self.topic_arn)
        if notification.type != "Notification":
            return _log_confirmation_request(notification)
        event = decode_json(notification.message, _ReceiptBody)
        if not event.event_type.startswith("TEXT_"):
            return []
        return [_build_receipt(event)]

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        return [*super().find_errors(), *find_topic_errors(self.topic_arn)]


def _build_receipt(event: _ReceiptBody) -> Receipt:
    status = RECEIPT_STATUSES.get(event.event_type, "pending")
    if event.event_type == "TEXT_SUCCESSFUL" and event.is_final:
        status = "delivered"
    return Receipt(
        status,
        reference=str((event.context or {}).get("reference", "")),
        message_id=event.message_id,
        reason=sanitize_reason(status, event.event_type),
        is_signed=True,
    )


def _log_confirmation_request(notification: Notification) -> Sequence[Receipt]:
    """Tell an operator, who needs the token: it is of no use for anything but this."""
    logger.warning(
        "SNS asks to confirm a subscription; do it by hand if it is yours: "
        "aws sns confirm-subscription --topic-arn %s --token %s",
        notification.topic_arn,
        notification.token,
    )
    return []
