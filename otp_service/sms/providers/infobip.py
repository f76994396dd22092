"""Infobip SMS, API v3.

The reply is 200 even for a message that Infobip rejects: the message's status, by its group and id,
decides. Of a refused request the HTTP status decides. An id in group 2, 4 or 5 that is not in the
table (6 network, 8 prefix, 19 route, 21 system error, ...) is the provider's fault.

A receipt is permanent if its status or its permanent error is the number's, if an opt-out or a fraud
block is the error, and temporary for group 4 EXPIRED and for a handset error that is not permanent.
`error.permanent` alone is not the number's: it means that the same message would fail again, also for
a monthly limit (4099) or a source address (368).

Status 2 DELIVERED_TO_OPERATOR is in group 3, but only says that the operator has the message.

https://www.infobip.com/docs/developer-resources/api-fundamentals/error-code-reference
https://www.infobip.com/docs/api/channels/sms/sms-messaging/logs-and-status-reports

Messages from phones have the envelope of receipts, and no status. Their renderer is MO_JSON_2.
https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages
"""

from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Reply
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms import fault_table
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
    decode_callback,
    parse_batch,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import (
    HiddenFields,
    ReceiptStatus,
    build_json_request,
    build_receipt,
)


FAULT_TABLE: Final[fault_table.FaultTable] = {
    "status-10": "blocked",  # DND
    "status-14": "opted-out",  # on the account's blocklist, which collects opt-outs
    "status-52": "recipient",  # REJECTED_DESTINATION
    "status-87": "blocked",  # SIGNALS_BLOCKED: the number is pumped; do not evade the block
    "status-11": "account",  # the sender
    "status-13": "account",  # the sender
    "status-12": "account",  # credit
    "status-17": "account",  # package expired
    "status-18": "account",  # not a number of the trial
    "status-20": "throttled",  # REJECTED_FLOODING_FILTER
}
RECEIPT_STATUSES: Final[dict[int, ReceiptStatus]] = {
    0: "pending",  # ACCEPTED
    1: "pending",  # PENDING
    2: "technical-failure",
    3: "delivered",
    4: "temporary-failure",  # EXPIRED
    5: "technical-failure",
}
"""By the group of the status."""
FAILURE_STATUSES: Final = fault_table.derive_permanent_failures(FAULT_TABLE)

NUMBER_ERROR_IDS: Final = frozenset({1, 9, 11, 12, 629, 2052, 3041})
"""Unknown, absent for good, barred or illegal subscribers, and invalid numbers."""
OPT_OUT_ERROR_IDS: Final = frozenset({560, 573, 603})
"""Of a short code, by or for the person; by STOP."""
BLOCK_ERROR_IDS: Final = frozenset({352, 566, 568, 569, 2050})
"""Other blocks, at the carrier and against fraud, permanent or not: another provider would evade them."""
DELIVERED_TO_OPERATOR_ID: Final = 2
ACCEPTED_GROUPS: Final = frozenset({0, 1, 3})
HANDSET_ERROR_GROUP: Final = 1


class _MessageStatus(msgspec.Struct, rename="camel"):
    group_id: int
    id: int

    @property
    def code(self) -> str:
        """The code that is stored, distinct from the ids of errors."""
        return f"status-{self.id}"


class _ReplyMessage(msgspec.Struct, rename="camel"):
    status: _MessageStatus
    message_id: str | None = None


class _ReplyBody(msgspec.Struct, rename="camel"):
    messages: list[_ReplyMessage] = []
    error_code: str = ""


class _ReceiptError(msgspec.Struct, rename="camel"):
    group_id: int = 0
    id: int = 0
    permanent: bool = False


class _ReceiptMessage(msgspec.Struct, rename="camel"):
    message_id: str
    status: _MessageStatus | None = None
    """None for a message from a phone."""
    error: _ReceiptError | None = None
    callback_data: str | None = None


