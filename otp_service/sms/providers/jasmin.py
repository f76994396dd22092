"""Jasmin, a self-hosted gateway: /send of its HTTP API (docs.jasminsms.com/en/latest/apis/http).

A reply is prose: 200 with `Success "…"` is accepted, and `Error "…"` is a refusal. No reply is the
recipient's fault: Jasmin queues messages, so an SMSC's refusal of the number comes later, as
ESME_RINVDSTADR in a receipt.

Messages from phones come from an HTTP client connector (`httpccm`) with a route (`morouter`), and a long one is
joined. `content` is what the SMSC has sent, in no charset, so `binary` is read, by `coding`. That is the
number of its documentation, or the octet with this number, as its code writes it.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from otp_service.core.delivery import Accepted, Message, Reply
from otp_service.core.gsm_alphabet import count_septets
from otp_service.core.inbound import InboundMessage
from otp_service.core.secret import Secret
from otp_service.sms.fault_table import FaultTable, classify_prose
from otp_service.sms.http_provider import HttpReply, HttpRequest
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackPart,
    SkippedEvent,
    convert_callback,
)
from otp_service.sms.provider_settings import VendorSettings
from otp_service.sms.reply_decoder import decode_text
from otp_service.sms.smpp.delivery_receipts import normalize_state
from otp_service.sms.smpp.text_codec import DEFAULT_ALPHABET_CODING
from otp_service.sms.smpp.text_codec import decode_text as decode_octets
from otp_service.sms.vendor_dialect import ReceiptStatus, build_form_request, build_receipt


FAULT_TABLE: Final[FaultTable] = {
    "authentication-failure": "account",  # 403: user or password
    "authorization-failed": "account",  # 400, 403: the user may not do this
    "cannot-charge": "account",  # 403: no credit
    "throughput-exceeded": "throttled",  # 403: of the user
    "value-filter": "provider",  # 400: the user's filter of numbers, senders or texts
    "no-route": "provider",  # 412: no route matches
    "no-connector": "provider",  # 412: no connector is bound
    "cannot-send": "provider",  # 500: its queue refuses it, so it was certainly not sent
}
RECEIPT_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "ESME_ROK": "pending",  # accepted by the SMSC
    "ACCEPTD": "pending",
    "ENROUTE": "pending",
    "SCHEDULED": "pending",
    "UNKNOWN": "pending",
    "DELIVRD": "delivered",
}
FAILURE_STATUSES: Final[dict[str, ReceiptStatus]] = {
    "ESME_RINVDSTADR": "permanent-failure",  # invalid destination
    "EXPIRED": "temporary-failure",  # not reached in time
}
REFUSED_PREFIXES: Final = {
    'Error "Authentication failure': "authentication-failure",
    'Error "Authorization failed': "authorization-failed",
    'Error "Cannot charge': "cannot-charge",
    'Error "User throughput exceeded': "throughput-exceeded",
    'Error "Value filter failed': "value-filter",
    'Error "No route found': "no-route",
    'Error "Failover route has no': "no-connector",
    'Error "Cannot send submit_sm': "cannot-send",
}

MAX_CREDENTIAL_BYTES: Final = 16
"""Of user and password, as Jasmin's API validates them."""

_FAILED_STATUS_PATTERN: Final = re.compile(
    r"EXPIRED|DELETED|UNDELIV|REJECTD|FAILED|SKIPPED|ESME_[A-Z_]{2,24}"
)
_SUCCESS_PATTERN: Final = re.compile(r'Success "([^"]*)"?')
_DLR_LEVEL_SMSC_AND_PHONE: Final = "3"
_CODING_PATTERN: Final = re.compile(rb"[0-9]{1,3}|.", re.DOTALL)


class _ReceiptBody(msgspec.Struct):
    id: str


class Jasmin(VendorSettings, frozen=True, kw_only=True, tag="jasmin"):
    """A user of Jasmin."""

    base_url: str = "http://127.0.0.1:1401"
    username: str
    password: Secret

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """Exactly this body; after any other Jasmin repeats the receipt or the message."""
        return 200, b"ACK/Jasmin"

    def build_request(self, message: Message) -> HttpRequest:
        fields = {
            "username": self.username,
            "password": self.password.reveal(),
            "to": message.to.e164,
            "from": self.select_sender_id(message),
            **_encode_text(message.text),
            "validity-period": str(max(1, message.validity_seconds // 60)),  # minutes
            **_build_receipt_fields(message.callback_url),
        }
        return build_form_request(self.build_url("/send"), "", fields)

    def interpret_reply(self, reply: HttpReply) -> Reply:
        success = _SUCCESS_PATTERN.match(decode_text(reply.body))
        if reply.status == 200 and success:  # noqa: PLR2004
            return Accepted(success[1] or None)
        return classify_prose(FAULT_TABLE, reply, REFUSED_PREFIXES)

    def parse_callback(self, callback: Callback) -> list[CallbackPart]:
        """Return the receipt of a report, or the message of a person; Jasmin signs neither."""
        fields = callback.fields
        if "message_status" not in fields:
            return [_message_from_fields(callback, fields)]
        given = fields["message_status"]
        word = normalize_state(given) or given
        if word not in RECEIPT_STATUSES and not _FAILED_STATUS_PATTERN.fullmatch(word):
            return [SkippedEvent.OTHER]
        report = convert_callback(fields, _ReceiptBody)
        receipt = build_receipt(
            RECEIPT_STATUSES.get(word, "technical-failure"),
            word,
            failure_statuses=FAILURE_STATUSES,
            message_id=report.id,
        )
        return [receipt]

    def find_errors(self) -> list[tuple[str, str]]:
        limits = {"username": self.username, "password": self.password.reveal()}
        return [
            *super().find_errors(),
            *(
                (field, f"use at most {MAX_CREDENTIAL_BYTES} characters: Jasmin refuses more")
                for field, value in limits.items()
                if len(value.encode(errors="replace")) > MAX_CREDENTIAL_BYTES
            ),
        ]


def _message_from_fields(callback: Callback, fields: Mapping[str, str]) -> CallbackPart:
    if not fields.get("from") or "content" not in fields:
        return SkippedEvent.OTHER
    try:
        octets = bytes.fromhex(fields["binary"])
    except KeyError:  # of an old version
        octets = callback.get_octets("content")
    except ValueError:
        return SkippedEvent.UNREADABLE
    text = decode_octets(_parse_coding(callback.get_octets("coding")), octets)
    return InboundMessage(fields["from"], text, fields.get("to", ""), fields.get("id", ""))


def _parse_coding(coding: bytes) -> int:
    """Return the data_coding; that of the default alphabet if it is neither a number nor an octet."""
    if not _CODING_PATTERN.fullmatch(coding):
        return DEFAULT_ALPHABET_CODING
    return int(coding) if coding.isdigit() else coding[0]


def _encode_text(text: str) -> dict[str, str]:
    """Return the fields of the text: Jasmin converts UTF-8 to GSM 03.38, and to nothing else."""
    if count_septets(text) is not None:
        return {"coding": "0", "content": text}
    return {"coding": "8", "hex-content": text.encode("utf-16-be").hex()}


def _build_receipt_fields(callback: str | None) -> dict[str, str]:
    """Return the address for reports: by POST, because they contain the beginning of the text."""
    if callback is None:
        return {}
    return {"dlr-url": callback, "dlr-level": _DLR_LEVEL_SMSC_AND_PHONE, "dlr-method": "POST"}
