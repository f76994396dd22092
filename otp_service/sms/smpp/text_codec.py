"""Texts as octets: GSM 03.38 where possible, else UCS-2 (data_coding, 5.2.19)."""

from typing import Final

from otp_service.core.gsm_alphabet import encode_gsm


DEFAULT_ALPHABET_CODING: Final = 0
UCS2_CODING: Final = 8


def encode_text(text: str) -> tuple[int, bytes]:
    """Return the data_coding and the octets: a septet in each, which the SMSC packs."""
    octets = encode_gsm(text)
    if octets is None:
        return UCS2_CODING, text.encode("utf-16-be")
    return DEFAULT_ALPHABET_CODING, octets
