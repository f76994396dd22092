"""Vonage, Messages API: developer.vonage.com/api/messages. (The SMS API: vonage.py.)

An error is {"type": "https://…/api-errors/messages#1120", "title", "detail"}; its code is what
stands after the #, or a title that is a number:

    RECIPIENT_FAULT   the number's
    ACCOUNT_FAULT    somebody has to act: suspension, credit, sender; HTTP 401, 402, 403 too
    any other         by the status: 4xx the provider's, 429 throttled, 5xx perhaps sent

1000 is the odd case: it says "throttled", and yet comes with a 500 too, so the status decides.
"""

import hashlib
from typing import Literal

import msgspec

from otp_service.core.delivery import Message, Receipt, Reply
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.providers.vonage import MAX_FIELD_CHARS, VonageSettings, clamp_validity
from otp_service.sms.receipt_callbacks import Callback, require_equal
from otp_service.sms.signatures import decode_jwt
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
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


FAULT_TABLE: FaultTable = {
    "1050": RECIPIENT_FAULT,  # number barred
    "1060": ACCOUNT_FAULT,  # account barred
    "1070": ACCOUNT_FAULT,  # quota exceeded
    "1080": ACCOUNT_FAULT,  # account may not use this API
    "1120": ACCOUNT_FAULT,  # sender is not ours
    "low-balance": ACCOUNT_FAULT,  # no credit
}
RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
    "submitted": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "rejected": "technical-failure",
    "undeliverable": "technical-failure",  # "unable to connect to the messaging provider"
}


class _ProblemBody(msgspec.Struct):
    type: str = ""
    title: str | int = ""

    @property
    def code(self) -> str | None:
        fragment = self.type.rpartition("#")[2]
        numbers = (one for one in (fragment, str(self.title)) if one.isdecimal())
        return next(numbers, fragment or None)


class _ReplyBody(_ProblemBody):
    message_uuid: str = ""


class _ReceiptError(_ProblemBody):
    error: _ProblemBody | None = None
    """Some receipts have their error in an error."""


class _ReceiptBody(msgspec.Struct):
    message_uuid: str
    status: str
    client_ref: str = ""
    error: _ReceiptError | None = None


class _JwtClaims(msgspec.Struct):
    iat: int
    iss: Literal["Vonage"]
    api_key: str
    payload_hash: str


class VonageMessages(VonageSettings, frozen=True, kw_only=True, tag="vonage-messages"):
    """The settings of an account, and its dialect."""

    base_url: str = "https://api.nexmo.com"

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST."""
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
        """Return what the reply means: {"message_uuid"} with a 2xx, else a problem."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        return classify_reply(reply, answer.message_uuid, FAULT_TABLE, answer.code)

    def parse_receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a status callback, once its signature has been checked.

        Vonage may leave a callback unsigned while something of theirs is broken; it is refused,
        and they bring it again.
        """
        if self.signature_secret:
            verify_signature(callback, self.signature_secret, self.api_key)
        news = decode_json(callback.body, _ReceiptBody)
        problem = news.error and (news.error.error or news.error)
        code = problem.code if problem else None
        known = resolve_receipt_status(
            RECEIPT_STATUSES[news.status], code, derive_permanent_failures(FAULT_TABLE)
        )
        return [
            Receipt(
                known,
                reference=news.client_ref,
                message_id=news.message_uuid,
                reason=sanitize_reason(known, code),
                is_signed=self.signature_secret is not None,
            )
        ]


def verify_signature(callback: Callback, secret: Secret, api_key: str) -> None:
    """Raise BadSignature unless a token in the headers vouches for this body, now.

    developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks. Signed
    with anything but HS256, by another account or for another body, it is nothing to us.
    """
    _, _, token = callback.headers.get("authorization", "").partition(" ")
    said = decode_jwt(token, secret.reveal(), _JwtClaims, {"HS256"})
    require_equal(api_key, said.api_key)
    require_equal(hashlib.sha256(callback.body).hexdigest(), said.payload_hash)
    callback.require_recent_timestamp(str(said.iat))
