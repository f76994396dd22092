"""Bird SMS, the API of 2026 (messagebird.py is the one before).

    name of an error                                    fault, and what it speaks of
    SMSInvalidRecipient                                 recipient
    SMSNoEligibleSender, SMSSenderNotConfigured,
    SenderCategoryNotPermitted                          provider, the account: its senders
    401, 402, 403                                       provider, the account (by their status)
    429                                                 provider, throttled (by its status)
    any other 4xx                                       provider
    5xx, or a 2xx without an id                         unknown

    receipt                                             what became of the message
    sms.accepted, sms.sent                              pending
    sms.delivered                                       delivered
    sms.undelivered, failed, rejected, with the code
        invalid_destination, landline_unreachable,
        recipient_opted_out, blocked_by_recipient       permanent
        blocked_by_fraud_protection                     permanent: going around it defeats it
        unreachable                                     temporary
    sms.expired                                         temporary
    any other code                                      technical

Webhooks are set up once for a workspace and not for a message, so the address of receipts cannot
be given; our reference travels as metadata. `category = "authentication"` keeps the text out of
what Bird stores.

https://bird.com/docs/sdks/python
https://www.standardwebhooks.com
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback, CallbackSignatureError
from otp_service.sms.signatures import compute_signature, decode_base64, require_any_equal
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
    FaultTable,
    ReceiptStatus,
    build_json_request,
    classify_reply,
    decode_json,
    decode_json_or,
    resolve_receipt_status,
    sanitize_reason,
)


FAULT_TABLE: Final[FaultTable] = {
    "SMSInvalidRecipient": RECIPIENT_FAULT,
    "SMSNoEligibleSender": ACCOUNT_FAULT,
    "SMSSenderNotConfigured": ACCOUNT_FAULT,
    "SenderCategoryNotPermitted": ACCOUNT_FAULT,
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
    "recipient_opted_out": "permanent-failure",
    "blocked_by_recipient": "permanent-failure",
    "blocked_by_fraud_protection": "permanent-failure",
    "unreachable": "temporary-failure",
}
"""What a code makes of a technical failure."""
MIN_VALIDITY_SECONDS: Final = 60
"""Seconds: the least validity that Bird takes."""


class _ReplyError(msgspec.Struct):
    """An error of a reply."""

    name: str | None = None


class _ReplyBody(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    error: _ReplyError | None = None


class _ReceiptError(msgspec.Struct):
    """Why a message failed."""

    code: str


class _ReceiptMessage(msgspec.Struct):
    """The message that a receipt is about."""

    sms_id: str
    metadata: dict[str, object] | None = None
    error: _ReceiptError | None = None


class _ReceiptBody(msgspec.Struct):
    """What is read of a receipt."""

    type: str
    data: _ReceiptMessage


class Bird(VendorSettings, frozen=True, kw_only=True, tag="bird"):
    """A workspace of Bird. `base_url` is https://{region}.platform.bird.com.

    The region stands in the key: bk_{region}_...
    """

    api_key: Secret
    webhook_secret: Secret | None = None
    """whsec_..., of the webhook that was set up. Without it receipts count as unsigned."""
    has_validity: bool = False
    """Whether a validity may be asked for: a preview, and refused to workspaces outside of it."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
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

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        name = answer.error.name if answer.error else None
        return classify_reply(reply, answer.id, FAULT_TABLE, name)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        if self.webhook_secret:
            verify_signature(callback, self.webhook_secret.reveal())
        report = decode_json(callback.body, _ReceiptBody)
        code = report.data.error.code if report.data.error else ""
        known = resolve_receipt_status(RECEIPT_STATUSES[report.type], code, FAILURE_STATUSES)
        reference = (report.data.metadata or {}).get("reference")
        return [
            Receipt(
                known,
                reference if isinstance(reference, str) else "",
                report.data.sms_id,
                sanitize_reason(known, code),
                is_signed=self.webhook_secret is not None,
            )
        ]

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        faults = super().find_errors()
        if self.webhook_secret and not _decode_signing_key(self.webhook_secret.reveal()):
            faults.append(("webhook_secret", "copy it from the webhook: whsec_ and base64"))
        return faults


def verify_signature(callback: Callback, secret: str) -> None:
    """Check a Standard Webhooks signature, and that it is not an old one."""
    key, headers = _decode_signing_key(secret), callback.headers
    if not key:
        raise CallbackSignatureError  # anybody can sign with a key that is empty
    timestamp = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + callback.body
    expected = f"v1,{compute_signature(key, signed)}"
    require_any_equal(expected, headers.get("webhook-signature", "").split())
    callback.require_recent_timestamp(timestamp)


def _decode_signing_key(secret: str) -> bytes:
    """Return the key that a secret stands for; empty if it is none."""
    return decode_base64(secret.removeprefix("whsec_"))
