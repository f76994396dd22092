"""Texts as octets and back (data_coding, 5.2.19): ours are GSM 03.38 where possible, else UCS-2.

A centre's default alphabet, data_coding 0, is GSM 03.38 with a septet in each octet at most centres, and
ISO 8859-1 or ASCII at some. No setting says which: an octet over 0x7F shows that it is not GSM 03.38, and
below that all three have the same letters, digits and spaces. They differ in a few signs alone.
"""

import codecs
import re
from collections.abc import Callable
from typing import Final

from otp_service.core.gsm_alphabet import GSM_OCTETS, encode_gsm


DEFAULT_ALPHABET_CODING: Final = 0
UCS2_CODING: Final = 8

_GSM_CHARS: Final = {octets: char for char, octets in GSM_OCTETS.items()}
_GSM_SYMBOL: Final = re.compile(b"\x1b?.", re.DOTALL)
_TURKISH_CHARS: Final = str.maketrans("èìØøÆæ¡¿", "€ıĞğŞşİç")
"""What differs from the default alphabet: 3GPP TS 23.038, A.3.1."""
_MAX_SEPTET: Final = 0x7F
_BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)

Decoder = Callable[[bytes], str]


def encode_text(text: str) -> tuple[int, bytes]:
    """Return the data_coding and the octets: a septet in each, which the SMSC packs."""
    octets = encode_gsm(text)
    if octets is None:
        return UCS2_CODING, text.encode("utf-16-be")
    return DEFAULT_ALPHABET_CODING, octets


def decode_text(data_coding: int, octets: bytes, *, is_turkish: bool = False) -> str:
    """Return the text of a message from a phone; empty for binary data.

    `is_turkish` says that its header selects the Turkish alphabet in place of the default one. What is not
    valid in its coding becomes U+FFFD. Some SMSCs end a text with a NUL, which is removed.
    """
    decoder = _select_decoder(data_coding)
    if is_turkish and decoder in {_decode_default_alphabet, _decode_ascii}:
        return _decode_default_alphabet(octets).translate(_TURKISH_CHARS)
    return decoder(octets).rstrip("\0")


def _decode_default_alphabet(octets: bytes) -> str:
    """Decode GSM 03.38, or ISO 8859-1 if it cannot be that.

    An unknown escape is the letter after it (3GPP TS 23.038, 6.2.1.1): so an accented letter of a national
    table, which a phone selects in the header, becomes the one without its accent.
    """
    if max(octets, default=0) > _MAX_SEPTET:
        return octets.decode("latin-1")
    symbols = _GSM_SYMBOL.findall(octets)
    return "".join(_GSM_CHARS.get(each) or _GSM_CHARS.get(each[-1:], " ") for each in symbols)


def _decode_ascii(octets: bytes) -> str:
    return octets.decode("latin-1")


def _decode_ucs2(octets: bytes) -> str:
    name = "utf-16" if octets.startswith(_BYTE_ORDER_MARKS) else "utf-16-be"
    return octets.decode(name, errors="replace")


def _ignore_binary(_: bytes) -> str:
    return ""


def _create_decoder(name: str) -> Decoder:
    return lambda octets: octets.decode(name, errors="replace")


_SMPP_DECODERS: Final[dict[int, Decoder]] = {
    1: _decode_ascii,  # IA5
    2: _ignore_binary,
    3: _create_decoder("latin-1"),
    4: _ignore_binary,
    5: _create_decoder("iso2022_jp"),
    6: _create_decoder("iso8859-5"),
    7: _create_decoder("iso8859-8"),
    UCS2_CODING: _decode_ucs2,
    10: _create_decoder("iso2022_jp"),
    13: _create_decoder("iso2022_jp_1"),
    14: _create_decoder("euc_kr"),
}
"""The codings below 0x10; any other is the default alphabet, as 3GPP TS 23.038, 4 has it."""
_PHONE_DECODERS: Final[tuple[Decoder, ...]] = (
    _decode_default_alphabet,
    _ignore_binary,
    _decode_ucs2,
    _decode_default_alphabet,
)
"""By bits 3 and 2 of the data coding scheme of a phone, which some SMSCs pass on."""


def _select_decoder(data_coding: int) -> Decoder:
    if data_coding < 0x10:  # noqa: PLR2004
        return _SMPP_DECODERS.get(data_coding, _decode_default_alphabet)
    scheme = data_coding >> 4
    if scheme < 0x8:  # noqa: PLR2004  # with a class, or marked for deletion
        return _PHONE_DECODERS[data_coding >> 2 & 3]
    if scheme == 0xE:  # noqa: PLR2004  # message waiting, in UCS-2
        return _decode_ucs2
    if scheme == 0xF and data_coding & 4:  # noqa: PLR2004  # by class (0xF0-0xFF): 8-bit data
        return _ignore_binary
    return _decode_default_alphabet
