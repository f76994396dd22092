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
from otp_service.sms.callbacks import BadSignature, Callback, check
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.signatures import DIGESTS, claims
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    NONE,
    RECIPIENT,
    Outcome,
    Verdicts,
    judged,
    outcome,
    post_json,
    read_or,
    reason,
)


NO_RECIPIENT: Final = 9
FAULTS: Final[Verdicts] = {"2": ACCOUNT, "25": ACCOUNT, str(NO_RECIPIENT): ACCOUNT}
OUTCOMES: Final[dict[str, Outcome]] = {
    "scheduled": "pending",
    "sent": "pending",
    "buffered": "pending",
    "delivered": "delivered",
    "expired": "temporary-failure",
    "delivery_failed": "technical-failure",
}
NUMBERS: Final[dict[str, Outcome]] = dict.fromkeys(("1", "unknown subscriber"), "permanent-failure")
"""What a code or a reason makes of a technical failure."""

SIGNED: Final = "messagebird-signature-jwt"
ISSUER: Final = "MessageBird"
LEEWAY: Final = 5
"""Seconds by which clocks may differ; a signature is good for 60."""


class Error(msgspec.Struct):
    """Why a request was refused."""

    code: int
    parameter: str | None = None

    @property
    def verdicts(self) -> Verdicts:
        """The table, with the odd case as it is here."""
        is_number = self.code == NO_RECIPIENT and self.parameter == "recipients"
        return {**FAULTS, str(NO_RECIPIENT): RECIPIENT} if is_number else FAULTS


class Answer(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    errors: list[Error] = []


class Claims(msgspec.Struct):
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

    def request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        fields = {
            "originator": self.sender_for(message),
            "recipients": message.to.e164[1:],
            "body": message.text,
            "type": "sms",
            "datacoding": "auto",  # "plain" would replace letters that GSM does not know
            "reference": message.reference,
            "validity": message.valid_for,
            "reportUrl": message.callback,
        }
        url = self.address("/messages")
        return post_json(url, f"AccessKey {self.access_key.reveal()}", fields)

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = read_or(Answer(), reply.body)
        error = answer.errors[0] if answer.errors else None
        code = str(error.code) if error else None
        return judged(reply, answer.id, error.verdicts if error else NONE, code)

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings: in its query, or in a form if it is a POST."""
        if self.signing_key:
            _check(callback, self.signing_key.reveal())
        fields = callback.form if callback.body else callback.query
        said = OUTCOMES[fields["status"]]
        code = fields.get("statusErrorCode", "")
        why = fields.get("statusReason", "").replace("_", " ").lower()
        known = outcome(outcome(said, code, NUMBERS), why, NUMBERS)
        return [
            Receipt(
                known,
                fields.get("reference", ""),
                fields["id"],
                reason(known, code),
                is_signed=self.signing_key is not None,
            )
        ]


def _check(callback: Callback, key: str) -> None:
    """Check that the signature is theirs, of this address and body, and of these seconds."""
    said = claims(callback.headers.get(SIGNED, ""), key, Claims, DIGESTS)
    body_hash = hashlib.sha256(callback.body).hexdigest() if callback.body else ""
    check(hashlib.sha256(callback.url.encode()).hexdigest(), said.url_hash)
    check(body_hash, said.payload_hash)
    seconds = callback.now / 1000
    is_current = said.nbf - LEEWAY <= seconds <= said.exp + LEEWAY
    if said.iss != ISSUER or not is_current:
        raise BadSignature
