"""MessageBird SMS, the REST API of before Bird (bird.py is the new one).

Code 9 "no correct recipients" is the recipient's fault if the named parameter is `recipients`, and
otherwise about the originator, so the account's. 98, 99 and any other 5xx are unknown; 10, 20, 21
and any other 4xx are the provider's.

Receipts come as GET, and only for messages with a reference (at most 128 characters). Code 1 and
the reason "unknown subscriber" are permanent.

A message from a phone comes from a flow of Flow Builder, with the steps "SMS" and "forward to URL", as a form,
as JSON or as GET, or from the "receive messages" webhook before it. Both have an `originator` and no status.

https://developers.messagebird.com/api/sms-messaging/
https://support.messagebird.com/hc/en-us/articles/360001869258-I-am-missing-my-delivery-reports
https://developers.messagebird.com/docs/verify-http-requests
"""

import hashlib
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import NO_FAULTS, FaultTable, classify_reply
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    CallbackSignatureError,
    SkippedEvent,
    convert_callback,
    require_equal,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.signatures import JWT_DIGESTS, decode_jwt
from otp_service.sms.vendor_dialect import (
    ReceiptStatus,
    build_json_request,
    build_receipt,
    resolve_receipt_status,
)


NO_RECIPIENT_CODE: Final = "9"
FAULT_TABLE: Final[FaultTable] = {
    "2": "account",  # key not allowed
    "25": "account",  # no balance
    NO_RECIPIENT_CODE: "account",  # see above
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "scheduled": "pending",
    "sent": "pending",
    "buffered": "pending",
    "delivered": "delivered",
    "expired": "temporary-failure",
    "delivery_failed": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "1": "permanent-failure",
    "unknown subscriber": "permanent-failure",
}

SIGNATURE_HEADER: Final = "messagebird-signature-jwt"
JWT_ISSUER: Final = "MessageBird"
CLOCK_LEEWAY_SECONDS: Final = 5
"""A signature is valid for 60 seconds."""


class _ReplyError(msgspec.Struct):
    code: int
    parameter: str | None = None

    @property
    def fault_table(self) -> FaultTable:
        """The table for this error, with the fault of code 9."""
        is_number = self.parameter == "recipients"
        return {**FAULT_TABLE, NO_RECIPIENT_CODE: "recipient"} if is_number else FAULT_TABLE


class _ReplyBody(msgspec.Struct):
    id: str = ""
    errors: list[_ReplyError] = []


class _ReceiptBody(msgspec.Struct, rename="camel"):
    id: str
    reference: str = ""
    status_error_code: str = ""
    status_reason: str = ""


class _JwtClaims(msgspec.Struct):
    iss: str
    nbf: float
    exp: float
    url_hash: str
    payload_hash: str = ""


class MessageBird(VendorSettings, frozen=True, kw_only=True, tag="messagebird"):
    """An account of MessageBird."""

    requires_sender: ClassVar[bool] = True

    access_key: Secret
    signing_key: Secret | None = None
    """From the developers' settings, not the access key. Without it receipts count as unsigned."""
    base_url: str = "https://rest.messagebird.com"

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """200: MessageBird asks for "200 OK", and repeats a receipt after any other answer."""
        return 200, b""

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """MessageBird signs everything; the key checks it."""
        return self.signing_key is not None

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "originator": self.select_sender_id(message),
            "recipients": message.to.e164[1:],
            "body": message.text,
            "type": "sms",
            "datacoding": "auto",  # "plain" would replace characters outside of GSM 03.38
            "reference": message.reference,
            "validity": message.validity_seconds,
            "reportUrl": message.callback_url,
        }
        url = self.build_url("/messages")
        return build_json_request(url, f"AccessKey {self.access_key.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        body = reply.decode_or(_ReplyBody())
        error = body.errors[0] if body.errors else None
        code = str(error.code) if error else None
        return classify_reply(reply, body.id, error.fault_table if error else NO_FAULTS, code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message in the query or the body, after the signature check."""
        if self.signing_key:
            verify_signature(callback, self.signing_key.reveal())
        fields, is_signed = callback.flat_fields, self.signing_key is not None
        if "status" not in fields:
            return [_message_from_fields(fields, is_signed=is_signed)]
        status = RECEIPT_STATUSES.get(fields["status"])
        if status is None:
            return [SkippedEvent.OTHER]
        report = convert_callback(fields, _ReceiptBody)
        reason = report.status_reason.replace("_", " ").lower()
        receipt = build_receipt(
            resolve_receipt_status(status, reason, FAILURE_STATUSES),
            report.status_error_code,
            failure_statuses=FAILURE_STATUSES,
            reference=report.reference,
            message_id=report.id,
            is_signed=is_signed,
        )
        return [receipt]


def _message_from_fields(fields: Mapping[str, str], *, is_signed: bool) -> CallbackPart:
    """Return the message of a person; the names are those of Flow Builder, or of the older webhook."""
    sender, text = fields.get("originator"), fields.get("payload", fields.get("body"))
    if not sender or text is None:
        return SkippedEvent.OTHER
    receiver = fields.get("recipient") or fields.get("receiver", "")
    return InboundMessage(sender, text, receiver, fields.get("id", ""), is_signed)


def verify_signature(callback: Callback, key: str) -> None:
    """Raise CallbackSignatureError unless a token, valid now, signs this address and body."""
    claims = decode_jwt(callback.headers.get(SIGNATURE_HEADER, ""), key, _JwtClaims, JWT_DIGESTS)
    body_hash = hashlib.sha256(callback.body).hexdigest() if callback.body else ""
    require_equal(hashlib.sha256(callback.url.encode()).hexdigest(), claims.url_hash)
    require_equal(body_hash, claims.payload_hash)
    now = callback.received_at / 1000
    is_current = claims.nbf - CLOCK_LEEWAY_SECONDS <= now <= claims.exp + CLOCK_LEEWAY_SECONDS
    if claims.iss != JWT_ISSUER or not is_current:
        raise CallbackSignatureError
