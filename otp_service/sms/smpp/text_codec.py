"""Texts as octets: GSM 03.38 where it will do, else UCS-2 (data_coding, 5.2.19)."""

from typing import Final


DEFAULT_ALPHABET_CODING: Final = 0
UCS2_CODING: Final = 8

_GSM_ESCAPE: Final = 0x1B
# 3GPP TS 23.038, 6.2.1, each at its place; the one at the escape's place stands for nothing.
_GSM_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\0ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION: Final = {
    "\f": 0x0A,
    "^": 0x14,
    "{": 0x28,
    "}": 0x29,
    "\\": 0x2F,
    "[": 0x3C,
    "~": 0x3D,
    "]": 0x3E,
    "|": 0x40,
    "€": 0x65,
}
_GSM_OCTETS: Final = {
    char: bytes([at]) for at, char in enumerate(_GSM_BASIC) if at != _GSM_ESCAPE
} | {char: bytes([_GSM_ESCAPE, at]) for char, at in _GSM_EXTENSION.items()}


def encode_text(text: str) -> tuple[int, bytes]:
    """Return the data_coding and the octets: a septet in each, which the centre packs."""
    try:
        return DEFAULT_ALPHABET_CODING, b"".join([_GSM_OCTETS[char] for char in text])
    except KeyError:
        return UCS2_CODING, text.encode("utf-16-be")
