"""Bird SMS, the API of 2026 (messagebird.py is the one before).

    name of an error                                    fault, and what it speaks of
    SMSInvalidRecipient                                 recipient
    SMSNoEligibleSender, SMSSenderNotConfigured,
    SenderCategoryNotPermitted                          provider, the account: its senders
    401, 402, 403                                       provider, the account (by their status)
    429                                                 provider, throttled (by its status)
    any other 4xx                                       provider
    5xx, or a 2xx without an id                         unknown

    receipt                                             what became of the message
    sms.accepted, sms.sent                              pending
    sms.delivered                                       delivered
    sms.undelivered, failed, rejected, with the code
        invalid_destination, landline_unreachable,
        recipient_opted_out, blocked_by_recipient       permanent
        blocked_by_fraud_protection                     permanent: going around it defeats it
        unreachable                                     temporary
    sms.expired                                         temporary
    any other code                                      technical

Webhooks are set up once for a workspace and not for a message, so the address of receipts cannot
be given; our reference travels as metadata. `category = "authentication"` keeps the text out of
what Bird stores.

https://bird.com/docs/sdks/python
https://www.standardwebhooks.com
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import BadSignature, Callback
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.signatures import check_any, decoded, signature
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    RECIPIENT,
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
    "SMSInvalidRecipient": RECIPIENT,
    "SMSNoEligibleSender": ACCOUNT,
    "SMSSenderNotConfigured": ACCOUNT,
    "SenderCategoryNotPermitted": ACCOUNT,
}
OUTCOMES: Final[dict[str, Outcome]] = {
    "sms.accepted": "pending",
    "sms.sent": "pending",
    "sms.delivered": "delivered",
    "sms.undelivered": "technical-failure",
    "sms.failed": "technical-failure",
    "sms.rejected": "technical-failure",
    "sms.expired": "temporary-failure",
}
CODES: Final[dict[str, Outcome]] = {
    "invalid_destination": "permanent-failure",
    "landline_unreachable": "permanent-failure",
    "recipient_opted_out": "permanent-failure",
    "blocked_by_recipient": "permanent-failure",
    "blocked_by_fraud_protection": "permanent-failure",
    "unreachable": "temporary-failure",
}
"""What a code makes of a technical failure."""
SHORTEST: Final = 60
"""Seconds: the least validity that Bird takes."""


class Named(msgspec.Struct):
    """An error of a reply."""

    name: str | None = None


class Answer(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    error: Named | None = None


class Failure(msgspec.Struct):
    """Why a message failed."""

    code: str


class Data(msgspec.Struct):
    """The message that a receipt is about."""

    sms_id: str
    metadata: dict[str, object] | None = None
    error: Failure | None = None


class Report(msgspec.Struct):
    """What is read of a receipt."""

    type: str
    data: Data


class Bird(VendorSettings, frozen=True, kw_only=True, tag="bird"):
    """A workspace of Bird. `base_url` is https://{region}.platform.bird.com.

    The region stands in the key: bk_{region}_...
    """

    api_key: Secret
    webhook_secret: Secret | None = None
    """whsec_..., of the webhook that was set up. Without it receipts count as unsigned."""
    has_validity: bool = False
    """Whether a validity may be asked for: a preview, and refused to workspaces outside of it."""

    def request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        takes = self.has_validity and message.valid_for >= SHORTEST
        fields = {
            "to": message.to.e164,
            "from": self.sender_for(message),
            "text": message.text,
            "category": "authentication",
            "metadata": {"reference": message.reference},
            "validity_period": message.valid_for if takes else None,
        }
        url = self.address("/v1/sms/messages")
        return post_json(url, f"Bearer {self.api_key.reveal()}", fields)

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = read_or(Answer(), reply.body)
        name = answer.error.name if answer.error else None
        return judged(reply, answer.id, FAULTS, name)

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings."""
        if self.webhook_secret:
            _check(callback, self.webhook_secret.reveal())
        report = read(callback.body, Report)
        code = report.data.error.code if report.data.error else ""
        known = outcome(OUTCOMES[report.type], code, CODES)
        reference = (report.data.metadata or {}).get("reference")
        return [
            Receipt(
                known,
                reference if isinstance(reference, str) else "",
                report.data.sms_id,
                reason(known, code),
                is_signed=self.webhook_secret is not None,
            )
        ]

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        faults = super().faults()
        if self.webhook_secret and not _key(self.webhook_secret.reveal()):
            faults.append(("webhook_secret", "copy it from the webhook: whsec_ and base64"))
        return faults


def _check(callback: Callback, secret: str) -> None:
    """Check a Standard Webhooks signature, and that it is not an old one."""
    key, headers = _key(secret), callback.headers
    if not key:
        raise BadSignature  # anybody can sign with a key that is empty
    timestamp = headers.get("webhook-timestamp", "")
    signed = f"{headers.get('webhook-id', '')}.{timestamp}.".encode() + callback.body
    expected = f"v1,{signature(key, signed)}"
    check_any(expected, headers.get("webhook-signature", "").split())
    callback.check_age(timestamp)


def _key(secret: str) -> bytes:
    """Return the key that a secret stands for; empty if it is none."""
    return decoded(secret.removeprefix("whsec_"))
