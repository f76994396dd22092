"""Telnyx Messaging, API v2.

10002 and 10016 are about the form of a number, which may be our sender's: `source.pointer` decides.
40300 "blocked" depends on its text: with STOP in title or detail it is the recipient's fault, who
asked this sender to stop; otherwise the profile may be blocked, which is the provider's.

Receipts have the same codes; those that are not the recipient's are technical. The status
`delivery_unconfirmed` is pending: no operator will ever report. A request has neither a validity
nor a reference of ours, which is in the address for receipts.

A message from a phone is sent to the webhook of the messaging profile. It may be an SMS or an MMS.

https://developers.telnyx.com/docs/messaging/messages/error-codes
https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
https://developers.telnyx.com/docs/messaging/messages/advanced-opt-in-out
"""

from typing import ClassVar, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import (
    PERMANENT_FAILURES,
    FaultTable,
    classify_reply,
    derive_permanent_failures,
)
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
    decode_callback,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.signatures import decode_base64
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
    choose_message_text,
)


BLOCKED_CODE: Final = "40300"
FAULT_TABLE: Final[FaultTable] = {
    "40001": "recipient",  # a landline, or not routable
    "40012": "recipient",  # invalid destination
    "40020": "blocked",  # a fraud block: another provider would defeat it
    "40310": "recipient",  # invalid "to"
    BLOCKED_CODE: "provider",  # see above
    **dict.fromkeys(("10009", "10010"), "account"),  # keys
    "20100": "account",  # funds
    **dict.fromkeys(("40305", "40306", "40312", "40313"), "account"),  # sender or profile
    **dict.fromkeys(("40307", "40309", "40314", "40315"), "account"),  # sender or profile
    **dict.fromkeys(("40329", "40330", "40331", "40333"), "account"),  # sender or profile
    **dict.fromkeys(("40010", "40100"), "account"),  # 10DLC registration; messaging not enabled
    **dict.fromkeys(("10011", "40011", "40016", "40018", "40318"), "throttled"),  # too much at once
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
MESSAGE_EVENT: Final = "message.received"
MESSAGE_TYPES: Final = frozenset({"SMS", "MMS"})
PUBLIC_KEY_BYTES: Final = 32
NUMBER_POINTER: Final = "/to/"
"""How the `source.pointer` of an error about the recipient's number begins, with a / at its end."""
NUMBER_FAULTS: Final[FaultTable] = dict.fromkeys(("10002", "10016"), "recipient")
"""The form of a number. Only with the pointer it is the recipient's number for certain."""
OTHER_FIELD_FAULTS: Final[FaultTable] = {
    code: "account"
    for code in (*FAULT_TABLE, *NUMBER_FAULTS)
    if FAULT_TABLE.get(code, "recipient") == "recipient"
}
"""The same codes where the pointer is to another field, such as our sender."""


class _ErrorSource(msgspec.Struct):
    pointer: str | None = None
    """A JSON pointer to the field of the request (RFC 6901)."""


class _ErrorBody(msgspec.Struct):
    code: str | int
    """Usually text, at times a number."""
    title: str = ""
    detail: str | None = None
    source: _ErrorSource | None = None

    @property
    def fault_table(self) -> FaultTable:
        """The table for this error, with the faults that depend on more than its code."""
        is_stop = "STOP" in f"{self.title} {self.detail}"
        table = {**FAULT_TABLE, BLOCKED_CODE: "opted-out"} if is_stop else FAULT_TABLE
        pointer = (self.source and self.source.pointer) or ""
        if f"{pointer}/".startswith(NUMBER_POINTER):
            return {**table, **NUMBER_FAULTS}
        return {**table, **OTHER_FIELD_FAULTS} if pointer else table

    @property
    def is_about_number(self) -> bool:
        return self.fault_table.get(str(self.code)) in PERMANENT_FAILURES


class _ReplyMessage(msgspec.Struct):
    id: str = ""


class _ReplyBody(msgspec.Struct):
    data: _ReplyMessage | None = None
    errors: list[_ErrorBody] = []


class _ReceiptRecipient(msgspec.Struct):
    status: str


class _ReceiptMessage(msgspec.Struct):
    id: str
    to: list[_ReceiptRecipient]
    errors: list[_ErrorBody] | None = None


class _InboundAddress(HiddenFields, frozen=True):
    phone_number: str | None = None


class _InboundMessage(HiddenFields, frozen=True):
    id: str
    sender: _InboundAddress = msgspec.field(name="from")
    to: tuple[_InboundAddress, ...] = ()
    text: str | None = None
    type: str = "SMS"
    autoresponse_type: str | None = None


class _Event(HiddenFields, frozen=True):
    event_type: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"")
    """Of a receipt: a _ReceiptMessage. Of a message from a phone: an _InboundMessage."""


