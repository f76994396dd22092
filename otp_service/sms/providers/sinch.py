"""Sinch SMS, REST API (xms/v1).

No code of a reply is the recipient's fault. `illegal_number_type` is about numbers that this
account's region does not serve, and another provider may.

https://developers.sinch.com/docs/sms/api-reference/status-codes
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports

A message from a phone is sent to the callback address of the service plan, as receipts without an
address of their own are. Binary messages and MMS have no text here, and so no keyword.
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.core.timestamps import SECOND_MS, to_datetime
from otp_service.sms.fault_table import FaultTable, classify_reply
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
    require_equal,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.router import ProviderDependencies
from otp_service.sms.signatures import compute_signature
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
)


FAULT_TABLE: Final[FaultTable] = {
    "blocked_account": "account",
    "missing_callback_url": "account",  # the account's settings lack something
    "unknown_campaign": "account",  # the same
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "queued": "pending",
    "dispatched": "pending",
    "unknown": "pending",  # the operator never reported
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

RECIPIENT_REPORT_TYPE: Final = "recipient_delivery_report_sms"
TEXT_MESSAGE_TYPE: Final = "mo_text"
MESSAGE_TYPES: Final = frozenset({TEXT_MESSAGE_TYPE, "mo_binary", "mo_media"})
SIGNATURE_HEADER: Final = "x-sinch-webhook-signature"


class _ReplyBody(msgspec.Struct):
    id: str = ""
    code: str = ""


class _EventBody(msgspec.Struct):
    type: str = ""


class _ReceiptBody(msgspec.Struct):
    batch_id: str
    status: str
    code: int
    client_reference: str | None = None


class _MessageBody(HiddenFields, frozen=True):
    sender: str = msgspec.field(name="from")
    to: str = ""
    id: str = ""

    @property
    def text(self) -> str:
        """The text of the message; empty without one."""
        return ""


class _TextMessageBody(_MessageBody, frozen=True):
    body: str | None = None

    @property
    def text(self) -> str:
        """The text of the message; empty without one."""
        return self.body or ""


class Sinch(VendorSettings, frozen=True, kw_only=True, tag="sinch"):
    """A service plan of Sinch."""

    service_plan_id: str
    api_token: Secret
    signing_secret: Secret | None = None
    """For callbacks; Sinch sets it up on request. Without it receipts count as unsigned."""
    base_url: str = "https://us.sms.api.sinch.com"
    """The plan's region: us, eu, au, br or ca."""

    @property
    def has_sender_pool(self) -> bool:
        """Sinch selects the default originator of the service plan."""
        return True

    def build_provider(self, name: str, dependencies: ProviderDependencies) -> HttpProvider:
        """Return the provider, whose dialect has a clock."""
        return HttpProvider(name, self.with_clock(dependencies.now), dependencies.transport)

    def with_clock(self, now: Callable[[], int]) -> "SinchWithClock":
        """Return these settings with a clock: Sinch takes the instant of expiry, no duration."""
        return SinchWithClock(**msgspec.structs.asdict(self), now=now)

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Sinch signs where its secret is set up."""
        return self.signing_secret is not None

    def build_request_at(self, message: Message, now: int) -> HttpRequest:
        """Return the POST of a batch with one message; `now` in milliseconds since 1970."""
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

    def interpret_reply(self, reply: HttpReply) -> Reply:
        body = reply.decode_or(_ReplyBody())
        return classify_reply(reply, body.id, FAULT_TABLE, body.code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first."""
        if self.signing_secret:
            verify_signature(callback, self.signing_secret.reveal())
        is_signed = self.signing_secret is not None
        event_type = callback.decode_event(_EventBody).type
        if event_type in MESSAGE_TYPES:
            return [_parse_message(callback, event_type, is_signed=is_signed)]
        if event_type == RECIPIENT_REPORT_TYPE:
            return [_parse_receipt(callback, is_signed=is_signed)]
        return [SkippedEvent.OTHER]


class SinchWithClock(Sinch, frozen=True, kw_only=True, tag="sinch"):
    """The dialect with a clock, which `build_request` needs."""

    now: Callable[[], int]
    """Milliseconds since 1970."""

    def build_request(self, message: Message) -> HttpRequest:
        return self.build_request_at(message, self.now())


def _parse_receipt(callback: Callback, *, is_signed: bool) -> CallbackPart:
    report = callback.decode_json(_ReceiptBody)
    return build_receipt(
        RECEIPT_STATUSES.get(report.status.lower()),
        report.code,
        failure_statuses=FAILURE_STATUSES,
        reference=report.client_reference,
        message_id=report.batch_id,
        is_signed=is_signed,
    )


def _parse_message(callback: Callback, event_type: str, *, is_signed: bool) -> InboundMessage:
    has_text = event_type == TEXT_MESSAGE_TYPE
    message = callback.decode_json(_TextMessageBody if has_text else _MessageBody)
    if not message.sender:
        raise UnreadableCallback
    return InboundMessage(message.sender, message.text, message.to, message.id, is_signed)


def verify_signature(callback: Callback, secret: str) -> None:
    """Raise CallbackSignatureError unless Sinch signed body, nonce and a recent timestamp."""
    given = callback.headers.get(SIGNATURE_HEADER, "")
    nonce = callback.headers.get(f"{SIGNATURE_HEADER}-nonce", "")
    timestamp = callback.headers.get(f"{SIGNATURE_HEADER}-timestamp", "")
    if "." in nonce:
        raise CallbackSignatureError  # a part of the body, by another reading
    signed = callback.body + f".{nonce}.{timestamp}".encode()
    require_equal(compute_signature(secret.encode(), signed), given)
    callback.require_recent_timestamp(timestamp)
