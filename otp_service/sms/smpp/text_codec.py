"""Texts as octets: GSM 03.38 where it will do, else UCS-2 (data_coding, 5.2.19)."""

from typing import Final


DEFAULT_ALPHABET: Final = 0
UCS2: Final = 8

_ESCAPE: Final = 0x1B
# 3GPP TS 23.038, 6.2.1, each at its place; the one at the escape's place stands for nothing.
_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\0ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION: Final = {
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
_OCTETS: Final = {char: bytes([at]) for at, char in enumerate(_BASIC) if at != _ESCAPE} | {
    char: bytes([_ESCAPE, at]) for char, at in _EXTENSION.items()
}


def encoded(text: str) -> tuple[int, bytes]:
    """Return the data_coding and the octets: a septet in each, which the centre packs."""
    try:
        return DEFAULT_ALPHABET, b"".join([_OCTETS[char] for char in text])
    except KeyError:
        return UCS2, text.encode("utf-16-be")
