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

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import BadSignature, Callback, check
from otp_service.sms.http import HttpReply, HttpRequest, VendorSettings
from otp_service.sms.vendors import (
    ACCOUNT,
    RECIPIENT,
    Outcome,
    Verdict,
    accepted,
    post_json,
    read,
    read_or,
    reason,
    refusal,
)


NO_RECIPIENT: Final = 9
FAULTS: Final[dict[int, Verdict]] = {2: ACCOUNT, 25: ACCOUNT, NO_RECIPIENT: ACCOUNT}
OUTCOMES: Final[dict[str, Outcome]] = {
    "scheduled": "pending",
    "sent": "pending",
    "buffered": "pending",
    "delivered": "delivered",
    "expired": "temporary-failure",
    "delivery_failed": "technical-failure",
}
UNKNOWN_SUBSCRIBER: Final = ("1", "unknown subscriber")

SIGNED: Final = "messagebird-signature-jwt"
ISSUER: Final = "MessageBird"
DIGESTS: Final = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
"""The only algorithms: `none`, or one with a public key, would let anybody sign."""
LEEWAY: Final = 5
"""Seconds by which clocks may differ; a signature is good for 60."""


class Error(msgspec.Struct):
    """Why a request was refused."""

    code: int
    parameter: str | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Whose fault it is, if the table says."""
        if self.code == NO_RECIPIENT and self.parameter == "recipients":
            return RECIPIENT
        return FAULTS.get(self.code)


class Answer(msgspec.Struct):
    """What is read of a reply."""

    id: str = ""
    errors: list[Error] = []


class Head(msgspec.Struct):
    """The header of a signature."""

    alg: str


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
        url = f"{self.base_url.rstrip('/')}/messages"
        return post_json(url, f"AccessKey {self.access_key.reveal()}", fields)

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        answer = read_or(Answer(), reply.body)
        if 200 <= reply.status < 300:  # noqa: PLR2004
            return accepted(answer.id)
        if not answer.errors:
            return refusal({}, reply, "")
        error, code = answer.errors[0], str(answer.errors[0].code)
        return refusal({code: error.verdict} if error.verdict else {}, reply, code)

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the one that a callback brings: in its query, or in a form if it is a POST."""
        if self.signing_key:
            _check(callback, self.signing_key.reveal())
        fields = callback.form if callback.body else callback.query
        outcome = OUTCOMES[fields["status"]]
        code = fields.get("statusErrorCode", "")
        why = (code, fields.get("statusReason", "").replace("_", " ").lower())
        if outcome == "technical-failure" and {*why} & {*UNKNOWN_SUBSCRIBER}:
            outcome = "permanent-failure"
        return [
            Receipt(
                outcome,
                fields.get("reference", ""),
                fields["id"],
                reason(outcome, code),
                is_signed=self.signing_key is not None,
            )
        ]


def _check(callback: Callback, key: str) -> None:
    """Check that the signature is theirs, of this address and body, and of these seconds.

    By hand, as PyJWT knows no clock but its own, and half of the claims are MessageBird's own.
    """
    try:
        signed, _, given = callback.headers.get(SIGNED, "").rpartition(".")
        head, _, payload = signed.partition(".")
        digest = DIGESTS[read(_decoded(head), Head).alg]
        check(hmac.digest(key.encode(), signed.encode(), digest), _decoded(given))
        claims = read(_decoded(payload), Claims)
    except (KeyError, ValueError):
        raise BadSignature from None
    body_hash = hashlib.sha256(callback.body).hexdigest() if callback.body else ""
    check(hashlib.sha256(callback.url.encode()).hexdigest(), claims.url_hash)
    check(body_hash, claims.payload_hash)
    seconds = callback.now / 1000
    is_current = claims.nbf - LEEWAY <= seconds <= claims.exp + LEEWAY
    if claims.iss != ISSUER or not is_current:
        raise BadSignature


def _decoded(text: str) -> bytes:
    """Return what base64 stands for, as tokens write it. Raises ValueError for what is none."""
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
