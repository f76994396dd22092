"""Bird SMS, the API of 2026 (messagebird.py is the one before).

A webhook is set up once for a workspace and not for a message, so receipts and messages from phones
come to one address; our reference is sent as metadata. `category = "authentication"` keeps the text out of what Bird
stores. A fraud block is permanent, because another provider would defeat it.

https://bird.com/docs/sdks/python
https://www.standardwebhooks.com
"""

from typing import ClassVar, Final

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.core.standard_webhook import decode_webhook_secret, is_signed_webhook
from otp_service.sms.fault_table import FaultTable, classify_reply
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    CallbackSignatureError,
    SkippedEvent,
    decode_callback,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
)


FAULT_TABLE: Final[FaultTable] = {
    "SMSInvalidRecipient": "recipient",
    "SMSNoEligibleSender": "account",
    "SMSSenderNotConfigured": "account",
    "SenderCategoryNotPermitted": "account",
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "sms.accepted": "pending",
    "sms.sent": "pending",
    "sms.delivered": "delivered",
    "sms.undelivered": "technical-failure",
    "sms.failed": "technical-failure",
    "sms.rejected": "technical-failure",
    "sms.expired": "temporary-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "invalid_destination": "permanent-failure",
    "landline_unreachable": "permanent-failure",
    "recipient_opted_out": "opted-out",
    "blocked_by_recipient": "permanent-failure",
    "blocked_by_fraud_protection": "permanent-failure",
    "unreachable": "temporary-failure",
}

INBOUND_EVENT_TYPE: Final = "sms.received"
MIN_VALIDITY_SECONDS: Final = 60


class _ReplyError(msgspec.Struct):
    name: str | None = None


class _ReplyBody(msgspec.Struct):
    id: str = ""
    error: _ReplyError | None = None


class _ReceiptError(msgspec.Struct):
    code: str


class _ReceiptMessage(msgspec.Struct):
    sms_id: str
    metadata: dict[str, object] | None = None
    error: _ReceiptError | None = None

    @property
    def reference(self) -> str:
        value = (self.metadata or {}).get("reference")
        return value if isinstance(value, str) else ""


class _InboundBody(HiddenFields, frozen=True):
    sender: str = msgspec.field(name="from")
    to: str = ""
    text: str | None = None
    """None for a message that has attachments alone."""
    sms_id: str = ""


class _EventBody(HiddenFields, frozen=True):
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    """Of a receipt a _ReceiptMessage, of a message an _InboundBody."""


class Bird(VendorSettings, frozen=True, kw_only=True, tag="bird"):
    """A workspace of Bird. `base_url` is https://{region}.platform.bird.com.

    The region is in the key: bk_{region}_...
    """

    requires_sender: ClassVar[bool] = True

    api_key: Secret
    webhook_secret: Secret | None = None
    """whsec_..., of the configured webhook. Without it receipts count as unsigned."""
    has_validity: bool = False
    """Whether to ask for a validity: a preview, refused for workspaces outside of it."""

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Bird signs everything; the secret of the webhook checks it."""
        return self.webhook_secret is not None

    def build_request(self, message: Message) -> HttpRequest:
        takes = self.has_validity and message.validity_seconds >= MIN_VALIDITY_SECONDS
        fields = {
            "to": message.to.e164,
            "from": self.select_sender_id(message),
            "text": message.text,
            "category": "authentication",
            "metadata": {"reference": message.reference},
            "validity_period": message.validity_seconds if takes else None,
        }
        url = self.build_url("/v1/sms/messages")
        return build_json_request(url, f"Bearer {self.api_key.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        body = reply.decode_or(_ReplyBody())
        name = body.error.name if body.error else None
        return classify_reply(reply, body.id, FAULT_TABLE, name)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first."""
        if self.webhook_secret:
            verify_signature(callback, self.webhook_secret.reveal())
        event, is_signed = callback.decode_event(_EventBody), self.webhook_secret is not None
        if event.type == INBOUND_EVENT_TYPE:
            return [_message_from_data(event.data, is_signed=is_signed)]
        status = RECEIPT_STATUSES.get(event.type)
        if status is None:
            return [SkippedEvent.OTHER]
        message = decode_callback(event.data, _ReceiptMessage)
        receipt = build_receipt(
            status,
            message.error.code if message.error else None,
            failure_statuses=FAILURE_STATUSES,
            reference=message.reference,
            message_id=message.sms_id,
            is_signed=is_signed,
        )
        return [receipt]

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        if self.webhook_secret and not decode_webhook_secret(self.webhook_secret.reveal()):
            found.append(("webhook_secret", "copy it from the webhook: whsec_ and base64"))
        return found


def _message_from_data(data: msgspec.Raw, *, is_signed: bool) -> InboundMessage:
    """Return the message of a person. Raises UnreadableCallback."""
    message = decode_callback(data, _InboundBody)
    return InboundMessage(message.sender, message.text or "", message.to, message.sms_id, is_signed)


def verify_signature(callback: Callback, secret: str) -> None:
    """Raise CallbackSignatureError unless a recent Standard Webhooks signature is valid."""
    if not is_signed_webhook(callback.headers, callback.body, [decode_webhook_secret(secret)]):
        raise CallbackSignatureError
    callback.require_recent_timestamp(callback.headers.get("webhook-timestamp", ""))
