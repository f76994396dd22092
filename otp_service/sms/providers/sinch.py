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
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import Callback, check
from otp_service.sms.http_provider import HttpProvider, HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.router import Tools
from otp_service.sms.signatures import signature
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    Outcome,
    Verdicts,
    judged,
    outcome,
    post_json,
    read,
    read_or,
    reason,
)


FAULTS: Final[Verdicts] = {
    "blocked_account": ACCOUNT,
    "missing_callback_url": ACCOUNT,
    "unknown_campaign": ACCOUNT,
}
STATUSES: Final[dict[str, Outcome]] = {
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
CODES: Final[dict[str, Outcome]] = {
    "300": "permanent-failure",  # "Invalid destination address", of the SMPP codes
    "404": "temporary-failure",  # "temporary delivery failure"
    "406": "temporary-failure",  # it expired before it was dispatched
}
"""What a code makes of a technical failure."""

REPORT: Final = "recipient_delivery_report_sms"
SIGNED: Final = "x-sinch-webhook-signature"


class Answer(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    code: str = ""


class Report(msgspec.Struct):
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

    def as_sender(self, name: str, tools: Tools) -> HttpProvider:
        """Return the provider that speaks this dialect."""
        return HttpProvider(name, self.at(tools.now), tools.transport)

    def at(self, now: Callable[[], int]) -> "SinchAt":
        """Return these settings with a clock: Sinch wants to be told an instant, not a duration."""
        return SinchAt(**msgspec.structs.asdict(self), now=now)

    def request_at(self, message: Message, now: int) -> HttpRequest:
        """Return the batch of one message, at this time."""
        expires = datetime.fromtimestamp(now // 1000 + message.valid_for, UTC)
        fields = {
            "type": "mt_text",
            "from": self.sender_for(message),
            "to": [message.to.e164],
            "body": message.text,
            "delivery_report": "per_recipient_final" if message.callback else "none",
            "callback_url": message.callback,
            "client_reference": message.reference,
            "expire_at": f"{expires:%Y-%m-%dT%H:%M:%S}.000Z",
        }
        plan = quote(self.service_plan_id, safe="")
        url = self.address(f"/xms/v1/{plan}/batches")
        return post_json(url, f"Bearer {self.api_token.reveal()}", fields)

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = read_or(Answer(), reply.body)
        return judged(reply, answer.id, FAULTS, answer.code)

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        if self.signing_secret:
            _check(callback, self.signing_secret.reveal())
        report = read(callback.body, Report)
        if report.type != REPORT:
            raise ValueError("not a delivery report of a recipient")
        known = outcome(STATUSES[report.status.lower()], report.code, CODES)
        return [
            Receipt(
                known,
                report.client_reference or "",
                report.batch_id,
                reason(known, report.code),
                is_signed=self.signing_secret is not None,
            )
        ]


class SinchAt(Sinch, frozen=True, kw_only=True, tag="sinch"):
    """The same with a clock, so that it can ask for a message to be sent."""

    now: Callable[[], int]
    """Milliseconds since 1970."""

    def request(self, message: Message) -> HttpRequest:
        """Return the batch of one message."""
        return self.request_at(message, self.now())


def _check(callback: Callback, secret: str) -> None:
    """Check the signature over body, nonce and timestamp, and that it is not an old one."""
    given = callback.headers.get(SIGNED, "")
    nonce = callback.headers.get(f"{SIGNED}-nonce", "")
    timestamp = callback.headers.get(f"{SIGNED}-timestamp", "")
    signed = callback.body + f".{nonce}.{timestamp}".encode()
    check(signature(secret.encode(), signed), given)
    callback.check_age(timestamp)
