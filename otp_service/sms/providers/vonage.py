"""Vonage, SMS API: developer.vonage.com/api/sms. (The Messages API: vonage_messages.py.)

The reply is always 200; messages.N.status is the status of each part of a message. All "0" is
accepted; some "0" is unknown, because a part was sent and is billed; otherwise the table decides.
An unknown status is the provider's fault: also 6 "unroutable", as another vendor may have a route,
and 3 "invalid parameter", which may be `to` or any other. Receipts have codes of their own. 13 asks
for an age that another vendor cannot prove.

A long message from a phone arrives in parts, one call each. Parts are not joined: a keyword is shorter
than a part, so a part has none.
https://developer.vonage.com/messaging/sms/guides/inbound-sms
"""

import hashlib
import hmac
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Final, Literal

import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, Reply
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms import fault_table, provider_callbacks
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.provider_settings import BasicAuth, VendorSettings
from otp_service.sms.vendor_dialect import ReceiptStatus, build_form_request, build_receipt


FAULT_TABLE: Final[fault_table.FaultTable] = {
    "7": "recipient",  # number barred
    "33": "recipient",  # number deactivated
    "4": "account",  # invalid credentials
    "8": "account",  # account suspended
    "9": "account",  # no credit
    "11": "account",  # account may not use this API
    "14": "account",  # invalid signature
    "15": "account",  # sender is not ours
    "29": "account",  # trial account, number not in its list
    "32": "account",  # signature and secret may not be used together
    "1": "throttled",  # throttled
    "10": "throttled",  # too many binds
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "accepted": "pending",
    "buffered": "pending",
    "unknown": "pending",
    "delivered": "delivered",
    "expired": "temporary-failure",
    "failed": "technical-failure",
    "rejected": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "3": "permanent-failure",  # absent for good
    "4": "permanent-failure",  # barred by the subscriber
    "9": "opted-out",  # "illegal number": the person asked not to receive messages of this sender
    "12": "permanent-failure",  # no such destination: confirm the number
    "13": "permanent-failure",  # subscriber's age
    "2": "temporary-failure",  # absent for now
    "7": "temporary-failure",  # handset busy
}

VALIDITY_RANGE_SECONDS: Final = (20, 604_800)
MAX_FIELD_CHARS: Final = 100
"""Characters of `client-ref` and `callback`, as in Vonage's OpenAPI. Our references have 75 at most.
An address with reference and token has 130; without the reference it fits if `public_url` has at
most about 35. Otherwise Vonage calls the address of the dashboard, which is advisory unless signed."""

ADDRESS_PARAMETERS: Final = frozenset({"ref", "token"})
"""The parameters of our addresses; all others are Vonage's own."""
MESSAGE_TYPES: Final = frozenset({"text", "unicode", "binary"})

SignatureMethod = Literal["md5hash", "md5", "sha1", "sha256", "sha512"]


class _ReplyMessage(msgspec.Struct):
    status: str | int
    message_id: str = msgspec.field(default="", name="message-id")


class _ReplyBody(msgspec.Struct):
    messages: list[_ReplyMessage] = []


class _ReceiptBody(msgspec.Struct):
    message_id: str = msgspec.field(name="messageId")
    client_ref: str = msgspec.field(default="", name="client-ref")
    error_code: str | None = msgspec.field(default=None, name="err-code")


class VonageSettings(VendorSettings, frozen=True, kw_only=True):
    """The settings of both APIs of Vonage."""

    requires_sender: ClassVar[bool] = True

    api_key: str
    api_secret: Secret
    signature_secret: Secret | None = None
    """The key of signed receipts; without it receipts count as unsigned."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """200, as Vonage documents it: any other status may be repeated for a day."""
        return 200, b""

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Vonage signs where the secret is set up."""
        return self.signature_secret is not None

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        if not self.api_key.isalnum():
            found.append(("api_key", "it has letters and digits only: see the dashboard"))
        return found

    @cached_property
    def _authorization(self) -> str:
        return BasicAuth(self.api_key, self.api_secret).header


