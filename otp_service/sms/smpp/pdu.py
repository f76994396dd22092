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
RESPONSE: Final = 0x80000000

# 5.1.3
OK: Final = 0x00
INVALID_COMMAND: Final = 0x03
QUEUE_FULL: Final = 0x14
TEMPORARY_ERROR: Final = 0x64
"""ESME_RX_T_APPN: bring it again later."""
PERMANENT_ERROR: Final = 0x65
"""ESME_RX_P_APPN: do not bring it again."""

LAST_SEQUENCE: Final = 0x7FFFFFFF
HEAD: Final = struct.Struct(">IIII")
_TLV: Final = struct.Struct(">HH")
LONGEST: Final = 64 * 1024 + 1024
"""Octets of a PDU: a message_payload may have 64 K, and there is nothing longer."""


class BadPdu(ValueError):
    """What came is no PDU, and so where the next one begins cannot be known. Says nothing of it."""


class Pdu(msgspec.Struct, frozen=True):
    """One PDU. Its `repr` says nothing of the body: it holds numbers, codes and passwords."""

    command: int
    sequence: int
    status: int = OK
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Pdu({self.command:#x}, {self.sequence}, {self.status:#x}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("command", self.command)]  # not the fields, as msgspec would show them

    @property
    def answers(self) -> bool:
        """Whether it is the answer to a request."""
        return bool(self.command & RESPONSE)

    def encode(self) -> bytes:
        """Return the octets."""
        length = HEAD.size + len(self.body)
        return HEAD.pack(length, self.command, self.status, self.sequence) + self.body


class Frames:
    """Cuts what comes over a connection into PDUs."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Pdu]:
        """Yield the PDUs that are whole now. Raises BadPdu for a length that cannot be one."""
        self._rest += data
        while len(self._rest) >= HEAD.size:
            length, command, status, sequence = HEAD.unpack_from(self._rest)
            if not HEAD.size <= length <= LONGEST:
                raise BadPdu("a length that cannot be")
            if len(self._rest) < length:
                return
            body = bytes(self._rest[HEAD.size : length])
            del self._rest[:length]
            yield Pdu(command, sequence, status, body)


def text_field(value: str, longest: int) -> bytes:
    """Return a C-Octet String (3.1) of at most so many octets with its NUL.

    Raises ValueError, without the value, for what cannot be one.
    """
    if "\0" in value or not value.isascii() or len(value) >= longest:
        raise ValueError("a field that is too long, or not ASCII")
    return value.encode() + b"\0"


def tlv_fields(values: Mapping[int, bytes]) -> bytes:
    """Return the optional parameters (3.2.4)."""
    return b"".join(_TLV.pack(tag, len(value)) + value for tag, value in values.items())


class Fields:
    """Reads a body, field after field. Raises BadPdu where it ends too early."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def octets(self, count: int) -> bytes:
        """Return the next so many octets."""
        end = self._at + count
        if end > len(self._body):
            raise BadPdu("a body that ends too early")
        taken, self._at = self._body[self._at : end], end
        return taken

    def integer(self) -> int:
        """Return the next octet."""
        return self.octets(1)[0]

    def text(self) -> str:
        """Return a C-Octet String."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise BadPdu("a string without its end")
        taken, self._at = self._body[self._at : end], end + 1
        return taken.decode("latin-1")

    def tlvs(self) -> dict[int, bytes]:
        """Return the optional parameters, which are all that is left."""
        found = {}
        while self._at < len(self._body):
            tag, length = _TLV.unpack(self.octets(_TLV.size))
            found[tag] = self.octets(length)
        return found
