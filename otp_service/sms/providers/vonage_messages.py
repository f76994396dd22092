"""Vonage, Messages API: developer.vonage.com/api/messages. (The SMS API: vonage.py.)

An error is {"type": "https://…/api-errors/messages#1120", "title", "detail"}; its code follows the
#, or is a title that is a number. 1000 is in no table: it means "throttled", but also comes with a
500, so the status decides.

A message from a phone has one of two forms, by the version that the application is set to: `channel` and
plain numbers (v1), or `direction` and an object for each number (v0.1). Messages of other channels than
SMS are other events.
"""

import hashlib
from typing import Final, Literal

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import FaultTable, classify_reply, derive_permanent_failures
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
    require_equal,
)
from otp_service.sms.providers.vonage import MAX_FIELD_CHARS, VonageSettings, clamp_validity
from otp_service.sms.signatures import decode_jwt
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
)


FAULT_TABLE: Final[FaultTable] = {
    "1050": "recipient",  # number barred
    "1060": "account",  # account barred
    "1070": "account",  # quota exceeded
    "1080": "account",  # account may not use this API
    "1120": "account",  # sender is not ours
    "low-balance": "account",  # no credit
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "submitted": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "rejected": "technical-failure",
    "undeliverable": "technical-failure",  # "unable to connect to the messaging provider"
}
FAILURE_STATUSES: Final = derive_permanent_failures(FAULT_TABLE)

SMS_CHANNEL: Final = "sms"
INBOUND_DIRECTION: Final = "inbound"


class _ProblemBody(msgspec.Struct):
    type: str = ""
    title: str | int = ""

    @property
    def code(self) -> str | None:
        fragment = self.type.rpartition("#")[2]
        numbers = (text for text in (fragment, str(self.title)) if text.isdecimal())
        return next(numbers, fragment or None)


class _ReplyBody(_ProblemBody):
    message_uuid: str = ""


class _ReceiptError(_ProblemBody):
    error: _ProblemBody | None = None
    """Some receipts nest their error in another one."""


class _EventBody(HiddenFields, frozen=True):
    status: str = ""
    """Empty for a message from a phone."""
    channel: str = ""
    direction: str = ""
    message_type: str = ""
    sender: msgspec.Raw = msgspec.field(name="from", default=msgspec.Raw(b""))

    @property
    def is_message(self) -> bool:
        """Whether it is an SMS from a phone in the form of v1."""
        return self.channel == SMS_CHANNEL and bool(self.message_type or self.sender)


class _ReceiptBody(msgspec.Struct):
    message_uuid: str
    client_ref: str = ""
    error: _ReceiptError | None = None


class _MessageBody(HiddenFields, frozen=True):
    """A message in the form of v1."""

    sender: str = msgspec.field(name="from")
    to: str = ""
    message_uuid: str = ""
    text: str | None = None


class _OldAddress(HiddenFields, frozen=True):
    type: str = ""
    number: str | None = None


class _OldContent(HiddenFields, frozen=True):
    text: str | None = None


class _OldContents(HiddenFields, frozen=True):
    content: _OldContent = _OldContent()


class _OldMessageBody(HiddenFields, frozen=True):
    """A message in the form of v0.1."""

    sender: _OldAddress = msgspec.field(name="from", default=_OldAddress())
    to: _OldAddress = _OldAddress()
    message_uuid: str = ""
    message: _OldContents = _OldContents()


class _JwtClaims(msgspec.Struct):
    iat: int
    iss: Literal["Vonage"]
    api_key: str
    payload_hash: str


class VonageMessages(VonageSettings, frozen=True, kw_only=True, tag="vonage-messages"):
    """An account of Vonage that sends through the Messages API."""

    base_url: str = "https://api.nexmo.com"

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "message_type": "text",
            "channel": "sms",
            "to": message.to.e164[1:],
            "from": self.select_sender_id(message).removeprefix("+"),
            "text": message.text,
            "ttl": clamp_validity(message),
        }
        if len(message.reference) <= MAX_FIELD_CHARS:
            fields["client_ref"] = message.reference
        if message.callback_url is not None:
            fields |= {"webhook_url": message.callback_url, "webhook_version": "v1"}
        return build_json_request(self.build_url("/v1/messages"), self._authorization, fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply: {"message_uuid"} with a 2xx, else a problem."""
        body = reply.decode_or(_ReplyBody())
        return classify_reply(reply, body.message_uuid, FAULT_TABLE, body.code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first.

        Vonage may send a callback unsigned during an outage of theirs; it is refused, and Vonage
        repeats it.
        """
        if self.signature_secret:
            verify_signature(callback, self.signature_secret, self.api_key)
        is_signed = self.signature_secret is not None
        event = callback.decode_event(_EventBody)
        if event.status:
            return [_parse_receipt(callback, event.status, is_signed=is_signed)]
        if event.is_message:
            return [_parse_message(callback, is_signed=is_signed)]
        if event.direction == INBOUND_DIRECTION:
            return [_parse_old_message(callback, is_signed=is_signed)]
        return [SkippedEvent.OTHER]


def _parse_receipt(callback: Callback, word: str, *, is_signed: bool) -> CallbackPart:
    status = RECEIPT_STATUSES.get(word)
    if status is None:
        return SkippedEvent.OTHER
    report = callback.decode_json(_ReceiptBody)
    problem = report.error and (report.error.error or report.error)
    return build_receipt(
        status,
        problem.code if problem else None,
        failure_statuses=FAILURE_STATUSES,
        reference=report.client_ref,
        message_id=report.message_uuid,
        is_signed=is_signed,
    )


def _parse_message(callback: Callback, *, is_signed: bool) -> InboundMessage:
    message = callback.decode_json(_MessageBody)
    if not message.sender:
        raise UnreadableCallback
    return InboundMessage(
        message.sender, message.text or "", message.to, message.message_uuid, is_signed
    )


def _parse_old_message(callback: Callback, *, is_signed: bool) -> CallbackPart:
    message = callback.decode_json(_OldMessageBody)
    if message.sender.type != SMS_CHANNEL:
        return SkippedEvent.OTHER
    if not message.sender.number:
        raise UnreadableCallback
    return InboundMessage(
        message.sender.number,
        message.message.content.text or "",
        message.to.number or "",
        message.message_uuid,
        is_signed,
    )


def verify_signature(callback: Callback, secret: Secret, api_key: str) -> None:
    """Raise CallbackSignatureError unless a recent token in the headers signs this body.

    developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks. Only HS256
    and this account's key are accepted.
    """
    _, _, token = callback.headers.get("authorization", "").partition(" ")
    claims = decode_jwt(token, secret.reveal(), _JwtClaims, {"HS256"})
    require_equal(api_key, claims.api_key)
    require_equal(hashlib.sha256(callback.body).hexdigest(), claims.payload_hash)
    callback.require_recent_timestamp(str(claims.iat))
