"""Plivo Messages, API v1.

A reply that refuses holds prose and no code, so its status alone tells, and nothing in it is ever
the recipient's:

    401, 402, 403 (also a country that is not enabled)    provider, the account
    429                                                   provider, throttled
    any other 4xx                                         provider
    5xx, or a 2xx without an id                           unknown

    receipt                                               what became of the message
    queued, sent                                          pending
    delivered, read                                       delivered
    undelivered, failed, with one of these codes:
        50 invalid destination, 70 permanently
        unavailable, 200 opted out                        permanent
        80 temporarily unavailable, 420 expired           temporary
    with any other: 30 spam, 40 source, 90 no route,
        900 credit, 910 account, 1000 unknown, ...        technical

Plivo takes no reference of ours: it stands in the address that receipts are brought to. The
signature has no time in it, so an old one cannot be told; the token in the address is of one
message only, and receipts never move a delivery back.

https://www.plivo.com/docs/messaging/api/message/send-a-message
https://www.plivo.com/docs/messaging/troubleshooting/error-codes
https://www.plivo.com/docs/messaging/concepts/signature-validation
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl, quote

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.providers.generic_http import BasicAuth
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.signatures import compute_signature, require_any_equal
from otp_service.sms.vendor_dialect import (
    ReceiptStatus,
    build_json_request,
    classify_reply,
    decode_json_or,
    resolve_receipt_status,
    sanitize_reason,
)


RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "queued": "pending",
    "sent": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "technical-failure",
    "failed": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "50": "permanent-failure",
    "70": "permanent-failure",
    "200": "permanent-failure",
    "80": "temporary-failure",
    "420": "temporary-failure",
}
"""What a code makes of a technical failure."""

SIGNATURE_HEADER: Final = "x-plivo-signature-v3"


class _ReplyBody(msgspec.Struct):
    """What is read of a reply."""

    message_uuid: list[str] = []


class Plivo(VendorSettings, frozen=True, kw_only=True, tag="plivo"):
    """An account of Plivo; the token that opens it also signs its receipts."""

    auth_id: str
    auth_token: Secret
    powerpack_uuid: str = ""
    """A pool of numbers, for messages that no sender fits."""
    base_url: str = "https://api.plivo.com"

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        sender = self.select_sender_id(message)
        fields = {
            "src": sender,
            "powerpack_uuid": "" if sender else self.powerpack_uuid,
            "dst": message.to.e164,
            "text": message.text,
            "type": "sms",
            "url": message.callback_url,
            "method": "POST" if message.callback_url else None,
            "log": "false",  # neither the text nor the number is kept in their logs
            "message_expiry": message.validity_seconds,
        }
        account = quote(self.auth_id, safe="")
        url = self.build_url(f"/v1/Account/{account}/Message/")
        return build_json_request(url, BasicAuth(self.auth_id, self.auth_token).header, fields)

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by its status."""
        ids = decode_json_or(_ReplyBody(), reply.body).message_uuid
        return classify_reply(reply, ids[0] if ids else None)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        nonce = callback.headers.get(f"{SIGNATURE_HEADER}-nonce", "")
        signed = f"{_build_signed_text(callback)}.{nonce}".encode()
        expected = compute_signature(self.auth_token.reveal().encode(), signed)
        # There are several while a token is being replaced.
        require_any_equal(
            expected, callback.headers.get(SIGNATURE_HEADER, "").replace(" ", "").split(",")
        )
        form = callback.form
        code = form.get("ErrorCode", "")
        known = resolve_receipt_status(RECEIPT_STATUSES[form["Status"]], code, FAILURE_STATUSES)
        return [
            Receipt(known, "", form["MessageUUID"], sanitize_reason(known, code), is_signed=True)
        ]


def _build_signed_text(callback: Callback) -> str:
    """Return what V3 signs of a POST: the address, its query sorted, the form sorted."""
    address, _, query = callback.url.partition("?")
    asked = "&".join(f"{name}={value}" for name, value in _sort_fields(query))
    form = "".join(f"{name}{value}" for name, value in _sort_fields(callback.body.decode()))
    if not form:
        return f"{address}?{asked}" if asked else address
    return f"{address}?{asked}.{form}" if asked else f"{address}?{form}"


def _sort_fields(fields: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(fields, keep_blank_values=True))
