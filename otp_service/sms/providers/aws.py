"""AWS End User Messaging: SendTextMessage, with receipts through a topic of SNS.

The code of a refusal is the error's Reason, or its type without one. A reason of FORMAT_REASONS
that names only the number's field is the recipient's fault. Throttling comes with a 400.

A number that Protect has blocked ends the chain, as a refusal and as an event: Protect is against
numbers that are pumped for money, and another provider would evade it. A whole blocked country is a
setting of this account ("high message prices or countries you don't operate in"), like a geo
permission elsewhere, so another provider is tried. To send nothing to a country, leave it out of
`countries`, which is valid for all providers.

Receipts are events of a configuration set, whose destination is a topic of SNS; subscribe
`/v1/callbacks/{provider}` to it over https, without raw delivery, as only the envelope is signed:

    configuration_set = "otp"
    topic_arn = "arn:aws:sns:eu-west-1:123456789012:sms-events"

Messages from phones are notifications of the two-way channel of a number or a pool, to a topic too. There
is one `topic_arn`, so both use one topic, and `eventType` distinguishes them: no message has one.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html
https://docs.aws.amazon.com/sms-voice/latest/userguide/filter-and-monitor-messages.html
https://docs.aws.amazon.com/sms-voice/latest/userguide/configuration-sets-event-types.html
https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html
"""

import logging
from typing import Any, ClassVar, Final

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.sms.aws import sns_notification
from otp_service.sms.aws.sigv4 import AwsSettings
from otp_service.sms.fault_table import FaultTable, classify_reply
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
    decode_callback,
)
from otp_service.sms.vendor_dialect import HiddenFields, ReceiptStatus, build_receipt


logger = logging.getLogger(__name__)

FAULT_TABLE: Final[FaultTable] = {
    "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE": "blocked",
    "DESTINATION_PHONE_NUMBER_OPTED_OUT": "opted-out",
    "ACCOUNT_DISABLED": "account",
    "AccessDeniedException": "account",
    "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION": "account",
    "DESTINATION_PHONE_NUMBER_NOT_VERIFIED": "account",  # the account is still in the sandbox
    "ExpiredTokenException": "account",
    "INSUFFICIENT_ACCOUNT_REPUTATION": "account",
    "IncompleteSignatureException": "account",
    "InvalidSignatureException": "account",
    "MESSAGE_TYPE_MISMATCH": "account",
    "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT": "account",
    "MissingAuthenticationTokenException": "account",
    "NO_ORIGINATION_IDENTITIES_FOUND": "account",
    "NUMBER_CAPABILITIES_MISMATCH": "account",
    "RESOURCE_NOT_ACCESSIBLE": "account",
    "RESOURCE_NOT_ACTIVE": "account",
    "ResourceNotFoundException": "account",
    "SENDER_ID_NOT_REGISTERED": "account",
    "SENDER_ID_REQUIRES_REGISTRATION": "account",
    "ServiceQuotaExceededException": "account",
    "UnrecognizedClientException": "account",
    "RequestLimitExceeded": "throttled",
    "ThrottlingException": "throttled",
    "TooManyRequestsException": "throttled",
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "TEXT_QUEUED": "pending",
    "TEXT_PENDING": "pending",
    "TEXT_SENT": "pending",
    "TEXT_SUCCESSFUL": "pending",
    "TEXT_DELIVERED": "delivered",
    "TEXT_UNREACHABLE": "temporary-failure",
    "TEXT_TTL_EXPIRED": "temporary-failure",
    "TEXT_INVALID": "permanent-failure",
    "TEXT_BLOCKED": "permanent-failure",
    "TEXT_PROTECT_BLOCKED": "permanent-failure",
    "TEXT_CARRIER_BLOCKED": "technical-failure",
    "TEXT_CARRIER_UNREACHABLE": "technical-failure",
    "TEXT_INVALID_MESSAGE": "technical-failure",
    "TEXT_SPAM": "technical-failure",
    "TEXT_UNKNOWN": "technical-failure",
}
"""BLOCKED is the recipient's decision, CARRIER_BLOCKED is about this message. SUCCESSFUL means
that the carrier accepted it; in countries where no more is reported it is final, and then means
DELIVERED (event types, above)."""

FORMAT_REASONS: Final = frozenset({"CANNOT_PARSE", "FIELD_VALIDATION_FAILED", "INVALID_PARAMETER"})
MAX_TTL_SECONDS: Final = 259_200
REQUEST_HEADERS: Final = (
    ("content-type", "application/x-amz-json-1.0"),
    ("x-amz-target", "PinpointSMSVoiceV2.SendTextMessage"),
)


class _ErrorField(msgspec.Struct, rename="pascal"):
    name: str = ""


