"""GSM 03.38, the default alphabet of SMS: 3GPP TS 23.038, 6.2.1."""

import unicodedata
from typing import Final


_ESCAPE_OCTET: Final = 0x1B
# The character at the escape's index stands for the escape and is never sent.
_BASIC_CHARS: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\0ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 6.2.1.1: the escape and an octet, so such a character costs two septets.
_EXTENSION_OCTETS: Final = {
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
GSM_OCTETS: Final = {
    char: bytes([index]) for index, char in enumerate(_BASIC_CHARS) if index != _ESCAPE_OCTET
} | {char: bytes([_ESCAPE_OCTET, octet]) for char, octet in _EXTENSION_OCTETS.items()}
"""By character: a septet in each octet, one or two."""


def encode_gsm(text: str) -> bytes | None:
    """Return a septet in each octet; None if a character is not in the alphabet."""
    try:
        return b"".join([GSM_OCTETS[char] for char in text])
    except KeyError:
        return None


_PLAIN_PUNCTUATION: Final = {
    **dict.fromkeys("\u2018\u2019\u201a\u02bc\u00b4\u2032`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u2033", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    "\u0142": "l",
    "\u0141": "L",
    "\u0111": "d",
    "\u0110": "D",
    "\u0131": "i",
}
"""Characters that are typed or inserted by editors, and letters that Unicode does not decompose."""


def count_septets(text: str) -> int | None:
    """Return the septets of the text; None if a character is not in the alphabet."""
    octets = encode_gsm(text)
    return None if octets is None else len(octets)


def simplify_character(char: str) -> str:
    """Return what GSM 03.38 has in place of a character: its letter without marks, or plain punctuation.

    The result is empty if there is nothing similar, as for letters of other scripts.
    """
    simple = _PLAIN_PUNCTUATION.get(char, "")
    letters = [
        part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part)
    ]
    simple = simple or "".join(letters)
    return simple if simple != char and count_septets(simple) is not None else ""
