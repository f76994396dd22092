"""Kannel, a self-hosted gateway: sendsms of smsbox 1.4.5.

A request is XML, the only form in which everything is in the body: smsbox refuses forms ("Invalid
content-type"), and with `text/plain` the number and our credentials would be headers. A reply is
prose: 202 with "0: " or "Sent." is accepted, and has no message id. A queued message (202, "3: ")
is sent once an SMSC connects, unless its validity has ended by then.

smsbox logs every text at log-level 0 and 1: give smsbox and bearerbox `log-level = 2`.

Messages from phones come from a group of smsbox, with one of these two lines:

    group = sms-service
    keyword = default
    catch-all = true
    max-messages = 0
    get-url = "https://otp.example.com/v1/inbound/kannel?token=SECRET&from=%p&to=%P&text=%b&id=%I&charset=%C"

    post-url = "https://otp.example.com/v1/inbound/kannel?token=SECRET"
    send-sender = true

`max-messages = 0` because smsbox sends the answer to the phone, and a text of its own for an empty one. `%b` is
the text as it is; `%a`, its words, loses octets of UCS-2 (observed with 1.4.5). A text in UCS-2 is in UTF-16BE,
as `%C` and the content type say, and any other in UTF-8. Binary messages have no charset, and no text.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from html import escape
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Reply
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import FaultTable, classify_prose, match_prefix
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    convert_callback,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.vendor_dialect import ReceiptStatus, build_receipt


FAULT_TABLE: Final[FaultTable] = {
    "number-denied": "recipient",  # 400: black-list or white-list of the gateway
    "authorization-failed": "account",  # 403: user or IP address
    "sender-missing": "account",  # 400: neither ours nor a default
    "queued": "throttled",  # 202: no SMSC is connected
    "temporal-failure": "throttled",  # 503: a queue is full
    "not-routable": "provider",  # 403: no SMSC takes this number
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "1": "delivered",
    "2": "technical-failure",  # not delivered: it may be the number's fault or not
    "4": "pending",  # buffered by the SMSC
    "8": "pending",  # accepted by the SMSC
    "16": "technical-failure",  # refused by the SMSC
    "32": "pending",  # an intermediate notification
}
ACCEPTED_PREFIXES: Final = {"0: ": "accepted", "Sent.": "accepted"}
"""The second one is of a smsbox with `immediate-sendsms-reply`."""
REFUSED_PREFIXES: Final = {
    "3: Queued": "queued",
    "Temporal failure": "temporal-failure",
    "Number(s) has/have been denied": "number-denied",
    "Authorization failed": "authorization-failed",
    "Sender missing": "sender-missing",
    "Not routable": "not-routable",
}
DLR_MASK: Final = sum(map(int, RECEIPT_STATUSES))
GSM_CODING: Final = 0
UCS2_CODING: Final = 2
RECEIPT_PARAMETER: Final = "type"
"""Of the address of reports, which we build; the address of messages has none of this name."""
INBOUND_HEADER_PREFIX: Final = "x-kannel-"
"""Of the headers of a message that is posted; everything else comes by GET."""

INBOUND_CHARSETS: Final = {
    "utf-8": "utf-8",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "latin-1",
    "windows-1252": "cp1252",
    "us-ascii": "ascii",
}
"""Kannel's names of charsets, and Python's. Any other, such as 8-BIT, is not a text."""

_CHARSET_PATTERN: Final = re.compile(r'text/plain; *charset="?([A-Za-z0-9-]{1,20})"?')


class _ReceiptBody(msgspec.Struct):
    type: str = ""
    fid: str = ""


class Kannel(VendorSettings, frozen=True, kw_only=True, tag="kannel"):
    """A user of a smsbox."""

    base_url: str = "http://127.0.0.1:13013/cgi-bin/sendsms"
    """With the path, which is smsbox's `sendsms-url`."""
    username: str
    password: Secret

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """200 and an empty text: the answer to a message is sent to its phone as an SMS.

        smsbox 1.4.5 sends a notice of its own for a 204, and for an empty text without
        `max-messages = 0`.
        """
        return 200, b""

    def build_request(self, message: Message) -> HttpRequest:
        coding = GSM_CODING if count_septets(message.text) is not None else UCS2_CODING
        sender, minutes = self.select_sender_id(message), max(1, message.validity_seconds // 60)
        parts = [
            _wrap_tag("da", _wrap_tag("number", message.to.e164)),
            _wrap_tag("oa", _wrap_tag("number", escape(sender))) if sender else "",
            _wrap_tag("ud", _encode_text(message.text)),
            _wrap_tag("dcs", _wrap_tag("coding", str(coding))),
            _wrap_tag("vp", _wrap_tag("delay", str(minutes))),
            _build_status_request(message.callback_url) if message.callback_url is not None else "",
            self._credentials,
        ]
        document = _wrap_tag("message", _wrap_tag("submit", "".join(parts)))
        body = f'<?xml version="1.0" encoding="UTF-8"?>{document}'
        return HttpRequest("POST", self.base_url, (("content-type", "text/xml"),), body.encode())

    def interpret_reply(self, reply: HttpReply) -> Reply:
        if reply.status == 202 and match_prefix(reply.body, ACCEPTED_PREFIXES):  # noqa: PLR2004
            return Accepted()
        return classify_prose(FAULT_TABLE, reply, REFUSED_PREFIXES)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt of a report, or the message of a person; Kannel signs neither."""
        if RECEIPT_PARAMETER not in callback.query:
            return [_parse_message(callback)]
        report = convert_callback(callback.query, _ReceiptBody)
        status = RECEIPT_STATUSES.get(report.type)
        return [build_receipt(status, f"dlr-{report.type}", message_id=report.fid)]

    @cached_property
    def _credentials(self) -> str:
        user = _wrap_tag("username", escape(self.username))
        return _wrap_tag("from", user + _wrap_tag("password", escape(self.password.reveal())))


def _parse_message(callback: Callback) -> CallbackPart:
    """Return the message of a `post-url`, or of a `get-url`.

    One without a sender is skipped and not refused: smsbox may send the phone a text for a refusal.
    """
    headers = callback.headers
    if any(name.startswith(INBOUND_HEADER_PREFIX) for name in headers):
        charset = _CHARSET_PATTERN.fullmatch(headers.get("content-type", ""))
        text = _decode_text(callback.body, charset[1] if charset else "")
        names = {"from": headers.get("x-kannel-from", ""), "to": headers.get("x-kannel-to", "")}
        return _build_message(names, text)
    fields = callback.query_fields
    if "text" not in fields or "to" not in fields:
        return SkippedEvent.OTHER
    return _build_message(
        fields, _decode_text(callback.get_octets("text"), fields.get("charset", "utf-8"))
    )


def _build_message(fields: Mapping[str, str], text: str) -> CallbackPart:
    if not fields.get("from"):
        return SkippedEvent.UNREADABLE
    return InboundMessage(fields["from"], text, fields.get("to", ""), fields.get("id", ""))


def _decode_text(octets: bytes, charset: str) -> str:
    """Return the text; empty if it is binary, or not in its charset."""
    name = INBOUND_CHARSETS.get(charset.lower())
    try:
        return octets.decode(name) if name else ""
    except UnicodeDecodeError:
        return ""


def _wrap_tag(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def _encode_text(text: str) -> str:
    """Return the text percent-encoded.

    Kannel decodes the text like a query, and some versions read one of digits as hexadecimal.
    """
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _build_status_request(callback: str) -> str:
    """Return the address of reports, into which Kannel puts their type (%d) and SMSC id (%F).

    The SMSC's answer (%A) is left out: it may contain the text of the message.
    """
    url = callback.replace("%", "%%") + ("&" if "?" in callback else "?") + "type=%d&fid=%F"
    mask = _wrap_tag("dlr-mask", str(DLR_MASK))
    return _wrap_tag("statusrequest", mask + _wrap_tag("dlr-url", escape(url)))
