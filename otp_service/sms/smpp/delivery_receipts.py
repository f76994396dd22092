"""Receipts in a deliver_sm (4.6.1), as optional parameters or as text (appendix B).

    id:7a2f sub:001 dlvrd:001 submit date:2611241530 done date:2611241531 stat:DELIVRD err:000 …

UNDELIV, REJECTD and DELETED are permanent, with an unknown fault; EXPIRED is a phone that could not
be reached. `err` means something else at every SMSC: it is stored, but decides nothing.
"""

import re
from typing import Final, Literal, NamedTuple

from otp_service.core.delivery import Receipt
from otp_service.sms.smpp.pdu_bodies import ShortMessage


# 5.3.2
RECEIPTED_MESSAGE_ID: Final = 0x001E
MESSAGE_STATE: Final = 0x0427
MESSAGE_PAYLOAD: Final = 0x0424

# 5.2.12: the type of message in a deliver_sm
_MESSAGE_TYPE_MASK: Final = 0x3C
_RECEIPT_TYPE: Final = 0x04
_INTERMEDIATE_TYPE: Final = 0x20

SmppReceiptStatus = Literal["delivered", "pending", "temporary-failure", "technical-failure"]

STATE_NAMES: Final[dict[int, str]] = {
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
}
RECEIPT_STATUSES: Final[dict[str, SmppReceiptStatus]] = {
    "DELIVRD": "delivered",
    "EXPIRED": "temporary-failure",
    "DELETED": "technical-failure",
    "UNDELIV": "technical-failure",
    "REJECTD": "technical-failure",
}

_STATE_BY_PREFIX: Final = {name[:5]: name for name in STATE_NAMES.values()}  # some write DELIVERED
_MESSAGE_TEXT: Final = re.compile(r"\btext:", re.IGNORECASE)
"""The beginning of our text follows, with the code in it."""
_ID_FIELD: Final = re.compile(r"\bid:\s*([!-~]{1,64})", re.IGNORECASE)
_STATE_FIELD: Final = re.compile(r"\bstat:\s*([A-Z]{4,13})", re.IGNORECASE)
_ERROR_FIELD: Final = re.compile(r"\berr:\s*([0-9A-Z]{1,4})\b", re.IGNORECASE)


class SmppReceipt(NamedTuple):
    """A receipt, and the number that identifies its message."""

    receipt: Receipt
    """Without a reference of ours, which an SMSC does not know."""
    number: str
    """The recipient of the message: the source address of its receipt."""


def parse_receipt(short_message: ShortMessage) -> SmppReceipt | None:
    """Return the receipt in a deliver_sm; None for an inbound message of a person."""
    text = (short_message.text or short_message.tlvs.get(MESSAGE_PAYLOAD, b"")).decode("latin-1")
    fields = _MESSAGE_TEXT.split(text, maxsplit=1)[0]
    message_id = _extract_message_id(short_message, fields)
    if not message_id or not _is_receipt(short_message):
        return None
    state = _extract_state(short_message, fields)
    status = RECEIPT_STATUSES.get(state, "pending")
    reason = _build_reason(state, fields) if status.endswith("failure") else None
    receipt = Receipt(status, message_id=message_id, reason=reason)
    return SmppReceipt(receipt, short_message.source.text)


def _is_receipt(short_message: ShortMessage) -> bool:
    kind = short_message.esm_class & _MESSAGE_TYPE_MASK
    return kind in {_RECEIPT_TYPE, _INTERMEDIATE_TYPE} or RECEIPTED_MESSAGE_ID in short_message.tlvs


def _extract_message_id(short_message: ShortMessage, receipt_text: str) -> str:
    given = short_message.tlvs.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    found = _ID_FIELD.search(receipt_text)
    return given or (found[1] if found else "")


def _extract_state(short_message: ShortMessage, receipt_text: str) -> str:
    number = int.from_bytes(short_message.tlvs.get(MESSAGE_STATE, b""), "big")
    found = _STATE_FIELD.search(receipt_text)
    prefix = found[1].upper()[:5] if found else ""
    return STATE_NAMES.get(number) or _STATE_BY_PREFIX.get(prefix, "UNKNOWN")


def _build_reason(state: str, receipt_text: str) -> str:
    found = _ERROR_FIELD.search(receipt_text)
    return f"{state.lower()}-{found[1].lower()}" if found else state.lower()