class _InboundMessage(HiddenFields, rename="camel", frozen=True):
    message_id: str
    sender: str | None = msgspec.field(name="from", default=None)
    to: str | None = None
    text: str | None = None
    received_at: str | None = None

    @property
    def is_message(self) -> bool:
        """Whether it is a message, and no report of another kind."""
        return self.text is not None or self.received_at is not None


class _CallbackBody(HiddenFields, frozen=True):
    results: tuple[msgspec.Raw, ...] = ()
    """At most a hundred _ReceiptMessage, or any number of _InboundMessage."""


class Infobip(VendorSettings, frozen=True, kw_only=True, tag="infobip"):
    """An account of Infobip. It does not sign receipts: only the token in the address proves them."""

    api_key: Secret
    base_url: str = "https://api.infobip.com"
    """The account's own, xxxxx.api.infobip.com, is nearer and better."""

    def build_request(self, message: Message) -> HttpRequest:
        webhooks: dict[str, object] = {"callbackData": message.reference}
        if message.callback_url:
            webhooks |= {
                "delivery": {"url": message.callback_url},
                "contentType": "application/json",
            }
        validity = {"amount": message.validity_seconds, "timeUnit": "SECONDS"}
        fields: dict[str, object] = {
            "destinations": [{"to": message.to.e164[1:]}],
            "content": {"text": message.text},
            "options": {"validityPeriod": validity},
            "webhooks": webhooks,
        }
        if sender := self.select_sender_id(message):
            fields["sender"] = sender
        url = self.build_url("/sms/3/messages")
        return build_json_request(url, f"App {self.api_key.reveal()}", {"messages": [fields]})

    def interpret_reply(self, reply: HttpReply) -> Reply:
        """Return the meaning of the reply: by the status of the message where there is one."""
        body = reply.decode_or(_ReplyBody())
        if not (reply.is_2xx and body.messages):
            return fault_table.classify_reply(reply, None, code=body.error_code)
        message = body.messages[0]
        if message.status.group_id in ACCEPTED_GROUPS:
            return Accepted(message.message_id or None)  # the group alone says so
        return fault_table.classify_refusal(FAULT_TABLE, reply, message.status.code)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipts and the messages of a callback."""
        results = callback.decode_json(_CallbackBody).results
        if not results:
            return [SkippedEvent.OTHER]
        return parse_batch(results, msgspec.Raw, _parse_result)


def _parse_result(result: msgspec.Raw) -> CallbackPart:
    report = decode_callback(result, _ReceiptMessage)
    if report.status is not None:
        return _receipt_from_report(report, report.status)
    message = decode_callback(result, _InboundMessage)
    if not message.is_message:
        return SkippedEvent.OTHER
    if not message.sender:
        raise UnreadableCallback
    text, receiver = message.text or "", message.to or ""
    return InboundMessage(message.sender, text, receiver, message.message_id)


def _receipt_from_report(result: _ReceiptMessage, status: _MessageStatus) -> CallbackPart:
    error = result.error or _ReceiptError()
    return build_receipt(
        _resolve_status(status, error),
        f"error-{error.id}" if error.id else status.code,
        reference=result.callback_data,
        message_id=result.message_id,
    )


def _resolve_status(status: _MessageStatus, error: _ReceiptError) -> ReceiptStatus | None:
    known = RECEIPT_STATUSES.get(status.group_id)
    if known == "delivered" and status.id == DELIVERED_TO_OPERATOR_ID:
        return "pending"
    if known is None or not known.endswith("failure"):
        return known
    if error.id in OPT_OUT_ERROR_IDS:
        return "opted-out"
    is_number_error = error.permanent and error.id in NUMBER_ERROR_IDS
    if is_number_error or error.id in BLOCK_ERROR_IDS:
        return "permanent-failure"
    if status.code in FAILURE_STATUSES:
        return FAILURE_STATUSES[status.code]
    is_handset_error = error.group_id == HANDSET_ERROR_GROUP and not error.permanent
    return "temporary-failure" if is_handset_error else known
