"""Twilio, Messages API of 2010-04-01: www.twilio.com/docs/messaging/api/message-resource.

Twilio calls its codes "subject to change", and adds some: an unknown one is never the recipient's.
Two codes are special. 21610: the person sent STOP to this sender, and another provider would evade
that. 30003: the phone is off or without signal, which no provider can change, and which passes.
"""

import re
from functools import cached_property
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from otp_service.core.delivery import Message, Receipt, Reply
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import FaultTable, classify_reply, derive_permanent_failures
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import BasicAuth, VendorSettings
from otp_service.sms.receipt_callbacks import Callback, convert_receipt
from otp_service.sms.signatures import compute_signature, require_any_equal
from otp_service.sms.vendor_dialect import ReceiptStatus, build_form_request, build_receipt


FAULT_TABLE: Final[FaultTable] = {
    "21211": "recipient",  # invalid To
    "21214": "recipient",  # To cannot be reached
    "21610": "blocked",  # the recipient sent STOP
    "21614": "recipient",  # not a mobile number
    "30005": "recipient",  # unknown handset
    "30006": "recipient",  # landline or unreachable carrier
    "30450": "blocked",  # blocked by SMS pumping protection
    "20003": "account",  # authentication
    "20005": "account",  # account not active
    "21212": "account",  # invalid From
    "21408": "account",  # geo permission is off
    "21603": "account",  # From is missing
    "21606": "account",  # From is not ours, or cannot send SMS
    "21608": "account",  # trial account, unverified number
    "21659": "account",  # From is not a number of ours
    "30002": "account",  # account suspended
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
}

MAX_VALIDITY_SECONDS: Final = 36_000
"""The longest ValidityPeriod of Twilio; the shortest is 1."""


class _ReplyBody(msgspec.Struct):
    sid: str = ""
    code: int | str | None = None


class _ReceiptBody(msgspec.Struct, rename="pascal"):
    message_sid: str
    message_status: str
    error_code: str | None = None


class Twilio(VendorSettings, frozen=True, kw_only=True, tag="twilio"):
    """An account of Twilio."""

    base_url: str = "https://api.twilio.com"
    account_sid: str
    auth_token: Secret | None = None
    """Authenticates us where there is no key, and signs callbacks."""
    api_key: str = ""
    api_secret: Secret | None = None
    messaging_service_sid: str = ""
    """Selects the sender where `sender` and `senders` have no allowed one."""

    @property
    def has_sender_pool(self) -> bool:
        """A Messaging Service has a pool of senders."""
        return bool(self.messaging_service_sid)

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST. It asks Twilio to keep neither the text nor the whole number."""
        fields = {
            "To": message.to.e164,
            **self._build_sender_fields(message),
            "Body": message.text,
            "ValidityPeriod": str(max(1, min(message.validity_seconds, MAX_VALIDITY_SECONDS))),
            "ContentRetention": "discard",
            "AddressRetention": "obfuscate",
        }
        if message.callback_url is not None:
            fields["StatusCallback"] = message.callback_url
        return build_form_request(self._url, self._authorization, fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply: {"sid"} with a 2xx, else {"code"}."""
        body = reply.decode_or(_ReplyBody())
        code = str(body.code) if body.code else None
        return classify_reply(reply, body.sid, FAULT_TABLE, code)

    def parse_receipts(self, callback: Callback) -> list[Receipt]:
        """Return the receipt of a status callback, whose signature is checked first."""
        if self.auth_token:
            verify_signature(callback, self.auth_token)
        form = convert_receipt(callback.form, _ReceiptBody)
        receipt = build_receipt(
            RECEIPT_STATUSES.get(form.message_status),
            form.error_code,
            failure_statuses=FAILURE_STATUSES,
            message_id=form.message_sid,
            is_signed=self.auth_token is not None,
        )
        return [receipt]

    def find_errors(self) -> list[tuple[str, str]]:
        found = super().find_errors()
        if not re.fullmatch(r"AC[0-9a-f]{32}", self.account_sid):
            found.append(("account_sid", "it is AC and 32 of 0-9 and a-f: see the console"))
        if bool(self.api_key) != bool(self.api_secret):
            found.append(("api_secret", "give api_key and api_secret together, or neither"))
        if not (self.auth_token or self.api_secret):
            found.append(("auth_token", "give the account's token, or api_key and api_secret"))
        if not (self.sender or self.senders or self.messaging_service_sid):
            found.append(("sender", "name a sender of yours, or messaging_service_sid"))
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


def verify_signature(callback: Callback, token: Secret) -> None:
    """Raise CallbackSignatureError unless Twilio signed the exact address and the form.

    www.twilio.com/docs/usage/security: HMAC-SHA1 over both, in base64. The address may or may not
    have its port, so both are accepted, as in Twilio's own SDK. The signature has no time: a
    receipt can be repeated, and then changes nothing.
    """
    pairs = parse_qsl(callback.text, keep_blank_values=True)
    fields = "".join(name + value for name, value in sorted(set(pairs)))
    key, given = token.reveal().encode(), callback.headers.get("x-twilio-signature", "")
    signed = (f"{url}{fields}".encode() for url in _list_url_spellings(callback.url))
    require_any_equal(given, [compute_signature(key, each, "sha1") for each in signed])


def _list_url_spellings(url: str) -> list[str]:
    parts = urlsplit(url)
    bare = re.sub(r":[0-9]+$", "", parts.netloc)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [parts._replace(netloc=netloc).geturl() for netloc in (bare, f"{bare}:{port}")]
