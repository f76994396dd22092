"""Plivo Messages, API v1.

A refusal has prose and no code, so its status decides, and it is never the recipient's fault. 401,
402 and 403 (also a country that is not enabled) are about the account.

Plivo takes no reference of ours: it is in the address for receipts. The signature has no time, so
an old one cannot be recognized. The token in the address is of one message only, and a receipt
never moves a delivery back.

Each version of the signature comes twice: made with the token of the (sub)account, and, as `-Ma-`,
with that of the main account. Plivo documents V2 for messages and sends V3, of which only `-Ma-V3`
fits a message. V3 covers the fields, V2 the address alone: a receipt with V2 alone counts as
unsigned, so that the token in its address decides. The same holds for a message from a phone. It is
answered with an empty body: XML in it would be sent to the phone.

https://www.plivo.com/docs/messaging/api/message/send-a-message
https://www.plivo.com/docs/messaging/troubleshooting/error-codes
https://www.plivo.com/docs/messaging/concepts/signature-validation
https://www.plivo.com/docs/messaging/api/message/handling-incoming
"""

import re
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec

from otp_service.core.delivery import Message, Reply
from otp_service.core.inbound import InboundMessage, Keyword
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import NO_FAULTS, FaultTable, classify_reply
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
    convert_callback,
    parse_form,
)
from otp_service.sms.provider_settings import BasicAuth, VendorSettings
from otp_service.sms.signatures import (
    compute_signature,
    find_ambiguous_token_errors,
    has_one_sender,
    require_any_equal,
    require_one_reading,
)
from otp_service.sms.vendor_dialect import (
    ReceiptStatus,
    build_json_request,
    build_receipt,
    choose_message_text,
)


FAULT_TABLE: Final[FaultTable] = NO_FAULTS
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "queued": "pending",
    "sent": "pending",
    "delivered": "delivered",
    "read": "delivered",
    "undelivered": "technical-failure",
    "failed": "technical-failure",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "50": "permanent-failure",  # invalid destination
    "70": "permanent-failure",  # permanently unavailable
    "200": "opted-out",
    "80": "temporary-failure",  # temporarily unavailable
    "420": "temporary-failure",  # expired
}
"""All others are technical: 30 spam, 40 source, 90 no route, 900 credit, 910 account, 1000 unknown."""

READ_FIELD_PATTERNS: Final = {
    "MessageUUID": re.compile(r"[A-Za-z0-9-]*"),
    "Status": re.compile(r"[a-z]*"),
    "ErrorCode": re.compile(r"[0-9]*"),
}
LOOKALIKE_FIELDS: Final = frozenset({"ParentMessageUUID", "TendlcRegistrationStatus"})
MESSAGE_TEXT_FIELDS: Final = {"sms": "Text", "mms": "Body"}
"""By the type of a message from a phone; WhatsApp's are not of an SMS."""
MESSAGE_INTENTS: Final = {"optout": Keyword.STOP, "optin": Keyword.START, "help": Keyword.HELP}
V3_HEADERS: Final = ("x-plivo-signature-v3", "x-plivo-signature-ma-v3")
V3_NONCE_HEADER: Final = "x-plivo-signature-v3-nonce"
V2_HEADERS: Final = ("x-plivo-signature-v2", "x-plivo-signature-ma-v2")
V2_NONCE_HEADER: Final = "x-plivo-signature-v2-nonce"


class _ReplyBody(msgspec.Struct):
    message_uuid: list[str] = []


class _ReceiptBody(msgspec.Struct):
    message_uuid: str = msgspec.field(name="MessageUUID")
    error_code: str = msgspec.field(name="ErrorCode", default="")


