"""Twilio, Messages API of 2010-04-01: www.twilio.com/docs/messaging/api/message-resource.

Twilio calls its codes "subject to change", and adds some: an unknown one is never the recipient's.
Two codes are special. 21610: the person sent STOP to this sender, and another provider would evade
that. 30003: the phone is off or without signal, which no provider can change, and which passes.

Message Redaction (ContentRetention, AddressRetention) is a feature that Twilio enables for some
accounts, and refuses for all others with 30029 and 30030. With redacted numbers Twilio cannot handle
STOP, so the sender has to: www.twilio.com/docs/api/errors/23002 and 23004.

A message from a phone is answered with an empty body: TwiML in it would be sent to the phone.
www.twilio.com/docs/messaging/guides/webhook-request
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar, Final

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
    convert_callback,
    parse_form,
)
from otp_service.sms.provider_settings import BasicAuth, VendorSettings
from otp_service.sms.signatures import find_ambiguous_token_errors, require_one_reading
from otp_service.sms.twilio_signature import has_certain_sender, is_json, verify_signature
from otp_service.sms.vendor_dialect import (
    ReceiptStatus,
    build_form_request,
    build_receipt,
    choose_message_text,
)


FAULT_TABLE: Final[FaultTable] = {
    "21211": "recipient",  # invalid To
    "21214": "recipient",  # To cannot be reached
    "21610": "opted-out",  # the recipient sent STOP
    "21614": "recipient",  # not a mobile number
    "21635": "recipient",  # a landline
    "30005": "recipient",  # unknown handset
    "30006": "recipient",  # landline or unreachable carrier
    "30450": "blocked",  # blocked by SMS pumping protection
    "10001": "account",  # account not active
    "20003": "account",  # authentication
    "20005": "account",  # account not active
    "21212": "account",  # invalid From
    "21408": "account",  # geo permission is off
    "21603": "account",  # From is missing
    "21606": "account",  # From is not ours, or cannot send SMS
    "21608": "account",  # trial account, unverified number
    "21659": "account",  # From is not a number of ours
    "21660": "account",  # From is of another account
    "21703": "account",  # the Messaging Service has no sender
    "21705": "account",  # the Messaging Service is invalid
    "30002": "account",  # account suspended
    "30029": "account",  # ContentRetention: Message Redaction is not enabled
    "30030": "account",  # AddressRetention: the same
    "30034": "account",  # unregistered 10DLC number
    "14107": "throttled",  # message rate limit
    "20429": "throttled",  # too many requests
    "21611": "throttled",  # queue of this From is full
    "30001": "throttled",  # queue overflow
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "accepted": "pending",
    "scheduled": "pending",
    "queued": "pending",
    "sending": "pending",
    "sent": "pending",
    "partially_delivered": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "technical-failure",
    "failed": "technical-failure",
    "canceled": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    **derive_permanent_failures(FAULT_TABLE),
    "30003": "temporary-failure",  # unreachable handset
    "30036": "temporary-failure",  # the validity period ended
}

READ_FIELD_PATTERNS: Final = {
    "MessageSid": re.compile(r"[A-Za-z0-9]*"),
    "MessageStatus": re.compile(r"[a-z_]*"),
    "ErrorCode": re.compile(r"[0-9]*"),
}
INBOUND_STATUS: Final = "received"
MESSAGE_SID_PATTERN: Final = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
MAX_VALIDITY_SECONDS: Final = 36_000
"""The longest ValidityPeriod of Twilio; the shortest is 1."""


class _ReplyBody(msgspec.Struct):
    sid: str = ""
    code: int | str | None = None


class _ReceiptBody(msgspec.Struct, rename="pascal"):
    message_sid: str
    error_code: str | None = None


class Twilio(VendorSettings, frozen=True, kw_only=True, tag="twilio"):
    """An account of Twilio."""

    requires_sender: ClassVar[bool] = True

    base_url: str = "https://api.twilio.com"
    account_sid: str
    auth_token: Secret | None = None
    """Authenticates us where there is no key, and signs callbacks outside of a Webhooks Rule."""
    shared_key: Secret | None = None
    """Signs callbacks whose address a Webhooks Rule of the account matches."""
    api_key: str = ""
    api_secret: Secret | None = None
    messaging_service_sid: str = ""
    """Selects the sender where `sender` and `senders` have no allowed one."""
    message_redaction: bool = False
    """Whether Twilio is to keep neither the text nor the whole number. See above."""

    @property
    def has_sender_pool(self) -> bool:
        """A Messaging Service has a pool of senders."""
        return bool(self.messaging_service_sid)

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Twilio signs with the token or the key of the account."""
        return bool(self.auth_token or self.shared_key)

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "To": message.to.e164,
            **self._build_sender_fields(message),
            "Body": message.text,
            "ValidityPeriod": str(max(1, min(message.validity_seconds, MAX_VALIDITY_SECONDS))),
        }
        if self.message_redaction:
            fields |= {"ContentRetention": "discard", "AddressRetention": "obfuscate"}
        if message.callback_url is not None:
            fields["StatusCallback"] = message.callback_url
        return build_form_request(self._url, self._authorization, fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply: {"sid"} with a 2xx, else {"code"}."""
        body = reply.decode_or(_ReplyBody())
        code = str(body.code) if body.code else None
        return classify_reply(reply, body.sid, FAULT_TABLE, code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first."""
        is_signed = bool(self.auth_token or self.shared_key)
        if is_signed:
            verify_signature(callback, self.auth_token, self.shared_key)
        if is_json(callback) and callback.json is not None:
            return [SkippedEvent.OTHER]
        if _is_message(callback.fields):
            return [_parse_message(callback, is_signed=is_signed)]
        return [_parse_receipt(callback, is_signed=is_signed)]

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        if not re.fullmatch(r"AC[0-9a-f]{32}", self.account_sid):
            found.append(("account_sid", "it is AC and 32 of 0-9 and a-f: see the console"))
        if bool(self.api_key) != bool(self.api_secret):
            found.append(("api_secret", "give api_key and api_secret together, or neither"))
        if not (self.auth_token or self.api_secret):
            found.append(("auth_token", "give the account's token, or api_key and api_secret"))
        found.extend(find_ambiguous_token_errors(self.inbound_tokens))
        return found

    def _build_sender_fields(self, message: Message) -> dict[str, str]:
        sender = self.select_sender_id(message)
        if self.messaging_service_sid and not sender:
            return {"MessagingServiceSid": self.messaging_service_sid}
        return {"From": sender} if sender else {}

    @cached_property
    def _url(self) -> str:
        return self.build_url(f"/2010-04-01/Accounts/{self.account_sid}/Messages.json")

    @cached_property
    def _authorization(self) -> str:
        if self.api_secret:
            return BasicAuth(self.api_key, self.api_secret).header
        return BasicAuth(self.account_sid, self.auth_token).header if self.auth_token else ""


def _parse_receipt(callback: Callback, *, is_signed: bool) -> CallbackPart:
    status = RECEIPT_STATUSES.get(callback.fields.get("MessageStatus", ""))
    if status is None:
        return SkippedEvent.OTHER
    if is_signed:
        pairs = parse_form(callback.text)
        require_one_reading(pairs, READ_FIELD_PATTERNS, url=callback.url if pairs else "")
    form = convert_callback(callback.fields, _ReceiptBody)
    return build_receipt(
        status,
        form.error_code,
        failure_statuses=FAILURE_STATUSES,
        message_id=form.message_sid,
        is_signed=is_signed,
    )


def _is_message(fields: Mapping[str, str]) -> bool:
    """Whether a callback is about a message from a phone; an event of Conversations has no `From`."""
    if "MessageStatus" in fields:
        return False
    return fields.get("SmsStatus") == INBOUND_STATUS or fields.keys() >= {"Body", "From"}


def _parse_message(callback: Callback, *, is_signed: bool) -> InboundMessage:
    """Return the message; its text is Advanced Opt-Out's keyword if `OptOutType` names one.

    Without a text in `Body` (an MMS), and where the sender is not certain, it has no keyword.
    """
    fields = callback.fields
    sender, sid = fields.get("From", ""), fields.get("MessageSid", "")
    if not sender or not MESSAGE_SID_PATTERN.fullmatch(sid):
        raise UnreadableCallback
    text = choose_message_text(fields.get("Body"), fields.get("OptOutType"))
    if is_signed and not has_certain_sender(callback):
        text = ""
    return InboundMessage(sender, text, fields.get("To", ""), sid, is_signed)
