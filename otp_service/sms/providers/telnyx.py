"""Telnyx Messaging, API v2.

    code                                              fault, and what it speaks of
    10002, 10016 the number's form, 40310 invalid
    "to", 40001 a landline or not routable, 40012
    invalid destination                               recipient
    40300 blocked, if title or detail says STOP       recipient: it asked this sender to stop
    40300 otherwise                                   provider: the profile may be blocked
    10009, 10010 keys, 20100 funds, 40305, 40306,
    40312 to 40315, 40329, 40333 sender or profile    provider, the account
    10011, 40011, 40318 too much at once              provider, throttled
    any other 4xx                                     provider
    5xx, or a 2xx without an id                       unknown

The same codes stand in receipts, where what is not the recipient's is technical. There,
`delivery_unconfirmed` is pending: no operator will ever tell. Validity cannot be asked for, nor a
reference of ours be given: it stands in the address that receipts are brought to.

https://developers.telnyx.com/docs/messaging/messages/error-codes
https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback, CallbackSignatureError
from otp_service.sms.signatures import decode_base64
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    NO_FAULTS,
    PROVIDER_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    build_json_request,
    classify_reply,
    decode_json,
    decode_json_or,
    derive_permanent_failures,
    resolve_receipt_status,
    sanitize_reason,
)


BLOCKED_CODE: Final = "40300"
FAULT_TABLE: Final[FaultTable] = {
    **dict.fromkeys(("10002", "10016", "40001", "40012", "40310"), RECIPIENT_FAULT),
    **dict.fromkeys(("10009", "10010", "20100"), ACCOUNT_FAULT),
    **dict.fromkeys(("40305", "40306", "40312", "40313", "40314", "40315"), ACCOUNT_FAULT),
    **dict.fromkeys(("40329", "40333"), ACCOUNT_FAULT),
    **dict.fromkeys(("10011", "40011", "40318"), THROTTLED_FAULT),
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "queued": "pending",
    "sending": "pending",
    "sent": "pending",
    "delivery_unconfirmed": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "expired": "temporary-failure",
    "sending_failed": "technical-failure",
    "delivery_failed": "technical-failure",
}
RECEIPT_EVENTS: Final = frozenset({"message.sent", "message.finalized", "message.read"})
PUBLIC_KEY_BYTES: Final = 32


class _ErrorBody(msgspec.Struct):
    """Why a message was refused, or failed."""

    code: str | int
    title: str = ""
    detail: str | None = None

    @property
    def code_text(self) -> str:
        """The code as the table has it; Telnyx writes it as text, and at times as a number."""
        return str(self.code)

    @property
    def fault_table(self) -> FaultTable:
        """The table, with the odd case as it is here."""
        is_stop = "STOP" in f"{self.title} {self.detail}"
        return {**FAULT_TABLE, BLOCKED_CODE: RECIPIENT_FAULT if is_stop else PROVIDER_FAULT}


class _ReplyMessage(msgspec.Struct):
    """What is read of a message that was taken."""

    id: str = ""


class _ReplyBody(msgspec.Struct):
    """What is read of a reply."""

    data: _ReplyMessage | None = None
    errors: list[_ErrorBody] = []


class _ReceiptRecipient(msgspec.Struct):
    """What became of a message at its number."""

    status: str


class _ReceiptMessage(msgspec.Struct):
    """The message that a receipt is about."""

    id: str
    to: list[_ReceiptRecipient]
    errors: list[_ErrorBody] | None = None


class _ReceiptEvent(msgspec.Struct):
    """What happened to it."""

    event_type: str
    payload: _ReceiptMessage


class _ReceiptBody(msgspec.Struct):
    """What is read of a receipt."""

    data: _ReceiptEvent


class Telnyx(VendorSettings, frozen=True, kw_only=True, tag="telnyx"):
    """An account of Telnyx."""

    api_key: Secret
    messaging_profile_id: str = ""
    """Needed for names as sender, and for a pool of numbers."""
    public_key: str = ""
    """In base64, from the portal. Without it receipts count as unsigned."""
    base_url: str = "https://api.telnyx.com"

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        fields = {
            "to": message.to.e164,
            "from": self.select_sender_id(message),
            "messaging_profile_id": self.messaging_profile_id,
            "text": message.text,
            "type": "SMS",
            "webhook_url": message.callback_url,
            # Receipts hold the text: they go nowhere but where this message says.
            "use_profile_webhooks": False,
        }
        url = self.build_url("/v2/messages")
        return build_json_request(url, f"Bearer {self.api_key.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        known = answer.data.id if answer.data else None
        error = answer.errors[0] if answer.errors else None
        if error is None:
            return classify_reply(reply, known)
        return classify_reply(reply, known, error.fault_table, error.code_text)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        if self.public_key:
            verify_signature(callback, self.public_key)
        event = decode_json(callback.body, _ReceiptBody).data
        if event.event_type not in RECEIPT_EVENTS or not event.payload.to:
            raise ValueError("not news of a message that was sent")
        error = event.payload.errors[0] if event.payload.errors else None
        code, verdicts = (error.code_text, error.fault_table) if error else (None, NO_FAULTS)
        known = resolve_receipt_status(
            RECEIPT_STATUSES[event.payload.to[0].status], code, derive_permanent_failures(verdicts)
        )
        why = sanitize_reason(known, code)
        return [Receipt(known, "", event.payload.id, why, is_signed=bool(self.public_key))]

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        faults = super().find_errors()
        if self.public_key and len(decode_base64(self.public_key)) != PUBLIC_KEY_BYTES:
            faults.append(("public_key", "copy it from the portal: 32 bytes in base64"))
        return faults


def verify_signature(callback: Callback, public_key: str) -> None:
    """Check the signature over time and body, and that it is not an old one."""
    timestamp = callback.headers.get("telnyx-timestamp", "")
    given = decode_base64(callback.headers.get("telnyx-signature-ed25519", ""))
    key = Ed25519PublicKey.from_public_bytes(decode_base64(public_key))
    try:
        key.verify(given, timestamp.encode() + b"|" + callback.body)
    except InvalidSignature:
        raise CallbackSignatureError from None
    callback.require_recent_timestamp(timestamp)
