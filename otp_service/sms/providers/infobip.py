"""Infobip SMS, API v3. It says 200 also to a message that it rejects: the status is inside.

    status of a message, by its id                    fault, and what it speaks of
    group 0 ACCEPTED, 1 PENDING, 3 DELIVERED          accepted
    10 DND, 14 blocklisted, 51 no destination,
    52 REJECTED_DESTINATION                           recipient
    87 SIGNALS_BLOCKED                                recipient: the number is being pumped, and
                                                      going around the block would defeat it
    11, 13 the sender, 12 credit, 17 package expired,
    18 a trial's numbers                              provider, the account
    20 REJECTED_FLOODING_FILTER                       provider, throttled
    any other id in group 2, 4 or 5 (6 network,
    8 prefix, 19 route, 21 system error, ...)         provider

Of a refused request the status speaks: 401 and 403 the account, 429 throttled.

    receipt                                           what became of the message
    group 0, 1                                        pending
    group 3                                           delivered
    status or permanent error that is the number's    permanent
    group 4 EXPIRED; an error of the handset that
    is not permanent                                  temporary
    anything else in group 2 or 5                     technical

`error.permanent` alone is not the number's: it says that the same message would fail again, also
for a monthly limit (4099) or a source address (368).

https://www.infobip.com/docs/developer-resources/api-fundamentals/error-code-reference
https://www.infobip.com/docs/api/channels/sms/sms-messaging/logs-and-status-reports
"""

from collections.abc import Sequence
from typing import Final

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
    classify_reply,
    decode_json,
    decode_json_or,
    derive_permanent_failures,
    reply_from_message_id,
    sanitize_reason,
)


FAULT_TABLE: Final[FaultTable] = {
    **dict.fromkeys(
        ("status-10", "status-14", "status-51", "status-52", "status-87"), RECIPIENT_FAULT
    ),
    **dict.fromkeys(
        ("status-11", "status-12", "status-13", "status-17", "status-18"), ACCOUNT_FAULT
    ),
    "status-20": THROTTLED_FAULT,
}
FAILURE_STATUSES: Final = derive_permanent_failures(FAULT_TABLE)
NUMBER_ERROR_IDS: Final = frozenset({1, 9, 11, 12, 629, 2052, 3041})
"""Unknown, absent for good, barred or illegal subscribers, and numbers that are none."""

ACCEPTED_GROUPS: Final = frozenset({0, 1, 3})
HANDSET_ERROR_GROUP: Final = 1
RECEIPT_STATUSES: Final[dict[int, ReceiptStatus]] = {
    0: "pending",
    1: "pending",
    2: "technical-failure",
    3: "delivered",
    4: "temporary-failure",
    5: "technical-failure",
}
"""By the group of the status."""


class _MessageStatus(msgspec.Struct, rename="camel"):
    """Of a message."""

    group_id: int
    id: int

    @property
    def code(self) -> str:
        """What is kept of it, told from the ids of errors."""
        return f"status-{self.id}"


class _ReceiptError(msgspec.Struct, rename="camel"):
    """Why a message failed."""

    group_id: int = 0
    id: int = 0
    permanent: bool = False


class _ReplyMessage(msgspec.Struct, rename="camel"):
    """What is read of one message in a reply."""

    status: _MessageStatus
    message_id: str | None = None


class _ReplyBody(msgspec.Struct, rename="camel"):
    """What is read of a reply."""

    messages: list[_ReplyMessage] = []
    error_code: str = ""


class _ReceiptMessage(msgspec.Struct, rename="camel"):
    """What is read of one message in a receipt."""

    message_id: str
    status: _MessageStatus
    error: _ReceiptError | None = None
    callback_data: str | None = None

    def to_receipt(self) -> Receipt:
        """Return the news of this message."""
        error = self.error or _ReceiptError()
        known = _resolve_status(self.status, error)
        code = f"error-{error.id}" if error.id else self.status.code
        reference = self.callback_data or ""
        return Receipt(known, reference, self.message_id, sanitize_reason(known, code))


class _ReceiptBody(msgspec.Struct):
    """What is read of a receipt: up to a hundred messages."""

    results: list[_ReceiptMessage]


class Infobip(VendorSettings, frozen=True, kw_only=True, tag="infobip"):
    """An account of Infobip. It does not sign receipts: only the address tells who brings them."""

    api_key: Secret
    base_url: str = "https://api.infobip.com"
    """Better the account's own, xxxxx.api.infobip.com: it is the nearest."""

    def build_request(self, message: Message) -> HttpRequest:
        """Return the request for one message."""
        webhooks: dict[str, object] = {"callbackData": message.reference}
        if message.callback_url:
            webhooks |= {
                "delivery": {"url": message.callback_url},
                "contentType": "application/json",
            }
        asked: dict[str, object] = {
            "destinations": [{"to": message.to.e164[1:]}],
            "content": {"text": message.text},
            "options": {
                "validityPeriod": {"amount": message.validity_seconds, "timeUnit": "SECONDS"}
            },
            "webhooks": webhooks,
        }
        sender = self.select_sender_id(message)
        if sender:
            asked["sender"] = sender
        url = self.build_url("/sms/3/messages")
        return build_json_request(url, f"App {self.api_key.reveal()}", {"messages": [asked]})

    def interpret_reply(self, reply: HttpReply) -> Accepted | Refused:
        """Return what the reply means: by the status of the message, if it holds one."""
        answer = decode_json_or(_ReplyBody(), reply.body)
        if not (reply.is_2xx and answer.messages):
            return classify_reply(reply, None, code=answer.error_code)
        sent = answer.messages[0]
        if sent.status.group_id in ACCEPTED_GROUPS:
            return reply_from_message_id(sent.message_id)
        return classify_refusal(FAULT_TABLE, reply, sent.status.code)

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return all that a callback brings."""
        return [result.to_receipt() for result in decode_json(callback.body, _ReceiptBody).results]


def _resolve_status(status: _MessageStatus, error: _ReceiptError) -> ReceiptStatus:
    said = RECEIPT_STATUSES[status.group_id]
    if not said.endswith("failure"):
        return said
    if status.code in FAILURE_STATUSES or (error.permanent and error.id in NUMBER_ERROR_IDS):
        return "permanent-failure"
    is_handsets = error.group_id == HANDSET_ERROR_GROUP and not error.permanent
    return "temporary-failure" if is_handsets else said