class Vonage(VonageSettings, frozen=True, kw_only=True, tag="vonage"):
    """An account of Vonage that sends through the SMS API.

    Vonage signs receipts only after a request to its support.
    """

    base_url: str = "https://rest.nexmo.com"
    signature_method: SignatureMethod = "md5hash"
    """As in the dashboard, where `md5hash` is the default; the others are HMACs."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST, whose callback address omits our reference: receipts repeat it."""
        fields = {
            "from": self.select_sender_id(message).removeprefix("+"),
            "to": message.to.e164[1:],
            "text": message.text,
            "type": "text" if count_septets(message.text) is not None else "unicode",
            "ttl": str(clamp_validity(message) * 1000),
            "client-ref": message.reference,
        }
        callback = provider_callbacks.strip_reference(message.callback_url or "")
        if len(callback) <= MAX_FIELD_CHARS:
            fields["callback"] = callback
        return build_form_request(self.build_url("/sms/json"), self._authorization, fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of all parts together."""
        parts = reply.decode_or(_ReplyBody()).messages
        if reply.status != 200 or not parts:  # noqa: PLR2004
            return fault_table.classify_by_status(reply)
        statuses = [str(part.status) for part in parts]
        failed = next((status for status in statuses if status != "0"), None)
        if failed is None:
            return Accepted(parts[0].message_id or None)  # status "0" alone says so
        if "0" in statuses:
            return fault_table.build_refusal(Fault.UNKNOWN, reply, failed)
        return fault_table.classify_refusal(FAULT_TABLE, reply, failed)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message: a query, a form or JSON, as the account is set up."""
        fields = callback.flat_fields
        if self.signature_secret:
            fields = verify_signature(fields, self.signature_secret, self.signature_method)
            callback.require_recent_timestamp(fields.get("timestamp", ""))
        is_signed = self.signature_secret is not None
        if _is_message(fields):
            return [_message_from_fields(fields, is_signed=is_signed)]
        return [_receipt_from_fields(fields, is_signed=is_signed)]


def _receipt_from_fields(fields: Mapping[str, str], *, is_signed: bool) -> CallbackPart:
    status = RECEIPT_STATUSES.get(fields.get("status", ""))
    if status is None:
        return SkippedEvent.OTHER
    report = provider_callbacks.convert_callback(fields, _ReceiptBody)
    return build_receipt(
        status,
        report.error_code,
        failure_statuses=FAILURE_STATUSES,
        reference=report.client_ref,
        message_id=report.message_id,
        is_signed=is_signed,
    )


def _is_message(fields: Mapping[str, str]) -> bool:
    if "status" in fields:
        return False
    return fields.get("type") in MESSAGE_TYPES or fields.keys() >= {"msisdn", "text"}


def _message_from_fields(fields: Mapping[str, str], *, is_signed: bool) -> InboundMessage:
    """Return the message; a binary one, and a part of a long one, has no text."""
    sender = fields.get("msisdn", "")
    if not sender:
        raise UnreadableCallback
    text = fields.get("text", "") if _has_whole_text(fields) else ""
    return InboundMessage(
        sender, text, fields.get("to", ""), fields.get("messageId", ""), is_signed
    )


def _has_whole_text(fields: Mapping[str, str]) -> bool:
    is_concatenated = fields.get("concat", "").lower() == "true"
    part_count = fields.get("concat-total", "2" if is_concatenated else "1")
    return part_count == "1" and fields.get("type") != "binary"


def clamp_validity(message: Message) -> int:
    """Return the validity in the range that Vonage accepts: it tries for at least 20 seconds."""
    shortest, longest = VALIDITY_RANGE_SECONDS
    return max(shortest, min(message.validity_seconds, longest))


def verify_signature(
    fields: Mapping[str, str], secret: Secret, method: SignatureMethod
) -> dict[str, str]:
    """Return the fields that Vonage signed. Raises CallbackSignatureError.

    developer.vonage.com/en/getting-started/concepts/signing-messages. Receipts and messages have
    different fields, and Vonage signs all of them. A query may also have the parameters of our
    address; either all of them are signed too, or none of them is.
    """
    if any("&" in name or "=" in name for name in fields):
        raise provider_callbacks.CallbackSignatureError  # its signature would fit other fields too
    given = fields.get("sig", "").lower().encode()
    everything = {name: value for name, value in fields.items() if name != "sig"}
    vendor_fields = {name: everything[name] for name in everything.keys() - ADDRESS_PARAMETERS}
    for each in (everything, vendor_fields):
        if hmac.compare_digest(_compute_signature(each, secret.reveal(), method).encode(), given):
            return each
    raise provider_callbacks.CallbackSignatureError


def _compute_signature(fields: Mapping[str, str], secret: str, method: SignatureMethod) -> str:
    clean = ((name, fields[name].replace("&", "_").replace("=", "_")) for name in sorted(fields))
    text = "".join(f"&{name}={value}" for name, value in clean)
    if method == "md5hash":
        return hashlib.md5(f"{text}{secret}".encode()).hexdigest()  # noqa: S324  # Vonage's default
    return hmac.new(secret.encode(), text.encode(), method).hexdigest()
