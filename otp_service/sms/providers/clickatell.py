"""Clickatell: the One API of its platform, channel sms.

https://docs.clickatell.com/channels/one-api/one-api-reference/

What came back for our one message, and whose fault it is:

    accepted: true and an apiMessageId         accepted
    accepted: true without one                 unknown
    a code of RECIPIENT_FAULT                        recipient: stop
    ACCOUNT_FAULT, THROTTLED_FAULT, accepted: false, and
    any other code with a 4xx                  provider: the next one
    any other 5xx, or 2xx without a message    unknown

The status says little: 202, or 207 where one message of several was refused, and a rate limit is a
400. The codes are the One API's own; those of the older interfaces (105, 114, 301) mean nothing
here. It has no field for a validity, so a late message cannot be prevented.

https://docs.clickatell.com/channels/one-api/one-api-errors-table/
https://docs.clickatell.com/channels/one-api/one-api-message-status-table/
"""

from collections.abc import Sequence

import msgspec

from otp_service.core.delivery import Accepted, Message, Receipt, Refused
from otp_service.core.secret import Secret
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.receipt_callbacks import Callback
from otp_service.sms.vendor_dialect import (
    ACCOUNT_FAULT,
    RECIPIENT_FAULT,
    THROTTLED_FAULT,
    FaultTable,
    ReceiptStatus,
    build_json_request,
    classify_refusal,
    decode_json,
    decode_json_or,
    reply_from_message_id,
    sanitize_reason,
)


FAULT_TABLE: FaultTable = {
    "25": RECIPIENT_FAULT,  # invalid recipient address
    "26": RECIPIENT_FAULT,  # recipient opted out
    "1": ACCOUNT_FAULT,  # invalid or missing API key
    "2": ACCOUNT_FAULT,  # account is not active
    "3": ACCOUNT_FAULT,  # integration is not active
    "7": ACCOUNT_FAULT,  # address of ours is not approved
    "20": ACCOUNT_FAULT,  # no credit
    "28": ACCOUNT_FAULT,  # sandbox: the recipient is not one of the test numbers
    "38": ACCOUNT_FAULT,  # channel is not active on the integration
    "39": ACCOUNT_FAULT,  # channel is not available on the integration
    "44": ACCOUNT_FAULT,  # sender is suspended
    "45": ACCOUNT_FAULT,  # sender is not the integration's
    "46": ACCOUNT_FAULT,  # demo access has expired
    "110": ACCOUNT_FAULT,  # USA: needs a two-way integration
    "111": ACCOUNT_FAULT,  # USA: needs STOP commands on the integration
    "43": THROTTLED_FAULT,  # rate limit
}
RECEIPT_STATUSES: dict[str, ReceiptStatus] = {
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


class _ReplyError(msgspec.Struct):
    code: int | str | None = None


class _ReplyMessage(msgspec.Struct, rename="camel"):
    api_message_id: str | None = None
    accepted: bool = False
    error: _ReplyError | str | None = None


class _ReplyBody(msgspec.Struct):
    messages: list[_ReplyMessage] | None = None
    error: _ReplyError | str | None = None


class _ReceiptMessage(msgspec.Struct, rename="camel"):
    message_id: str
    status: str
    client_message_id: str | None = None


class _ReceiptEvent(msgspec.Struct, rename="camel"):
    message_status_update: list[
        _ReceiptMessage
    ] = []  # none in news of what somebody has sent to us


class _ReceiptBody(msgspec.Struct):
    event: _ReceiptEvent


class Clickatell(VendorSettings, frozen=True, kw_only=True, tag="clickatell"):
    """The settings of an integration with the One API, and its dialect.

    A sender is one of the integration's two-way numbers; names are set at Clickatell's.
    """

    key: Secret
    base_url: str = "https://platform.clickatell.com"

    def build_request(self, message: Message) -> HttpRequest:
        """Return the POST."""
        one = {
            "channel": "sms",
            "to": message.to.e164.removeprefix("+"),
            "content": message.text,
            "clientMessageId": message.reference,
        }
        if sender := self.select_sender_id(message):
            one["from"] = sender.removeprefix("+")
        # The key alone, without a scheme before it: that is how they want it.
        return build_json_request(
            self.build_url("/v1/message"), self.key.reveal(), {"messages": [one]}
        )

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means, by the table on top."""
        said = decode_json_or(_ReplyBody(), reply.body)
        one = said.messages[0] if said.messages else None
        if one and one.accepted and reply.is_2xx:
            return reply_from_message_id(one.api_message_id)
        code = _extract_code(one.error if one and one.error else said.error)
        return classify_refusal(
            FAULT_TABLE, reply, code or ("not-accepted" if one and reply.is_2xx else None)
        )

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the news of each message: nobody has signed them."""
        said = decode_json(callback.body, _ReceiptBody)
        return [_build_receipt(update) for update in said.event.message_status_update]


def _extract_code(error: _ReplyError | str | None) -> str | None:
    code = error.code if isinstance(error, _ReplyError) else None
    return None if code is None else str(code)


def _build_receipt(update: _ReceiptMessage) -> Receipt:
    status = RECEIPT_STATUSES.get(update.status, "pending")
    return Receipt(
        status,
        reference=update.client_message_id or "",
        message_id=update.message_id,
        reason=sanitize_reason(status, update.status),
    )