class Plivo(VendorSettings, frozen=True, kw_only=True, tag="plivo"):
    """An account of Plivo; its token authenticates us and also signs receipts."""

    requires_sender: ClassVar[bool] = True

    auth_id: str
    auth_token: Secret
    powerpack_uuid: str = ""
    """A pool of numbers, for destinations without an allowed sender."""
    base_url: str = "https://api.plivo.com"

    @property
    def has_sender_pool(self) -> bool:
        """A Powerpack has a pool of numbers."""
        return bool(self.powerpack_uuid)

    def requires_signature(self, callback: Callback) -> bool:  # noqa: ARG002  # see CallbackDialect
        """Plivo signs everything with the token of the account."""
        return True

    def build_request(self, message: Message) -> HttpRequest:
        sender = self.select_sender_id(message)
        fields = {
            "src": sender,
            "powerpack_uuid": "" if sender else self.powerpack_uuid,
            "dst": message.to.e164,
            "text": message.text,
            "type": "sms",
            "url": message.callback_url,
            "method": "POST" if message.callback_url else None,
            "log": "false",  # their logs then keep neither the text nor the number
            "message_expiry": message.validity_seconds,
        }
        account = quote(self.auth_id, safe="")
        url = self.build_url(f"/v1/Account/{account}/Message/")
        return build_json_request(url, BasicAuth(self.auth_id, self.auth_token).header, fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        ids = reply.decode_or(_ReplyBody()).message_uuid
        return classify_reply(reply, ids[0] if ids else None, FAULT_TABLE)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt or the message of a callback, whose signature is checked first."""
        is_signed = verify_signature(callback, self.auth_token.reveal())
        if "Status" in callback.fields:
            return [_parse_receipt(callback, is_signed=is_signed)]
        return [_parse_message(callback, is_signed=is_signed)]

    def find_errors(self) -> list[tuple[str, str]]:
        return [*super().find_errors(), *find_ambiguous_token_errors(self.inbound_tokens)]


def _parse_receipt(callback: Callback, *, is_signed: bool) -> CallbackPart:
    status = RECEIPT_STATUSES.get(callback.fields["Status"])
    if status is None:
        return SkippedEvent.OTHER
    if is_signed:
        require_one_reading(_list_fields(callback), READ_FIELD_PATTERNS, LOOKALIKE_FIELDS)
    form = convert_callback(callback.fields, _ReceiptBody)
    return build_receipt(
        status,
        form.error_code,
        failure_statuses=FAILURE_STATUSES,
        message_id=form.message_uuid,
        is_signed=is_signed,
    )


def _parse_message(callback: Callback, *, is_signed: bool) -> CallbackPart:
    """Return the message; its text is Plivo's keyword if `MessageIntent` names one.

    Plivo joins long messages. Where the sender is not certain, the message has no keyword.
    """
    fields = callback.fields
    text_field = MESSAGE_TEXT_FIELDS.get(fields.get("Type", "sms" if "Text" in fields else ""))
    if text_field is None:
        return SkippedEvent.OTHER
    sender = fields.get("From", "")
    if not sender:
        raise UnreadableCallback
    keyword = MESSAGE_INTENTS.get(fields.get("MessageIntent", "").lower())
    text = choose_message_text(fields.get(text_field), keyword)
    if is_signed and not has_one_sender(_list_fields(callback), _build_signed_text(callback)):
        text = ""
    return InboundMessage(
        sender, text, fields.get("To", ""), fields.get("MessageUUID", ""), is_signed
    )


def verify_signature(callback: Callback, token: str) -> bool:
    """Raise CallbackSignatureError unless Plivo signed it; return whether the fields are signed too.

    V2 counts only without a header of V3: otherwise a caller could choose the weaker one.
    """
    if has_v3 := any(name in callback.headers for name in V3_HEADERS):
        names, text = V3_HEADERS, _build_signed_text(callback)
        signed = f"{text}.{callback.headers.get(V3_NONCE_HEADER, '')}"
    else:
        names, address = V2_HEADERS, callback.url.partition("?")[0]
        signed = f"{address}{callback.headers.get(V2_NONCE_HEADER, '')}"
    # There are several signatures in a header while a token is being replaced.
    given = ",".join(callback.headers.get(name, "") for name in names).replace(" ", "").split(",")
    require_any_equal(compute_signature(token.encode(), signed.encode()), given)
    return has_v3


def _build_signed_text(callback: Callback) -> str:
    """Return what V3 signs: the address, its query sorted, and the form of a POST sorted."""
    address, _, query = callback.url.partition("?")
    parameters = "&".join(f"{name}={value}" for name, value in _sort_fields(query))
    content = _get_form_text(callback)
    form = "".join(f"{name}{value}" for name, value in _sort_fields(content))
    if not form:
        return f"{address}?{parameters}" if parameters else address
    return f"{address}?{parameters}.{form}" if parameters else f"{address}?{form}"


def _get_form_text(callback: Callback) -> str:
    return "" if callback.method == "GET" else callback.text


def _list_fields(callback: Callback) -> list[tuple[str, str]]:
    query = callback.url.partition("?")[2]
    return _sort_fields(query) + _sort_fields(_get_form_text(callback))


def _sort_fields(fields: str) -> list[tuple[str, str]]:
    return sorted(parse_form(fields))