class _ReplyBody(msgspec.Struct, rename="pascal"):
    """A reply: either a message id, or the other fields."""

    message_id: str | None = None
    type: str = msgspec.field(name="__type", default="")
    reason: str | None = None
    fields: list[_ErrorField] = []

    @property
    def error_type(self) -> str:
        """The error's type without its namespace."""
        return self.type.rpartition("#")[2]

    @property
    def is_invalid_number(self) -> bool:
        names = {field.name.lower() for field in self.fields}
        return self.reason in FORMAT_REASONS and names == {"destinationphonenumber"}


class _EventBody(HiddenFields, frozen=True, rename="camel"):
    event_type: str = ""
    """Empty for a message from a phone: see _InboundBody."""
    origination_number: msgspec.Raw = msgspec.Raw(b"")
    message_id: str = ""
    is_final: bool = False
    context: dict[str, Any] | None = None

    @property
    def status(self) -> ReceiptStatus:
        if self.event_type == "TEXT_SUCCESSFUL" and self.is_final:
            return "delivered"
        return RECEIPT_STATUSES.get(self.event_type, "pending")

    @property
    def reference(self) -> str:
        value = (self.context or {}).get("reference")
        return value if isinstance(value, str) else ""


class _InboundBody(HiddenFields, frozen=True, rename="camel"):
    origination_number: str
    destination_number: str = ""
    message_body: str = ""
    inbound_message_id: str = ""


class Aws(AwsSettings, frozen=True, kw_only=True, tag="aws"):
    """An account of End User Messaging.

    The user of the keys needs `sms-voice:SendTextMessage` and nothing else.
    """

    service: ClassVar[str] = "sms-voice"

    pool: str = ""
    """A pool of numbers (pool-…), for destinations without an allowed sender."""
    configuration_set: str = ""
    protect_configuration: str = ""
    """Replaces the account's own protection against pumping."""
    max_price: str = ""
    """The highest price of one part of a message in USD: 0.50."""
    topic_arn: str = ""
    """The topic of events."""
    inbound_topic_arn: str = ""
    """The topic of the two-way channel, if messages from phones have one of their own."""

    @property
    def has_sender_pool(self) -> bool:
        """See `pool`."""
        return bool(self.pool)

    @property
    def topics(self) -> tuple[str, ...]:
        """The only topics whose notifications are accepted."""
        return tuple(filter(None, (self.topic_arn, self.inbound_topic_arn)))

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """SNS signs everything with its certificate."""
        return True

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

    def interpret_reply(self, reply: HttpReply) -> Reply:
        body = reply.decode_or(_ReplyBody())
        code = body.reason or body.error_type
        fault = FAULT_TABLE.get(code) or FAULT_TABLE.get(body.error_type)
        if body.is_invalid_number:
            fault = "recipient"
        return classify_reply(reply, body.message_id, {code: fault} if fault else {}, code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt of an event or the message of a person; not those of other channels."""
        notification = sns_notification.verify_notification(callback, self.topics)
        if notification.type != "Notification":
            _log_subscription_change(notification)
            return [SkippedEvent.OTHER]
        event = _decode_event(notification.message)
        if not event.event_type and bytes(event.origination_number):
            return [_parse_message(notification.message)]
        if not event.event_type.startswith("TEXT_"):
            return [SkippedEvent.OTHER]
        receipt = build_receipt(
            event.status,
            event.event_type,
            reference=event.reference,
            message_id=event.message_id,
            is_signed=True,
        )
        return [receipt]

    def find_certificate_url(self, callback: Callback) -> str | None:
        """Return the address of SNS's certificate. Raises as `parse_certificate_url`."""
        return sns_notification.parse_certificate_url(callback, self.topics)

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        for setting in ("topic_arn", "inbound_topic_arn"):
            found += sns_notification.find_topic_errors(setting, getattr(self, setting))
        return found


def _decode_event(message: str) -> _EventBody:
    """Return the event; an empty one for a message that anything else has sent to the topic."""
    try:
        return decode_callback(message, _EventBody)
    except UnreadableCallback:
        return _EventBody()


def _parse_message(text: str) -> InboundMessage:
    """Return the message of a person. Raises UnreadableCallback."""
    message = decode_callback(text, _InboundBody)
    return InboundMessage(
        message.origination_number,
        message.message_body,
        message.destination_number,
        message.inbound_message_id,
        is_signed=True,
    )


def _log_subscription_change(notification: sns_notification.Notification) -> None:
    """Log what an operator has to do; the token only confirms this subscription."""
    if notification.type == "UnsubscribeConfirmation":
        logger.warning("SNS ended the subscription to %s: no receipts", notification.topic_arn)
        return
    logger.warning(
        "SNS asks to confirm a subscription; do it by hand if it is yours: "
        "aws sns confirm-subscription --topic-arn %s --token %s",
        notification.topic_arn,
        notification.token,
    )
