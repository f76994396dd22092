"""Receipts in a deliver_sm (4.6.1): as optional parameters, or as text (appendix B).

    id:7a2f sub:001 dlvrd:001 submit date:2611241530 done date:2611241531 stat:DELIVRD err:000 …

    DELIVRD  2  delivered           UNDELIV  5  failed for good, and not said through whose fault
    ENROUTE  1  pending             REJECTD  8  the same
    ACCEPTD  6  pending             DELETED  4  the same
    UNKNOWN  7  pending: no news    EXPIRED  3  the phone could not be reached

What `err` means is different with every centre: it is kept, but decides nothing.
"""

import re
from typing import Final, Literal, NamedTuple

from otp_service.core.delivery import Receipt
from otp_service.sms.smpp.pdu_bodies import ShortMessage


# 5.3.2
RECEIPTED_MESSAGE_ID: Final = 0x001E
MESSAGE_STATE: Final = 0x0427
MESSAGE_PAYLOAD: Final = 0x0424

# 5.2.12: what kind of message a deliver_sm is
_KIND: Final = 0x3C
_RECEIPT: Final = 0x04
_INTERMEDIATE: Final = 0x20

Status = Literal["delivered", "pending", "temporary-failure", "technical-failure"]

STATES: Final[dict[int, str]] = {
    1: "ENROUTE",
    2: "DELIVRD",
    3: "EXPIRED",
    4: "DELETED",
    5: "UNDELIV",
    6: "ACCEPTD",
    7: "UNKNOWN",
    8: "REJECTD",
}
STATUS: Final[dict[str, Status]] = {
    "DELIVRD": "delivered",
    "EXPIRED": "temporary-failure",
    "DELETED": "technical-failure",
    "UNDELIV": "technical-failure",
    "REJECTD": "technical-failure",
}

_BY_BEGIN: Final = {name[:5]: name for name in STATES.values()}  # some write DELIVERED
_OURS: Final = re.compile(r"\btext:", re.IGNORECASE)
"""What the centre repeats of our text follows, with the code in it."""
_ID: Final = re.compile(r"\bid:\s*([!-~]{1,64})", re.IGNORECASE)
_STATE: Final = re.compile(r"\bstat:\s*([A-Z]{4,13})", re.IGNORECASE)
_ERROR: Final = re.compile(r"\berr:\s*([0-9A-Z]{1,4})\b", re.IGNORECASE)


class Told(NamedTuple):
    """A receipt, and what says which message it is about."""

    receipt: Receipt
    """Without a reference of ours, which a centre does not know."""
    number: str
    """To which the message went: the source of its receipt."""


def receipt_in(brought: ShortMessage) -> Told | None:
    """Return the receipt that was brought, or None: it is a message that somebody has sent us."""
    text = (brought.text or brought.tlvs.get(MESSAGE_PAYLOAD, b"")).decode("latin-1")
    said = _OURS.split(text, maxsplit=1)[0]
    name = _name(brought, said)
    if not name or not _is_receipt(brought):
        return None
    state = _state(brought, said)
    status = STATUS.get(state, "pending")
    reason = _reason(state, said) if status.endswith("failure") else None
    return Told(Receipt(status, message_id=name, reason=reason), brought.source.text)


def _is_receipt(brought: ShortMessage) -> bool:
    kind = brought.esm_class & _KIND
    return kind in {_RECEIPT, _INTERMEDIATE} or RECEIPTED_MESSAGE_ID in brought.tlvs


def _name(brought: ShortMessage, said: str) -> str:
    given = brought.tlvs.get(RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    found = _ID.search(said)
    return given or (found[1] if found else "")


def _state(brought: ShortMessage, said: str) -> str:
    number = int.from_bytes(brought.tlvs.get(MESSAGE_STATE, b""), "big")
    found = _STATE.search(said)
    return STATES.get(number) or _BY_BEGIN.get(found[1].upper()[:5] if found else "", "UNKNOWN")


def _reason(state: str, said: str) -> str:
    found = _ERROR.search(said)
    return f"{state.lower()}-{found[1].lower()}" if found else state.lower()
