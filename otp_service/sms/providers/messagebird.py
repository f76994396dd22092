"""MessageBird SMS, the REST API of before Bird (bird.py is the new one).

    code of a reply                             fault, and what it speaks of
    9 no correct recipients, if it says that
    the parameter is `recipients`               recipient
    9 otherwise: the originator                 provider, the account
    2 key not allowed, 25 no balance            provider, the account
    429                                         provider, throttled (by its status)
    10, 20, 21, any other 4xx                   provider
    98, 99, any other 5xx, a 2xx without an id  unknown

    receipt                                     what became of the message
    scheduled, sent, buffered                   pending
    delivered                                   delivered
    expired                                     temporary
    delivery_failed with code 1, or with the
    reason "unknown subscriber"                 permanent
    any other delivery_failed                   technical

Receipts come as GET, and only of messages that were given a reference (of 128 letters at most).

https://developers.messagebird.com/api/sms-messaging/
https://support.messagebird.com/hc/en-us/articles/360001869258-I-am-missing-my-delivery-reports
https://developers.messagebird.com/docs/verify-http-requests
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback, CallbackSignatureError, require_equal
from otp_service.sms.signatures import JWT_DIGESTS, decode_jwt
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    NO_FAULTS,
    RECIPIENT_FAULT,
    FaultTable,
    ReceiptStatus,
    build_json_request,
    classify_reply,
    decode_json_or,
    resolve_receipt_status,
    sanitize_reason,
)


NO_RECIPIENT_CODE: Final = 9
FAULT_TABLE: Final[FaultTable] = {
    "2": ACCOUNT_FAULT,
    "25": ACCOUNT_FAULT,
    str(NO_RECIPIENT_CODE): ACCOUNT_FAULT,
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "scheduled": "pending",
    "sent": "pending",
    "buffered": "pending",
    "delivered": "delivered",
    "expired": "temporary-failure",
    "delivery_failed": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = dict.fromkeys(
    ("1", "unknown subscriber"), "permanent-failure"
)
"""What a code or a reason makes of a technical failure."""

SIGNATURE_HEADER: Final = "messagebird-signature-jwt"
ISSUER: Final = "MessageBird"
LEEWAY_SECONDS: Final = 5
"""Seconds by which clocks may differ; a signature is good for 60."""


class _ReplyError(msgspec.Struct):
    """Why a request was refused."""

    code: int
    parameter: str | None = None

    @property
    def fault_table(self) -> FaultTable:
        """The table, with the odd case as it is here."""
        is_number = self.code == NO_RECIPIENT_CODE and self.parameter == "recipients"
        return (
            {**FAULT_TABLE, str(NO_RECIPIENT_CODE): RECIPIENT_FAULT} if is_number else FAULT_TABLE
        )


class _ReplyBody(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    errors: list[_ReplyError] = []


class _JwtClaims(msgspec.Struct):
    """What a signature says."""

    iss: str
    nbf: float
    exp: float
    url_hash: str
    payload_hash: str = ""


class MessageBird(VendorSettings, frozen=True, kw_only=True, tag="messagebird"):
    """An account of MessageBird."""

    access_key: Secret
    signing_key: Secret | None = None
    """From the developers' settings, not the access key. Without it receipts count as unsigned."""
    base_url: str = "https://rest.messagebird.com"

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """200: MessageBird asks for "200 OK", and repeats what was not answered so."""
        return 200, b""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        fields = {
            "originator": self.select_sender_id(message),
            "recipients": message.to.e164[1:],
            "body": message.text,
            "type": "sms",
            "datacoding": "auto",  # "plain" would replace letters that GSM does not know
            "reference": message.reference,
            "validity": message.validity_seconds,
            "reportUrl": message.callback_url,
        }
        url = self.build_url("/messages")
        return build_json_request(url, f"AccessKey {self.access_key.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        error = answer.errors[0] if answer.errors else None
        code = str(error.code) if error else None
        return classify_reply(reply, answer.id, error.fault_table if error else NO_FAULTS, code)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings: in its query, or in a form if it is a POST."""
        if self.signing_key:
            verify_signature(callback, self.signing_key.reveal())
        fields = callback.form if callback.body else callback.query
        said = RECEIPT_STATUSES[fields["status"]]
        code = fields.get("statusErrorCode", "")
        why = fields.get("statusReason", "").replace("_", " ").lower()
        known = resolve_receipt_status(
            resolve_receipt_status(said, code, FAILURE_STATUSES), why, FAILURE_STATUSES
        )
        return [
            Receipt(
                known,
                fields.get("reference", ""),
                fields["id"],
                sanitize_reason(known, code),
                is_signed=self.signing_key is not None,
            )
        ]


def verify_signature(callback: Callback, key: str) -> None:
    """Check that the signature is theirs, of this address and body, and of these seconds."""
    said = decode_jwt(callback.headers.get(SIGNATURE_HEADER, ""), key, _JwtClaims, JWT_DIGESTS)
    body_hash = hashlib.sha256(callback.body).hexdigest() if callback.body else ""
    require_equal(hashlib.sha256(callback.url.encode()).hexdigest(), said.url_hash)
    require_equal(body_hash, said.payload_hash)
    seconds = callback.received_at / 1000
    is_current = said.nbf - LEEWAY_SECONDS <= seconds <= said.exp + LEEWAY_SECONDS
    if said.iss != ISSUER or not is_current:
        raise CallbackSignatureError
