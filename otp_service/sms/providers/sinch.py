"""Sinch SMS, REST API (xms/v1).

    error code of a reply                     fault, and what it speaks of
    blocked_account                           provider, the account
    missing_callback_url, unknown_campaign    provider, the account: its settings lack something
    429                                       provider, throttled (by its status)
    any other 4xx                             provider
    5xx, or a 2xx without an id               unknown

No code of a reply is the recipient's. `illegal_number_type` comes nearest, but speaks of numbers
that this account's region does not serve, and another provider may.

    status of a receipt                       what became of the message
    Queued, Dispatched, Unknown               pending: Unknown says that the operator never told
    Delivered                                 delivered
    Deleted; any with an SMPP code below      permanent: a number that is none, or that opted out
    Expired; code 404 or 406                  temporary
    Failed, Rejected, Aborted, Cancelled      technical

https://developers.sinch.com/docs/sms/api-reference/status-codes
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports
"""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.core.timestamps import SECOND_MS, to_datetime
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback, require_equal
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.signatures import compute_signature
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
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
    "blocked_account": ACCOUNT_FAULT,
    "missing_callback_url": ACCOUNT_FAULT,
    "unknown_campaign": ACCOUNT_FAULT,
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "queued": "pending",
    "dispatched": "pending",
    "unknown": "pending",
    "delivered": "delivered",
    "deleted": "permanent-failure",
    "expired": "temporary-failure",
    "failed": "technical-failure",
    "rejected": "technical-failure",
    "aborted": "technical-failure",
    "cancelled": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "300": "permanent-failure",  # "Invalid destination address", of the SMPP codes
    "404": "temporary-failure",  # "temporary delivery failure"
    "406": "temporary-failure",  # it expired before it was dispatched
}
"""What a code makes of a technical failure."""

RECIPIENT_REPORT_TYPE: Final = "recipient_delivery_report_sms"
SIGNATURE_HEADER: Final = "x-sinch-webhook-signature"


class _ReplyBody(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    code: str = ""


class _ReceiptBody(msgspec.Struct):
    """What is read of a receipt."""

    type: str
    batch_id: str
    status: str
    code: int
    client_reference: str | None = None


class Sinch(VendorSettings, frozen=True, kw_only=True, tag="sinch"):
    """A service plan of Sinch."""

    service_plan_id: str
    api_token: Secret
    signing_secret: Secret | None = None
    """Of the callbacks; Sinch sets it up on request. Without it receipts count as unsigned."""
    base_url: str = "https://us.sms.api.sinch.com"
    """The plan's region: us, eu, au, br or ca."""

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self.with_clock(dependencies.now), dependencies.transport)

    def with_clock(self, now: Callable[[], int]) -> "SinchWithClock":
        """Return these settings with a clock: Sinch wants to be told an instant, not a duration."""
        return SinchWithClock(**msgspec.structs.asdict(self), now=now)

    def build_request_at(self, message: Message, now: int) -> HttpRequest:
        """Return the batch of one message, at this time."""
        expires = to_datetime(now + message.validity_seconds * SECOND_MS)
        fields = {
            "type": "mt_text",
            "from": self.select_sender_id(message),
            "to": [message.to.e164],
            "body": message.text,
            "delivery_report": "per_recipient_final" if message.callback_url else "none",
            "callback_url": message.callback_url,
            "client_reference": message.reference,
            "expire_at": f"{expires:%Y-%m-%dT%H:%M:%S}.000Z",
        }
        plan = quote(self.service_plan_id, safe="")
        url = self.build_url(f"/xms/v1/{plan}/batches")
        return build_json_request(url, f"Bearer {self.api_token.reveal()}", fields)

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        return classify_reply(reply, answer.id, FAULT_TABLE, answer.code)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        if self.signing_secret:
            verify_signature(callback, self.signing_secret.reveal())
        report = decode_json(callback.body, _ReceiptBody)
        if report.type != RECIPIENT_REPORT_TYPE:
            raise ValueError("not a delivery report of a recipient")
        known = resolve_receipt_status(
            RECEIPT_STATUSES[report.status.lower()], report.code, FAILURE_STATUSES
        )
        return [
            Receipt(
                known,
                report.client_reference or "",
                report.batch_id,
                sanitize_reason(known, report.code),
                is_signed=self.signing_secret is not None,
            )
        ]


class SinchWithClock(Sinch, frozen=True, kw_only=True, tag="sinch"):
    """The same with a clock, so that it can ask for a message to be sent."""

    now: Callable[[], int]
    """Milliseconds since 1970."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the batch of one message."""
        return self.build_request_at(message, self.now())


def verify_signature(callback: Callback, secret: str) -> None:
    """Check the signature over body, nonce and timestamp, and that it is not an old one."""
    given = callback.headers.get(SIGNATURE_HEADER, "")
    nonce = callback.headers.get(f"{SIGNATURE_HEADER}-nonce", "")
    timestamp = callback.headers.get(f"{SIGNATURE_HEADER}-timestamp", "")
    signed = callback.body + f".{nonce}.{timestamp}".encode()
    require_equal(compute_signature(secret.encode(), signed), given)
    callback.require_recent_timestamp(timestamp)
