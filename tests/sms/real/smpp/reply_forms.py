"""The forms in which the npm package `smpp` brings a reply: the fields of each PDU, in order."""

from typing import Any, Final


PHONE: Final = {"source_addr_ton": 1, "source_addr_npi": 1, "dest_addr_ton": 1, "dest_addr_npi": 1}

_SAR: Final = {"sar_msg_ref_num": 7, "sar_total_segments": 2}

REPLY_FORMS: Final[dict[str, list[dict[str, Any]]]] = {
    "GSM-7": [{"text": "STOP", "data_coding": 0}],
    "GSM-7 by class": [{"text": "STOP", "data_coding": 0xF1}],
    "a coding that the package selects": [{"text": "STOP"}],
    "ISO 8859-1": [{"text": "ARRÊT", "data_coding": 3}],
    "UCS-2": [{"text": "STOP", "data_coding": 8}],
    "UCS-2 with accents": [{"text": "İPTAL", "data_coding": 8}],
    "a payload": [{"text": "STOP", "place": "message_payload", "data_coding": 0}],
    "a payload in UCS-2": [{"text": "STOP", "place": "message_payload", "data_coding": 8}],
    "data_sm": [
        {"text": "STOP", "command": "data_sm", "place": "message_payload", "data_coding": 0}
    ],
    "data_sm in UCS-2": [
        {"text": "STOP", "command": "data_sm", "place": "message_payload", "data_coding": 8}
    ],
    "two parts with 8-bit references": [
        {"text": "ST", "udh": "050003cc0201", "data_coding": 0},
        {"text": "OP", "udh": "050003cc0202", "data_coding": 0},
    ],
    "two parts with 16-bit references": [
        {"text": "ST", "udh": "060804cafe0201", "data_coding": 0},
        {"text": "OP", "udh": "060804cafe0202", "data_coding": 0},
    ],
    "two parts in UCS-2, the last one first": [
        {"text": "OP", "udh": "050003cc0202", "data_coding": 8},
        {"text": "ST", "udh": "050003cc0201", "data_coding": 8},
    ],
    "two parts with optional parameters": [
        {"text": "ST", "data_coding": 0, "sar_segment_seqnum": 1} | _SAR,
        {"text": "OP", "data_coding": 0, "sar_segment_seqnum": 2} | _SAR,
    ],
    "the Turkish alphabet": [{"text": "İPTAL", "udh": "03250101"}],
}
"""Each is a STOP by the keywords of the default settings."""


def build_reply(number: str, receiver: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a message from a phone to a number of ours."""
    return {**PHONE, "source_addr": number, "destination_addr": receiver, **fields}
