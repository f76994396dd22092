"""The frame of every PDU (SMPP 3.4, 3.2), and the types of the fields in bodies (3.1)."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec


# 5.1.2.1. A response has the command of its request with the highest bit set.
GENERIC_NACK: Final = 0x80000000
SUBMIT_SM: Final = 0x00000004
DELIVER_SM: Final = 0x00000005
UNBIND: Final = 0x00000006
BIND_TRANSCEIVER: Final = 0x00000009
ENQUIRE_LINK: Final = 0x00000015
DATA_SM: Final = 0x00000103
RESPONSE_BIT: Final = 0x80000000

# 5.1.3
STATUS_OK: Final = 0x00
STATUS_INVALID_COMMAND: Final = 0x03
STATUS_QUEUE_FULL: Final = 0x14
STATUS_TEMPORARY_ERROR: Final = 0x64
"""ESME_RX_T_APPN: repeat it later."""
STATUS_PERMANENT_ERROR: Final = 0x65
"""ESME_RX_P_APPN: do not repeat it."""

MAX_SEQUENCE_NUMBER: Final = 0x7FFFFFFF
HEADER_STRUCT: Final = struct.Struct(">IIII")
_TLV_HEADER_STRUCT: Final = struct.Struct(">HH")
MAX_PDU_OCTETS: Final = 64 * 1024 + 1024
"""A message_payload may have 64 K, and no other field is longer."""


class InvalidPduError(ValueError):
    """Invalid octets, after which the next PDU cannot be found. The text quotes none of them."""


class Pdu(msgspec.Struct, frozen=True):
    """One PDU. Its `repr` omits the body, which contains numbers, codes and passwords."""

    command: int
    sequence: int
    status: int = STATUS_OK
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Pdu({self.command:#x}, {self.sequence}, {self.status:#x}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("command", self.command)]  # msgspec's own would show the fields

    @property
    def is_response(self) -> bool:
        return bool(self.command & RESPONSE_BIT)

    def encode(self) -> bytes:
        length = HEADER_STRUCT.size + len(self.body)
        return HEADER_STRUCT.pack(length, self.command, self.status, self.sequence) + self.body


class PduDecoder:
    """Splits the octets of a connection into PDUs."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def decode_pdus(self, data: bytes) -> Iterator[Pdu]:
        """Yield the PDUs that are complete. Raises InvalidPduError for an impossible length."""
        self._buffer += data
        while len(self._buffer) >= HEADER_STRUCT.size:
            length, command, status, sequence = HEADER_STRUCT.unpack_from(self._buffer)
            if not HEADER_STRUCT.size <= length <= MAX_PDU_OCTETS:
                raise InvalidPduError("an impossible length")
            if len(self._buffer) < length:
                return
            body = bytes(self._buffer[HEADER_STRUCT.size : length])
            del self._buffer[:length]
            yield Pdu(command, sequence, status, body)


def encode_c_string(value: str, max_octets: int) -> bytes:
    """Return a C-Octet String (3.1) of at most `max_octets` with its NUL.

    Raises ValueError, whose text omits the value.
    """
    if "\0" in value or not value.isascii() or len(value) >= max_octets:
        raise ValueError("a field that is too long, or not ASCII")
    return value.encode() + b"\0"


def encode_tlvs(tlvs: Mapping[int, bytes]) -> bytes:
    """Return the optional parameters (3.2.4)."""
    return b"".join(_TLV_HEADER_STRUCT.pack(tag, len(value)) + value for tag, value in tlvs.items())


class BodyReader:
    """Reads a body field by field. Raises InvalidPduError where it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0

    @property
    def is_at_end(self) -> bool:
        return self._offset >= len(self._body)

    def read_octets(self, count: int) -> bytes:
        end = self._offset + count
        if end > len(self._body):
            raise InvalidPduError("a body that ends too early")
        octets, self._offset = self._body[self._offset : end], end
        return octets

    def read_integer(self) -> int:
        return self.read_octets(1)[0]

    def read_c_string(self) -> str:
        end = self._body.find(b"\0", self._offset)
        if end < 0:
            raise InvalidPduError("a string without its end")
        octets, self._offset = self._body[self._offset : end], end + 1
        return octets.decode("latin-1")

    def read_tlvs(self) -> dict[int, bytes]:
        """Return the optional parameters, which are the rest of the body.

        Some SMSCs end the text before them, or the body, with a NUL that they do not count.
        """
        start = self._offset
        try:
            return self._read_tlvs_from(start)
        except InvalidPduError:
            if self._body[start : start + 1] != b"\0":
                raise
            return self._read_tlvs_from(start + 1)

    def _read_tlvs_from(self, start: int) -> dict[int, bytes]:
        self._offset, tlvs, end = start, {}, len(self._body.rstrip(b"\0"))
        while self._offset < end:
            tag, length = _TLV_HEADER_STRUCT.unpack(self.read_octets(_TLV_HEADER_STRUCT.size))
            tlvs[tag] = self.read_octets(length)
        return tlvs