class _CallbackBody(HiddenFields, frozen=True):
    data: _Event = _Event()


class Telnyx(VendorSettings, frozen=True, kw_only=True, tag="telnyx"):
    """An account of Telnyx."""

    requires_sender: ClassVar[bool] = True

    api_key: Secret
    messaging_profile_id: str = ""
    """Required for alphanumeric senders and for a pool of numbers."""
    public_key: str = ""
    """In base64, from the portal. Without it receipts count as unsigned."""
    base_url: str = "https://api.telnyx.com"

    @property
    def has_sender_pool(self) -> bool:
        """A messaging profile has a pool of numbers."""
        return bool(self.messaging_profile_id)

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Telnyx signs everything; its public key checks it."""
        return bool(self.public_key)

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "to": message.to.e164,
            "from": self.select_sender_id(message),
            "messaging_profile_id": self.messaging_profile_id,
            "text": message.text,
            "type": "SMS",
            "webhook_url": message.callback_url,
            # Receipts contain the text: no webhook of the profile gets them.
            "use_profile_webhooks": False,
        }
        url = self.build_url("/v2/messages")
        return build_json_request(url, f"Bearer {self.api_key.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        body = reply.decode_or(_ReplyBody())
        message_id = body.data.id if body.data else None
        if not body.errors:
            return classify_reply(reply, message_id)
        # Another field of the request is our fault, whatever else is wrong with the number.
        other = (error for error in body.errors if not error.is_about_number)
        error = next(other, body.errors[0])
        return classify_reply(reply, message_id, error.fault_table, str(error.code))

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first."""
        if self.public_key:
            verify_signature(callback, self.public_key)
        is_signed = bool(self.public_key)
        event = callback.decode_event(_CallbackBody).data
        if event.event_type == MESSAGE_EVENT:
            return [_parse_message(event.payload, is_signed=is_signed)]
        if event.event_type in RECEIPT_EVENTS:
            return [_parse_receipt(event.payload, is_signed=is_signed)]
        return [SkippedEvent.OTHER]

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        if self.public_key and len(decode_base64(self.public_key)) != PUBLIC_KEY_BYTES:
            found.append(("public_key", "copy it from the portal: 32 bytes in base64"))
        return found


def _parse_receipt(payload: msgspec.Raw, *, is_signed: bool) -> CallbackPart:
    message = decode_callback(payload, _ReceiptMessage)
    if not message.to:
        raise UnreadableCallback
    error = message.errors[0] if message.errors else None
    faults: FaultTable = error.fault_table if error else {}
    return build_receipt(
        RECEIPT_STATUSES.get(message.to[0].status),
        error.code if error else None,
        failure_statuses=derive_permanent_failures(faults),
        message_id=message.id,
        is_signed=is_signed,
    )


def _parse_message(payload: msgspec.Raw, *, is_signed: bool) -> CallbackPart:
    """Return the message; its text is the profile's keyword if `autoresponse_type` names one."""
    message = decode_callback(payload, _InboundMessage)
    if message.type.upper() not in MESSAGE_TYPES:
        return SkippedEvent.OTHER
    sender = message.sender.phone_number
    if not sender:
        raise UnreadableCallback
    text = choose_message_text(message.text, message.autoresponse_type)
    receiver = message.to[0].phone_number if message.to else None
    return InboundMessage(sender, text, receiver or "", message.id, is_signed)


def verify_signature(callback: Callback, public_key: str) -> None:
    """Raise CallbackSignatureError unless Telnyx signed the body and a recent timestamp."""
    timestamp = callback.headers.get("telnyx-timestamp", "")
    given = decode_base64(callback.headers.get("telnyx-signature-ed25519", ""))
    key = Ed25519PublicKey.from_public_bytes(decode_base64(public_key))
    try:
        key.verify(given, timestamp.encode() + b"|" + callback.body)
    except InvalidSignature:
        raise CallbackSignatureError from None
    callback.require_recent_timestamp(timestamp)
