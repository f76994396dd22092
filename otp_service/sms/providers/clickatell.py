"""Clickatell: the One API of its platform, channel sms.

The HTTP status means little: it is 202, or 207 if one message of several was refused, and 400 for a
rate limit. Each message has `accepted`, which decides. The codes are the One API's own; those of the
older interfaces (105, 114, 301) mean something else. There is no field for a validity, so a late
message cannot be prevented.

Callbacks are not signed, and messages from phones need the `inbound_token` in their address or the password
that is set up with it. A callback of another channel, such as WhatsApp, is another event.

https://docs.clickatell.com/channels/one-api/one-api-reference/
https://docs.clickatell.com/channels/one-api/one-api-errors-table/
https://docs.clickatell.com/channels/one-api/one-api-message-status-table/
https://help.clickatell.com (One API client callbacks)
"""

from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import FaultTable, classify_refusal
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import Callback, CallbackPart, SkippedEvent, parse_batch
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
)


FAULT_TABLE: Final[FaultTable] = {
    "25": "recipient",  # invalid recipient address
    "26": "opted-out",  # recipient opted out
    "1": "account",  # invalid or missing API key
    "2": "account",  # account is not active
    "3": "account",  # integration is not active
    "7": "account",  # our IP address is not approved
    "20": "account",  # no credit
    "28": "account",  # sandbox: the recipient is not one of the test numbers
    "38": "account",  # channel is not active on the integration
    "39": "account",  # channel is not available on the integration
    "44": "account",  # sender is suspended
    "45": "account",  # sender is not the integration's
    "46": "account",  # demo access has expired
    "110": "account",  # USA: needs a two-way integration
    "111": "account",  # USA: needs STOP commands on the integration
    "43": "throttled",  # rate limit
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "DEVICE_ACK": "delivered",
    "READ": "delivered",
    "STOPPED_BY_USER": "opted-out",
    "RECIPIENT_DOES_NOT_EXIST": "permanent-failure",
    "DELIVERY_FAILURE": "technical-failure",
    "EXPIRED": "temporary-failure",
    "INSUFFICIENT_ACCOUNT_BALANCE": "technical-failure",
    "ROUTING_ERROR": "technical-failure",
    "STOPPED_BY_ADMIN": "technical-failure",
    "VOLUME_LIMIT": "technical-failure",
    "VOLUME_LIMIT_DAILY": "technical-failure",
    "VOLUME_LIMIT_MONTHLY": "technical-failure",
}
"""By name, because the older interfaces number them differently; any other is pending."""

SMS_CHANNEL: Final = "sms"


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


class _InboundBody(HiddenFields, frozen=True, rename="camel"):
    sender: str = msgspec.field(name="from")
    content: str
    to: str = ""
    message_id: str = ""
    channel: str = SMS_CHANNEL


class _CallbackEvent(HiddenFields, frozen=True, rename="camel"):
    message_status_update: tuple[msgspec.Raw, ...] = ()
    """Each a _ReceiptMessage."""
    mo_text: tuple[msgspec.Raw, ...] = ()
    """Each an _InboundBody."""


class _CallbackBody(HiddenFields, frozen=True):
    event: _CallbackEvent = _CallbackEvent()


class Clickatell(VendorSettings, frozen=True, kw_only=True, tag="clickatell"):
    """An integration with the One API.

    A sender is one of the integration's two-way numbers; names are set at Clickatell's.
    """

    key: Secret
    base_url: str = "https://platform.clickatell.com"

    @property
    def has_sender_pool(self) -> bool:
        """Clickatell selects one of the integration's numbers."""
        return True

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "channel": "sms",
            "to": message.to.e164.removeprefix("+"),
            "content": message.text,
            "clientMessageId": message.reference,
        }
        if sender := self.select_sender_id(message):
            fields["from"] = sender.removeprefix("+")
        # The header is the key alone, without a scheme before it.
        url = self.build_url("/v1/message")
        return build_json_request(url, self.key.reveal(), {"messages": [fields]})

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply for our one message."""
        body = reply.decode_or(_ReplyBody())
        message = body.messages[0] if body.messages else None
        if message and message.accepted and reply.is_2xx:
            return Accepted(message.api_message_id or None)  # `accepted` alone says so
        code = _extract_code(message.error if message and message.error else body.error)
        if not code and message and reply.is_2xx:
            code = "not-accepted"
        return classify_refusal(FAULT_TABLE, reply, code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipts and the messages; Clickatell does not sign them."""
        event = callback.decode_json(_CallbackBody).event
        parts = [
            *parse_batch(event.message_status_update, _ReceiptMessage, _receipt_from_update),
            *parse_batch(event.mo_text, _InboundBody, _message_from_body),
        ]
        return parts or [SkippedEvent.OTHER]


def _receipt_from_update(update: _ReceiptMessage) -> CallbackPart:
    return build_receipt(
        RECEIPT_STATUSES.get(update.status, "pending"),
        update.status,
        reference=update.client_message_id,
        message_id=update.message_id,
    )


def _message_from_body(message: _InboundBody) -> CallbackPart:
    if message.channel.lower() != SMS_CHANNEL:
        return SkippedEvent.OTHER
    return InboundMessage(message.sender, message.content, message.to, message.message_id)


def _extract_code(error: _ReplyError | str | None) -> str | None:
    code = error.code if isinstance(error, _ReplyError) else None
    return None if code is None else str(code)
