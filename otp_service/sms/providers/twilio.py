"""Twilio, Messages API of 2010-04-01: www.twilio.com/docs/messaging/api/message-resource.

    RECIPIENT_FAULT   nobody can reach the number, or a fraud block, which stays one
    ACCOUNT_FAULT    somebody has to act: credentials, suspension, sender, geo permissions
    THROTTLED_FAULT  too much at once; HTTP 429 says so too
    any other         the provider's, with a 4xx or in a receipt; perhaps sent with a 5xx

Twilio calls its codes "subject to change", and adds some: an unknown one is never the recipient's.
21610 is the odd case: the person wrote STOP to this sender, and another one would go around it.
30003 is too: the phone is off or away, which no provider can change, and which passes.
"""

import re
from functools import cached_property
from urllib.parse import parse_qsl, urlsplit

import msgspec

from otp_service.core.delivery import Message, Receipt, Reply
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.providers.generic_http import BasicAuth
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.signatures import compute_signature, require_any_equal
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    build_form_request,
    classify_reply,
    decode_json_or,
    derive_permanent_failures,
    resolve_receipt_status,
    sanitize_reason,
)


FAULT_TABLE: FaultTable = {
    "21211": RECIPIENT_FAULT,  # invalid To
    "21214": RECIPIENT_FAULT,  # To cannot be reached
    "21217": RECIPIENT_FAULT,  # not a valid number
    "21421": RECIPIENT_FAULT,  # not a valid number
    "21610": RECIPIENT_FAULT,  # the recipient wrote STOP
    "21614": RECIPIENT_FAULT,  # not a mobile number
    "30005": RECIPIENT_FAULT,  # unknown handset
    "30006": RECIPIENT_FAULT,  # landline or unreachable carrier
    "30450": RECIPIENT_FAULT,  # blocked by SMS pumping protection
    "20003": ACCOUNT_FAULT,  # authentication
    "20005": ACCOUNT_FAULT,  # account not active
    "21212": ACCOUNT_FAULT,  # invalid From
    "21408": ACCOUNT_FAULT,  # geo permission is off
    "21603": ACCOUNT_FAULT,  # From is missing
    "21606": ACCOUNT_FAULT,  # From is not ours, or cannot send SMS
    "21608": ACCOUNT_FAULT,  # trial account, unverified number
    "21659": ACCOUNT_FAULT,  # From is not a number of ours
    "30002": ACCOUNT_FAULT,  # account suspended
    "30034": ACCOUNT_FAULT,  # unregistered 10DLC number
    "14107": THROTTLED_FAULT,  # message rate limit
    "20429": THROTTLED_FAULT,  # too many requests
    "21611": THROTTLED_FAULT,  # queue of this From is full
    "30001": THROTTLED_FAULT,  # queue overflow
}

FAILURE_STATUSES: dict[str, ReceiptStatus] = {
    **derive_permanent_failures(FAULT_TABLE),
    "30003": "temporary-failure",  # unreachable handset: off, or without signal
}
"""What a code makes of a technical failure."""
RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
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

MAX_VALIDITY_SECONDS = 36_000
"""Seconds of validity that Twilio takes at most; at least it takes 1."""


class _ReplyBody(msgspec.Struct):
    sid: str = ""
    code: int | str | None = None


class Twilio(VendorSettings, frozen=True, kw_only=True, tag="twilio"):
    """The settings of an account, and its dialect."""

    base_url: str = "https://api.twilio.com"
    account_sid: str
    auth_token: Secret | None = None
    """Opens the account unless there is a key, and is what callbacks are signed with."""
    api_key: str = ""
    api_secret: Secret | None = None
    messaging_service_sid: str = ""
    """Picks the sender where `sender` and `senders` have none that may be used."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST. Twilio is asked to keep neither the text nor the whole number."""
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
        """Return what the reply means: {"sid"} with a 2xx, else {"code"}."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        return classify_reply(
            reply, answer.sid, FAULT_TABLE, str(answer.code) if answer.code else None
        )

    def parse_receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a status callback (a form), once its signature has been checked."""
        if self.auth_token:
            verify_signature(callback, self.auth_token)
        code = callback.form.get("ErrorCode")
        known = resolve_receipt_status(
            RECEIPT_STATUSES[callback.form["MessageStatus"]], code, FAILURE_STATUSES
        )
        return [
            Receipt(
                known,
                message_id=callback.form["MessageSid"],
                reason=sanitize_reason(known, code),
                is_signed=self.auth_token is not None,
            )
        ]

    def find_errors(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
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
        key = BasicAuth(self.api_key, self.api_secret) if self.api_secret else None
        token = BasicAuth(self.account_sid, self.auth_token) if self.auth_token else None
        opener = key or token
        return opener.header if opener else ""


def verify_signature(callback: Callback, token: Secret) -> None:
    """Raise BadSignature unless Twilio has signed the exact address and the fields of the form.

    www.twilio.com/docs/usage/security: HMAC-SHA1 over both, in base64. Twilio itself is not sure
    whether the address has its port, so both are right, as in its own SDK. Nothing tells the time:
    a receipt can be repeated, and changes nothing then.
    """
    pairs = parse_qsl(callback.body.decode(), keep_blank_values=True)
    fields = "".join(name + value for name, value in sorted(set(pairs)))
    key, given = token.reveal().encode(), callback.headers.get("x-twilio-signature", "")
    signed = (f"{url}{fields}".encode() for url in _list_url_spellings(callback.url))
    require_any_equal(given, [compute_signature(key, each, "sha1") for each in signed])


def _list_url_spellings(url: str) -> list[str]:
    parts = urlsplit(url)
    bare = re.sub(r":[0-9]+$", "", parts.netloc)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return [parts._replace(netloc=netloc).geturl() for netloc in (bare, f"{bare}:{port}")]
