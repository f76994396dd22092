"""Receipts in a deliver_sm (4.6.1) or data_sm, as optional parameters or as text (appendix B).

    id:7a2f sub:001 dlvrd:001 submit date:2611241530 done date:2611241531 stat:DELIVRD err:000 …

UNDELIV, REJECTD and DELETED are permanent, with an unknown fault; EXPIRED is a phone that could not
be reached. `err` means something else at every SMSC: it is stored, but decides nothing.

SMSCs differ from the specification: the text may be UTF-16, its fields separated by `;`, a state a
word of their own, and the type of message "default" as of an inbound message. Such a receipt is
recognized by its text alone, which a person could write too, so it counts only for a message to the
number that it came from.
"""

import re
from typing import Final, Literal, NamedTuple

from otp_service.core.delivery import Receipt
from otp_service.sms.provider_callbacks import SkippedEvent
from otp_service.sms.smpp.pdu import InvalidPduError
from otp_service.sms.smpp.pdu_bodies import PERSON_MESSAGE_TYPE, ShortMessage
from otp_service.sms.smpp.user_data import split_user_data


# 5.3.2
RECEIPTED_MESSAGE_ID: Final = 0x001E
MESSAGE_STATE: Final = 0x0427

_RECEIPT_TYPE: Final = 0x04
_INTERMEDIATE_TYPE: Final = 0x20

SmppReceiptStatus = Literal["delivered", "pending", "temporary-failure", "technical-failure"]

STATE_NAMES: Final[dict[int, str]] = {
    0: "SCHEDULED",  # 5.0
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
    9: "SKIPPED",  # 5.0
}
RECEIPT_STATUSES: Final[dict[str, SmppReceiptStatus]] = {
    "DELIVRD": "delivered",
    "EXPIRED": "temporary-failure",
    "DELETED": "technical-failure",
    "UNDELIV": "technical-failure",
    "REJECTD": "technical-failure",
    "FAILED": "technical-failure",
    "SKIPPED": "technical-failure",
}
"""Any other state is pending."""

_DELIVERED_WORD: Final = re.compile(r"DELIV(?:RD|ERED)")
_STATE_BY_PREFIX: Final = {
    name[:5]: name for name in (*STATE_NAMES.values(), "FAILED") if name != "DELIVRD"
}
"""Some write UNDELIVERABLE."""
_MESSAGE_TEXT: Final = re.compile(r"\btext:", re.IGNORECASE)
"""The beginning of our text follows, with the code in it."""
_ID_FIELD: Final = re.compile(
    r"\bid:\s*(?!(?:sub|dlvrd|stat|err|text):)([!-+\--:<-~]{1,64})", re.IGNORECASE
)
"""An id contains neither a comma nor a semicolon, which separate the fields at some SMSCs."""
_STATE_FIELD: Final = re.compile(r"\bstat:\s*([A-Z_]{4,20})", re.IGNORECASE)
_RECEIPT_TEXT: Final = re.compile(r"\s*id:\s*[!-~]+.*\bstat:", re.IGNORECASE | re.DOTALL)
_UTF16_ENCODINGS: Final = {b"\0i\0d\0:": "utf-16-be", b"i\0d\0:\0": "utf-16-le"}
"""By the octets of a field that every receipt has."""
_ERROR_FIELD: Final = re.compile(r"\berr:\s*([0-9A-Z]{1,4})\b", re.IGNORECASE)


class SmppReceipt(NamedTuple):
    """A receipt, and the number that identifies its message."""

    receipt: Receipt
    """Without a reference of ours, which an SMSC does not know."""
    number: str
    """The recipient of the message: the source address of its receipt."""
    is_typed: bool = True
    """Whether the SMSC says that it is one; otherwise its text alone does."""


def parse_receipt(short_message: ShortMessage) -> SmppReceipt | SkippedEvent:
    """Return the receipt in a deliver_sm; OTHER for anything else.

    UNREADABLE for a receipt without an id or a known state.
    """
    fields = _MESSAGE_TEXT.split(_decode_text(short_message), maxsplit=1)[0]
    kind = short_message.message_type
    is_typed = _is_receipt(short_message)
    if not is_typed and not (kind == PERSON_MESSAGE_TYPE and _RECEIPT_TEXT.match(fields)):
        return SkippedEvent.OTHER
    message_id = _extract_message_id(short_message, fields)
    state = _extract_state(short_message, fields)
    if not state and kind == _INTERMEDIATE_TYPE:
        state = "ENROUTE"
    if not message_id or not state:
        return SkippedEvent.UNREADABLE
    status = RECEIPT_STATUSES.get(state, "pending")
    reason = _build_reason(state, fields) if status.endswith("failure") else None
    receipt = Receipt(status, message_id=message_id, reason=reason)
    return SmppReceipt(receipt, short_message.source.text, is_typed)


def _is_receipt(short_message: ShortMessage) -> bool:
    kind = short_message.message_type
    return kind in {_RECEIPT_TYPE, _INTERMEDIATE_TYPE} or RECEIPTED_MESSAGE_ID in short_message.tlvs


def _decode_text(short_message: ShortMessage) -> str:
    try:
        octets = split_user_data(short_message).octets
    except InvalidPduError:
        octets = b""  # the optional parameters may still say it all
    lowered = octets.lower()
    known = (name for field, name in _UTF16_ENCODINGS.items() if field in lowered)
    return octets.decode(next(known, "latin-1"), errors="replace")


def _extract_message_id(short_message: ShortMessage, receipt_text: str) -> str:
    given = short_message.tlvs.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    found = _ID_FIELD.search(receipt_text)
    return given or (found[1] if found else "")


def _extract_state(short_message: ShortMessage, receipt_text: str) -> str:
    """Return the name of the state; empty without a known one."""
    value = short_message.tlvs.get(MESSAGE_STATE, b"")
    if value and (known := STATE_NAMES.get(int.from_bytes(value, "big"))):
        return known
    found = _STATE_FIELD.search(receipt_text)
    return normalize_state(found[1]) if found else ""


def normalize_state(word: str) -> str:
    """Return the name of a state as an SMSC writes it; empty for an unknown word."""
    known = word.upper()
    return "DELIVRD" if _DELIVERED_WORD.fullmatch(known) else _STATE_BY_PREFIX.get(known[:5], "")


def _build_reason(state: str, receipt_text: str) -> str:
    found = _ERROR_FIELD.search(receipt_text)
    return f"{state.lower()}-{found[1].lower()}" if found else state.lower()
