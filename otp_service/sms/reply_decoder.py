"""Decodes the body of a vendor's reply, whose details must not decide whether a message was taken.

A reply is read once and cannot be asked for again: one that cannot be read is `unknown`, so the
message is sent a second time. So what a dialect does not use may be wrong: a byte order mark, a
Latin-1 byte in a description, a control character in a string, NULs or markup after the JSON, a
member of another type. Compressed bodies are expanded, though the request asks for `identity`.
"""

import json
import zlib
from typing import Any, Final, TypeVar, get_args, get_origin

import msgspec


StructT = TypeVar("StructT", bound=msgspec.Struct)

_ZLIB_FORMATS: Final = {
    "gzip": (zlib.MAX_WBITS | 16,),
    "x-gzip": (zlib.MAX_WBITS | 16,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),  # some servers leave the zlib header out
}
_JSON_DECODER: Final = json.JSONDecoder(strict=False)


def expand_body(body: bytes, content_encoding: str, max_bytes: int) -> bytes | None:
    """Return the body without its compression; None if it has more than `max_bytes`.

    A body that is not what its header says is returned unchanged, as is one of another coding.
    """
    coding = content_encoding.strip().lower()
    for window_bits in _ZLIB_FORMATS.get(coding, ()):
        expander = zlib.decompressobj(window_bits)
        try:
            expanded = expander.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        return expanded if len(expanded) <= max_bytes else None
    return body


def decode_text(body: bytes) -> str:
    """Return the body as text: UTF-8, 16 or 32, without its mark; other octets are replaced."""
    text = body.decode(json.detect_encoding(body), errors="replace")
    return text.strip("\ufeff\0 \t\r\n")


def decode_json(body: bytes) -> Any:
    """Return the JSON value at the beginning of the body. Raises ValueError."""
    text = decode_text(body)
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        value, _ = _JSON_DECODER.raw_decode(text)
    except RecursionError:
        raise ValueError from None
    return value


def decode_or(body: bytes, default: StructT) -> StructT:
    """Return the body as JSON of the type of `default`, or `default` if it is anything else.

    A member with an invalid value is left out, unless it is required.
    """
    try:
        return msgspec.json.decode(body, type=type(default))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _convert_members(decode_json(body), type(default))
    except (ValueError, RecursionError):
        return default


def _convert_members(value: Any, struct_type: type[StructT]) -> StructT:
    """Return the struct, without the optional members that are invalid. Raises ValidationError."""
    if not isinstance(value, dict):
        raise msgspec.ValidationError
    members = {}
    for field in msgspec.structs.fields(struct_type):
        if field.encode_name in value:
            try:
                members[field.name] = _convert(value[field.encode_name], field.type)
            except msgspec.ValidationError:
                if field.required:
                    raise
        elif field.required:
            raise msgspec.ValidationError
    return struct_type(**members)


def _convert(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        options = get_args(kind) if get_origin(kind) is not list else (kind,)
        for option in options or (kind,):
            if get_origin(option) is list and isinstance(value, list):
                return [_convert(item, get_args(option)[0]) for item in value]
            if isinstance(option, type) and issubclass(option, msgspec.Struct):
                return _convert_members(value, option)
        raise
