"""The msgpack that Redis's `cmsgpack` writes: a byte string has the type of text."""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_decode_elements = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_SHORT_TEXT, _TEXT_OF_256, _TEXT_OF_64K, _LONG_TEXT = 0xA0, 0xD9, 0xDA, 0xDB
_NIL, _FALSE = 0xC0, 0xC2
_TEXT_HEADER_BYTES = {_TEXT_OF_256: 2, _TEXT_OF_64K: 3, _LONG_TEXT: 5}


def pack_numbers(numbers: Sequence[float]) -> bytes:
    """Pack doubles: one without a fraction as an integer, one that single precision has as such."""
    return _encode([_prepare_number(number) for number in numbers])


def pack_reply(reply: Sequence[Any]) -> bytes:
    """Pack the reply of a commit: byte strings, integers, None for a missing value, and lists."""
    return _encode([_prepare_element(element) for element in reply])


def unpack_reply(packed: bytes) -> list[Any]:
    """Return a reply of `pack_reply`, with byte strings for texts."""
    return [_unpack_element(bytes(element)) for element in _decode_elements(packed)]


def _prepare_number(number: float) -> float | msgspec.Raw:
    if type(number) is int:
        return number
    if number.is_integer():
        return int(number)
    single = struct.pack(">f", number)
    if struct.unpack(">f", single)[0] == number:
        return msgspec.Raw(b"\xca" + single)
    return number


def _prepare_element(element: Any) -> Any:
    match element:
        case bytes():
            return msgspec.Raw(_build_text_header(len(element)) + element)
        case None:
            return False
        case _:
            return element


def _build_text_header(size: int) -> bytes:
    if size < 32:
        return bytes((_SHORT_TEXT | size,))
    if size < 256:
        return bytes((_TEXT_OF_256, size))
    if size < 65536:
        return bytes((_TEXT_OF_64K,)) + size.to_bytes(2, "big")
    return bytes((_LONG_TEXT,)) + size.to_bytes(4, "big")


def _unpack_element(packed: bytes) -> Any:
    kind = packed[0]
    if kind & 0xE0 == _SHORT_TEXT:
        return packed[1:]
    if kind in _TEXT_HEADER_BYTES:
        return packed[_TEXT_HEADER_BYTES[kind] :]
    return None if kind in {_NIL, _FALSE} else _decode(packed)
