"""Clickatell: the One API of its platform, channel sms.

https://docs.clickatell.com/channels/one-api/one-api-reference/

What came back for our one message, and whose fault it is:

    accepted: true and an apiMessageId         accepted
    accepted: true without one                 unknown
    a code of RECIPIENT                        recipient: stop
    ACCOUNT, THROTTLED, accepted: false, and
    any other code with a 4xx                  provider: the next one
    any other 5xx, or 2xx without a message    unknown

The status says little: 202, or 207 where one message of several was refused, and a rate limit is a
400. The codes are the One API's own; those of the older interfaces (105, 114, 301) mean nothing
here. It has no field for a validity, so a late message cannot be prevented.

https://docs.clickatell.com/channels/one-api/one-api-errors-table/
https://docs.clickatell.com/channels/one-api/one-api-message-status-table/
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import msgspec

from otp_service.core.delivery import About, Accepted, Fault, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.callbacks import Callback
from otp_service.sms.http import (
    Headers,
    HttpReply,
    HttpRequest,
    VendorSettings,
    by_status,
    read_as,
    refused,
)


RECIPIENT = {25: "invalid recipient address", 26: "recipient opted out"}
ACCOUNT = {
    1: "invalid or missing API key",
    2: "account is not active",
    3: "integration is not active",
    7: "address of ours is not approved",
    20: "no credit",
    28: "sandbox: the recipient is not one of the test numbers",
    38: "channel is not active on the integration",
    39: "channel is not available on the integration",
    44: "sender is suspended",
    45: "sender is not the integration's",
    46: "demo access has expired",
    110: "USA: needs a two-way integration",
    111: "USA: needs STOP commands on the integration",
}
THROTTLED = {43: "rate limit"}

Status = Literal[
    "delivered", "pending", "temporary-failure", "permanent-failure", "technical-failure"
]
STATUSES: dict[str, Status] = {
    "DEVICE_ACK": "delivered",
    "READ": "delivered",
    "STOPPED_BY_USER": "permanent-failure",
    "RECIPIENT_DOES_NOT_EXIST": "permanent-failure",
    "DELIVERY_FAILURE": "technical-failure",
    "EXPIRED": "technical-failure",
    "INSUFFICIENT_ACCOUNT_BALANCE": "technical-failure",
    "ROUTING_ERROR": "technical-failure",
    "STOPPED_BY_ADMIN": "technical-failure",
    "VOLUME_LIMIT": "technical-failure",
    "VOLUME_LIMIT_DAILY": "technical-failure",
    "VOLUME_LIMIT_MONTHLY": "technical-failure",
}
"""By name, as the older interfaces number them otherwise; all others are on the way."""


class _Error(msgspec.Struct):
    code: int | str | None = None


class _Message(msgspec.Struct, rename="camel"):
    api_message_id: str | None = None
    accepted: bool = False
    error: _Error | str | None = None


class _Said(msgspec.Struct):
    messages: list[_Message] | None = None
    error: _Error | str | None = None


class _Update(msgspec.Struct, rename="camel"):
    message_id: str
    status: str
    client_message_id: str | None = None


class _Event(msgspec.Struct, rename="camel"):
    message_status_update: list[_Update] = []  # none in news of what somebody has sent to us


class _Callback(msgspec.Struct):
    event: _Event


class Clickatell(VendorSettings, frozen=True, kw_only=True, tag="clickatell"):
    """The settings of an integration with the One API, and its dialect.

    A sender is one of the integration's two-way numbers; names are set at Clickatell's.
    """

    key: Secret
    base_url: str = "https://platform.clickatell.com"

    def request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        one = {
            "channel": "sms",
            "to": message.to.e164.removeprefix("+"),
            "content": message.text,
            "clientMessageId": message.reference,
        }
        if sender := self.sender_for(message):
            one["from"] = sender.removeprefix("+")
        body = msgspec.json.encode({"messages": [one]})
        return HttpRequest("POST", f"{self.base_url.rstrip('/')}/v1/message", self._headers, body)

    def reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        said = read_as(_Said, reply.body)
        one = said.messages[0] if said.messages else None
        is_2xx = 200 <= reply.status < 300  # noqa: PLR2004
        if one and one.accepted and is_2xx:
            known = one.api_message_id
            return Accepted(known) if known else Refused(Fault.UNKNOWN, "no-message-id")
        code = _code(one.error if one and one.error else said.error)
        if code in RECIPIENT:
            return refused(Fault.RECIPIENT, reply, str(code))
        about = _about(code)
        if about or (one and is_2xx):
            return refused(Fault.PROVIDER, reply, _reason(code) or "not-accepted", about)
        return by_status(reply, _reason(code))

    def receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the news of each message: nobody has signed them."""
        said = msgspec.json.decode(callback.body, type=_Callback)
        return [_receipt(update) for update in said.event.message_status_update]

    @cached_property
    def _headers(self) -> Headers:
        # The key alone, without a scheme before it: that is how they want it.
        return (("content-type", "application/json"), ("authorization", self.key.reveal()))


def _code(error: _Error | str | None) -> int | str | None:
    code = error.code if isinstance(error, _Error) else None
    return int(code) if isinstance(code, str) and code.isdecimal() else code


def _reason(code: int | str | None) -> str | None:
    return None if code is None else str(code)


def _about(code: int | str | None) -> About | None:
    if code in THROTTLED:
        return About.THROTTLED
    return About.ACCOUNT if code in ACCOUNT else None


def _receipt(update: _Update) -> Receipt:
    status = STATUSES.get(update.status, "pending")
    failed = status.endswith("failure")
    return Receipt(
        status,
        reference=update.client_message_id or "",
        message_id=update.message_id,
        reason=update.status if failed else None,
    )
