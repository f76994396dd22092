"""Vonage, Messages API: developer.vonage.com/api/messages. (The SMS API: vonage.py.)

An error is {"type": "https://…/api-errors/messages#1120", "title", "detail"}; its code is what
stands after the #, or a title that is a number:

    RECIPIENT   the number's
    ACCOUNT    somebody has to act: suspension, credit, sender; HTTP 401, 402, 403 too
    any other         by the status: 4xx the provider's, 429 throttled, 5xx perhaps sent

1000 is the odd case: it says "throttled", and yet comes with a 500 too, so the status decides.
"""

import hashlib
from typing import Literal

import msgspec

from otp_service.core.delivery import Message, Receipt, Reply
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import Callback, check
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.providers.vonage import MOST, Account, seconds
from otp_service.sms.signatures import claims
from otp_service.sms.vendor_dialect import (
    ACCOUNT,
    RECIPIENT,
    Outcome,
    Verdicts,
    judged,
    outcome,
    permanent,
    post_json,
    read,
    read_or,
    reason,
)


FAULTS: Verdicts = {
    "1050": RECIPIENT,  # number barred
    "1060": ACCOUNT,  # account barred
    "1070": ACCOUNT,  # quota exceeded
    "1080": ACCOUNT,  # account may not use this API
    "1120": ACCOUNT,  # sender is not ours
    "low-balance": ACCOUNT,  # no credit
}
STATUSES: dict[str, Outcome] = {
    "submitted": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "rejected": "technical-failure",
    "undeliverable": "technical-failure",  # "unable to connect to the messaging provider"
}


class _Problem(msgspec.Struct):
    type: str = ""
    title: str | int = ""

    @property
    def code(self) -> str | None:
        fragment = self.type.rpartition("#")[2]
        numbers = (one for one in (fragment, str(self.title)) if one.isdecimal())
        return next(numbers, fragment or None)


class _Answer(_Problem):
    message_uuid: str = ""


class _Error(_Problem):
    error: _Problem | None = None
    """Some receipts have their error in an error."""


class _Status(msgspec.Struct):
    message_uuid: str
    status: str
    client_ref: str = ""
    error: _Error | None = None


class _Claims(msgspec.Struct):
    iat: int
    iss: Literal["Vonage"]
    api_key: str
    payload_hash: str


class VonageMessages(Account, frozen=True, kw_only=True, tag="vonage-messages"):
    """The settings of an account, and its dialect."""

    base_url: str = "https://api.nexmo.com"

    def request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        fields = {
            "message_type": "text",
            "channel": "sms",
            "to": message.to.e164[1:],
            "from": self.sender_for(message).removeprefix("+"),
            "text": message.text,
            "ttl": seconds(message),
        }
        if len(message.reference) <= MOST:
            fields["client_ref"] = message.reference
        if message.callback is not None:
            fields |= {"webhook_url": message.callback, "webhook_version": "v1"}
        return post_json(self.address("/v1/messages"), self._authorization, fields)

    def reply(self, reply: HttpReply) -> Reply:
        """Return what the reply means: {"message_uuid"} with a 2xx, else a problem."""
        answer = read_or(_Answer(), reply.body)
        return judged(reply, answer.message_uuid, FAULTS, answer.code)

    def receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a status callback, once its signature has been checked.

        Vonage may leave a callback unsigned while something of theirs is broken; it is refused,
        and they bring it again.
        """
        if self.signature_secret:
            check_token(callback, self.signature_secret, self.api_key)
        news = read(callback.body, _Status)
        problem = news.error and (news.error.error or news.error)
        code = problem.code if problem else None
        known = outcome(STATUSES[news.status], code, permanent(FAULTS))
        return [
            Receipt(
                known,
                reference=news.client_ref,
                message_id=news.message_uuid,
                reason=reason(known, code),
                is_signed=self.signature_secret is not None,
            )
        ]


def check_token(callback: Callback, secret: Secret, api_key: str) -> None:
    """Raise BadSignature unless a token in the headers vouches for this body, now.

    developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks. Signed
    with anything but HS256, by another account or for another body, it is nothing to us.
    """
    _, _, token = callback.headers.get("authorization", "").partition(" ")
    said = claims(token, secret.reveal(), _Claims, {"HS256"})
    check(api_key, said.api_key)
    check(hashlib.sha256(callback.body).hexdigest(), said.payload_hash)
    callback.check_age(str(said.iat))
