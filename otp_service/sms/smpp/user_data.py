"""The text of a deliver_sm or data_sm, its header (UDH), and its place in a long message.

A header is before the text (3GPP TS 23.040, 9.2.3.24): an octet with its length, and elements, each with
an identifier and a length of its own. Only those of long messages matter, and the Turkish alphabet, which
phones in Turkey select for the first letter of İPTAL. All others are skipped.
"""

from contextlib import suppress
from typing import Final, Literal, NamedTuple

from otp_service.sms.smpp.pdu import BodyReader, InvalidPduError
from otp_service.sms.smpp.pdu_bodies import ShortMessage


MESSAGE_PAYLOAD: Final = 0x0424
"""The text as an optional parameter (5.3.2.32)."""
USER_DATA_HEADER_FLAG: Final = 0x40
"""Of esm_class (5.2.12): the text begins with a header."""

# The identifiers of elements: 3GPP TS 23.040, 9.2.3.24.1 and 9.2.3.24.8
_SEGMENT_ELEMENT: Final = 0x00
_WIDE_SEGMENT_ELEMENT: Final = 0x08
_ALPHABET_ELEMENT: Final = 0x25  # 9.2.3.24.16: the national language locking shift
_TURKISH_ALPHABET: Final = b"\x01"

# 5.3.2.22 to 24
SAR_REFERENCE: Final = 0x020C
SAR_TOTAL: Final = 0x020E
SAR_NUMBER: Final = 0x020F
_SAR_TAGS: Final = (SAR_REFERENCE, SAR_TOTAL, SAR_NUMBER)
_SAR_SIZES: Final = (2, 1, 1)


class UserData(NamedTuple):
    """The elements of a header by their identifiers, and the octets after it."""

    elements: dict[int, bytes]
    """The last one of each identifier, which is the one that counts."""
    octets: bytes

    @property
    def is_turkish(self) -> bool:
        """Whether the text is in the Turkish alphabet in place of the default one."""
        return self.elements.get(_ALPHABET_ELEMENT) == _TURKISH_ALPHABET


class Segment(NamedTuple):
    """The place of a part in its message."""

    scheme: Literal["8-bit", "16-bit", "sar"]
    """References of different schemes have nothing in common."""
    reference: int
    total: int
    number: int
    """From 1 to `total`."""


def extract_octets(short_message: ShortMessage) -> bytes:
    """Return the octets of the text with its header, which are in one of two places."""
    return short_message.text or short_message.tlvs.get(MESSAGE_PAYLOAD, b"")


def split_user_data(short_message: ShortMessage) -> UserData:
    """Return the header and the text. Raises InvalidPduError for a header longer than the text."""
    octets = extract_octets(short_message)
    if not short_message.esm_class & USER_DATA_HEADER_FLAG:
        return UserData({}, octets)
    fields = BodyReader(octets)
    header = fields.read_octets(fields.read_integer())
    return UserData(_read_elements(header), octets[1 + len(header) :])


def find_segment(user_data: UserData, short_message: ShortMessage) -> Segment | None:
    """Return the place of this part; None for a message of its own.

    A place that is impossible, as 0 of 0 or 7 of 3, is ignored (9.2.3.24.1; 5.3.2.22).
    """
    elements, tlvs = user_data.elements, short_message.tlvs
    narrow, wide = elements.get(_SEGMENT_ELEMENT, b""), elements.get(_WIDE_SEGMENT_ELEMENT, b"")
    values = [tlvs.get(tag, b"") for tag in _SAR_TAGS]
    candidates: list[Segment] = []
    if len(narrow) == 3:  # noqa: PLR2004
        candidates.append(Segment("8-bit", *narrow))
    if len(wide) == 4:  # noqa: PLR2004
        candidates.append(Segment("16-bit", int.from_bytes(wide[:2]), *wide[2:]))
    if tuple(map(len, values)) == _SAR_SIZES:
        candidates.append(Segment("sar", *map(int.from_bytes, values)))
    return next((each for each in candidates if 1 <= each.number <= each.total), None)


def _read_elements(header: bytes) -> dict[int, bytes]:
    """Return the elements up to one that does not fit, which hides nothing of the text."""
    fields, elements = BodyReader(header), dict[int, bytes]()
    with suppress(InvalidPduError):
        while not fields.is_at_end:
            identifier = fields.read_integer()
            elements[identifier] = fields.read_octets(fields.read_integer())
    return elements
