"""Vonage, Messages API: developer.vonage.com/api/messages. (The SMS API: vonage.py.)

An error is {"type": "https://…/api-errors/messages#1120", "title", "detail"}; its code is what
stands after the #, or a title that is a number:

    TABLE.recipient   the number's
    TABLE.account     somebody has to act: suspension, credit, sender; HTTP 401, 402, 403 too
    any other         by the status: 4xx the provider's, 429 throttled, 5xx perhaps sent

1000 is the odd case: it says "throttled", and yet comes with a 500 too, so the status decides.
"""

import base64
import hashlib
import hmac
from functools import cached_property
from typing import Literal

import msgspec

from otp_service.core.delivery import Accepted, Fault, Message, Receipt, Refused, Reply
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import BadSignature, Callback, check
from otp_service.sms.http import Headers, HttpReply, HttpRequest, VendorSettings
from otp_service.sms.providers.http import Basic
from otp_service.sms.providers.vonage import MOST, account_faults, seconds
from otp_service.sms.reading import Table, must_read, read, short_code


TABLE = Table(
    recipient={"1050": "number barred"},
    account={
        "1060": "account barred",
        "1070": "quota exceeded",
        "1080": "account may not use this API",
        "1120": "sender is not ours",
        "low-balance": "no credit",
    },
)
STATUSES: dict[str, Literal["delivered", "pending", "failed"]] = {
    "submitted": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "rejected": "failed",
    "undeliverable": "failed",  # "unable to connect to the messaging provider"
}


class _Problem(msgspec.Struct):
    type: str = ""
    title: str | int = ""

    @property
    def code(self) -> str | None:
        fragment = self.type.rpartition("#")[2]
        return short_code(fragment) or short_code(self.title) or fragment or None


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


class _Head(msgspec.Struct):
    alg: Literal["HS256"]


class _Claims(msgspec.Struct):
    iat: int
    iss: Literal["Vonage"]
    api_key: str
    payload_hash: str


class VonageMessages(VendorSettings, frozen=True, kw_only=True, tag="vonage-messages"):
    """The settings of an account, and its dialect."""

    base_url: str = "https://api.nexmo.com"
    api_key: str
    api_secret: Secret
    signature_secret: Secret | None = None
    """Of the account, and what its callbacks are signed with; without it none is checked."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """200, as their documentation has it: anything else is brought again for a day."""
        return 200, b""

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
        url = f"{self.base_url.rstrip('/')}/v1/messages"
        return HttpRequest("POST", url, self._headers, msgspec.json.encode(fields))

    def reply(self, reply: HttpReply) -> Reply:
        """Return what the reply means: {"message_uuid"} with a 2xx, else a problem."""
        answer = read(reply.body, _Answer)
        if answer and 200 <= reply.status < 300:  # noqa: PLR2004
            known = answer.message_uuid
            return Accepted(known) if known else Refused(Fault.UNKNOWN, "no-message-id")
        return TABLE.refusal(reply, answer.code if answer else None)

    def receipts(self, callback: Callback) -> list[Receipt]:
        """Return the news of a status callback, once its signature has been checked.

        Vonage may leave a callback unsigned while something of theirs is broken; it is refused,
        and they bring it again.
        """
        if self.signature_secret:
            check_token(callback, self.signature_secret, self.api_key)
        news = must_read(callback.body, _Status)
        status, problem = STATUSES[news.status], news.error and (news.error.error or news.error)
        code = short_code(problem.code) if problem else None
        return [
            Receipt(
                TABLE.failure(code) if status == "failed" else status,
                reference=news.client_ref,
                message_id=news.message_uuid,
                reason=code if status == "failed" else None,
                is_signed=self.signature_secret is not None,
            )
        ]

    def faults(self) -> list[tuple[str, str]]:
        """Return what is wrong or unsafe in these settings, as (field, remedy)."""
        return [*super().faults(), *account_faults(self, self.api_key)]

    @cached_property
    def _headers(self) -> Headers:
        return (
            ("content-type", "application/json"),
            ("authorization", Basic(self.api_key, self.api_secret).header),
        )


def check_token(callback: Callback, secret: Secret, api_key: str) -> None:
    """Raise BadSignature unless a token in the headers vouches for this body, now.

    developer.vonage.com/en/getting-started/concepts/webhooks#validating-signed-webhooks. Signed
    with anything but HS256, by another account or for another body, it is nothing to us.
    """
    _, _, token = callback.headers.get("authorization", "").partition(" ")
    signed, _, signature = token.rpartition(".")
    head, _, payload = signed.partition(".")
    digest = hmac.digest(secret.reveal().encode(), signed.encode(), "sha256")
    check(base64.urlsafe_b64encode(digest).rstrip(b"="), signature)
    try:
        must_read(_bytes(head), _Head)
        claims = must_read(_bytes(payload), _Claims)
    except ValueError:
        raise BadSignature from None
    check(api_key, claims.api_key)
    check(hashlib.sha256(callback.body).hexdigest(), claims.payload_hash)
    callback.check_age(str(claims.iat))


def _bytes(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
