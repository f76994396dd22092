"""The frame of every PDU (SMPP 3.4, 3.2), and the kinds of fields that bodies are made of (3.1)."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec


# 5.1.2.1. The answer to a request has its command with the highest bit set.
GENERIC_NACK: Final = 0x80000000
SUBMIT_SM: Final = 0x00000004
DELIVER_SM: Final = 0x00000005
UNBIND: Final = 0x00000006
BIND_TRANSCEIVER: Final = 0x00000009
ENQUIRE_LINK: Final = 0x00000015
RESPONSE_BIT: Final = 0x80000000

# 5.1.3
STATUS_OK: Final = 0x00
STATUS_INVALID_COMMAND: Final = 0x03
STATUS_QUEUE_FULL: Final = 0x14
STATUS_TEMPORARY_ERROR: Final = 0x64
"""ESME_RX_T_APPN: bring it again later."""
STATUS_PERMANENT_ERROR: Final = 0x65
"""ESME_RX_P_APPN: do not bring it again."""

MAX_SEQUENCE_NUMBER: Final = 0x7FFFFFFF
HEADER_STRUCT: Final = struct.Struct(">IIII")
_TLV_HEADER_STRUCT: Final = struct.Struct(">HH")
MAX_PDU_OCTETS: Final = 64 * 1024 + 1024
"""Octets of a PDU: a message_payload may have 64 K, and there is nothing longer."""


class InvalidPduError(ValueError):
    """What came is no PDU, and so where the next one begins cannot be known. Says nothing of it."""


class Pdu(msgspec.Struct, frozen=True):
    """One PDU. Its `repr` says nothing of the body: it holds numbers, codes and passwords."""

    command: int
    sequence: int
    status: int = STATUS_OK
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Pdu({self.command:#x}, {self.sequence}, {self.status:#x}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("command", self.command)]  # not the fields, as msgspec would show them

    @property
    def is_response(self) -> bool:
        """Whether it is the answer to a request."""
        return bool(self.command & RESPONSE_BIT)

    def encode(self) -> bytes:
        """Return the octets."""
        length = HEADER_STRUCT.size + len(self.body)
        return HEADER_STRUCT.pack(length, self.command, self.status, self.sequence) + self.body


class PduDecoder:
    """Cuts what comes over a connection into PDUs."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def decode_pdus(self, data: bytes) -> Iterator[Pdu]:
        """Yield the PDUs that are whole now. Raises BadPdu for a length that cannot be one."""
        self._buffer += data
        while len(self._buffer) >= HEADER_STRUCT.size:
            length, command, status, sequence = HEADER_STRUCT.unpack_from(self._buffer)
            if not HEADER_STRUCT.size <= length <= MAX_PDU_OCTETS:
                raise InvalidPduError("a length that cannot be")
            if len(self._buffer) < length:
                return
            body = bytes(self._buffer[HEADER_STRUCT.size : length])
            del self._buffer[:length]
            yield Pdu(command, sequence, status, body)


def encode_c_string(value: str, max_octets: int) -> bytes:
    """Return a C-Octet String (3.1) of at most so many octets with its NUL.

    Raises ValueError, without the value, for what cannot be one.
    """
    if "\0" in value or not value.isascii() or len(value) >= max_octets:
        raise ValueError("a field that is too long, or not ASCII")
    return value.encode() + b"\0"


def encode_tlvs(values: Mapping[int, bytes]) -> bytes:
    """Return the optional parameters (3.2.4)."""
    return b"".join(
        _TLV_HEADER_STRUCT.pack(tag, len(value)) + value for tag, value in values.items()
    )


class BodyReader:
    """Reads a body, field after field. Raises BadPdu where it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0

    def read_octets(self, count: int) -> bytes:
        """Return the next so many octets."""
        end = self._offset + count
        if end > len(self._body):
            raise InvalidPduError("a body that ends too early")
        taken, self._offset = self._body[self._offset : end], end
        return taken

    def read_integer(self) -> int:
        """Return the next octet."""
        return self.read_octets(1)[0]

    def read_c_string(self) -> str:
        """Return a C-Octet String."""
        end = self._body.find(b"\0", self._offset)
        if end < 0:
            raise InvalidPduError("a string without its end")
        taken, self._offset = self._body[self._offset : end], end + 1
        return taken.decode("latin-1")

    def read_tlvs(self) -> dict[int, bytes]:
        """Return the optional parameters, which are all that is left."""
        found = {}
        while self._offset < len(self._body):
            tag, length = _TLV_HEADER_STRUCT.unpack(self.read_octets(_TLV_HEADER_STRUCT.size))
            found[tag] = self.read_octets(length)
        return found
