"""Parse bodies and queries into structs; an error names the invalid field.

Nothing is repaired: a duplicate name, an unknown name or half a surrogate pair is refused, because
another parser of the same bytes might interpret them differently. Messages name fields and types,
never values, which may be codes and numbers.
"""

import asyncio
import json
import re
from collections import Counter
from functools import cache
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from otp_service.api.request_context import AuthenticatedRequest, get_header_values
from otp_service.core.errors import InvalidRequest
from otp_service.schemas import EmptyBody


T = TypeVar("T", bound=msgspec.Struct)

MAX_BODY_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 100
"""Name-value pairs of a query or a form."""

MAX_BODY_PARTS: Final = 2_000
"""Chunks, or pieces as they arrive. Each costs some 20 us whatever its size, so a body of 256 KiB in
chunks of one byte would cost 6 s."""

BODY_TIMEOUT_SECONDS: Final = 20.0
"""Seconds from the head of a request until the end of its body."""

_JSON_TYPE: Final = re.compile(rb'(?i)application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?')
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_FIELD_ERROR: Final = re.compile(r"(?s)Object (missing required|contains unknown) field `(.*)`")

# RFC 8941, 3.3.3, or bare. A comma without quotes could be two headers joined by a proxy.
_IDEMPOTENCY_KEY: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"|([!#-+.-~-]*)')
_MAX_KEY_CHARS: Final = 255


async def parse_body(request: AuthenticatedRequest, kind: type[T]) -> T:
    """Return the body as this kind of struct. Raises 413, 415 and 400, in that order."""
    return convert_fields(await parse_body_fields(request), kind)


async def parse_code_body(request: AuthenticatedRequest, kind: type[T]) -> T:
    """Return a body with a code. One that is not text is as malformed as an empty one (R8).

    So it is refused in the same order as every other malformed code, after 404, 410 and 422.
    """
    fields = await parse_body_fields(request)
    if not isinstance(fields.get("code", ""), str):
        fields["code"] = ""
    return convert_fields(fields, kind)


async def require_empty_body(request: AuthenticatedRequest) -> None:
    """Raise InvalidRequest unless the body is missing or an empty object."""
    body = await read_body(request)
    if body:
        convert_fields(_decode_json_object(request, body), EmptyBody)


async def parse_body_fields(request: AuthenticatedRequest) -> dict[str, Any]:
    """Return the fields of the body, of any JSON type."""
    return _decode_json_object(request, await read_body(request))


def parse_query_fields(request: AuthenticatedRequest) -> dict[str, Any]:
    """Return the fields of the query, all of them text."""
    return _decode_urlencoded(request.scope["query_string"])


async def parse_form_fields(request: AuthenticatedRequest) -> dict[str, str]:
    """Return the fields of an HTML form, all of them text."""
    if [value.lower() for value in get_header_values(request, b"content-type")] != [_FORM_TYPE]:
        raise HTTPException(status_code=415)
    return _decode_urlencoded(await read_body(request))


def parse_idempotency_key(request: AuthenticatedRequest) -> str | None:
    """Return the Idempotency-Key; the quoted and the bare form are the same key."""
    values = get_header_values(request, b"idempotency-key")
    if not values:
        return None
    match = _IDEMPOTENCY_KEY.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    quoted, bare = match.groups() if match else (None, None)
    key = bare if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
    if not key or len(key) > _MAX_KEY_CHARS:
        message = "send it once: 1 to 255 visible ASCII characters, or quoted"
        _raise_invalid_request("Idempotency-Key", message)
    return str(key, "ascii")


def convert_fields(fields: dict[str, Any], kind: type[T]) -> T:
    """Return the fields as a struct. Raises InvalidRequest with the invalid field.

    An optional field that is null counts as missing, also one whose default is not null.
    """
    optional = _list_optional_fields(kind)
    given = {name: v for name, v in fields.items() if v is not None or name not in optional}
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_describe_validation_error(str(error))) from None


@cache
def _list_optional_fields(kind: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind) if not field.required)


async def read_body(request: Request[Any, Any, Any], max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body, chunked or not. Raises 408, 413, and 415 for a content coding."""
    announced = get_header_values(request, b"content-length")
    if any(size.isdigit() and int(size[:9]) > max_bytes for size in announced):
        raise RequestEntityTooLarge
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await _receive_body(request, max_bytes)
    except TimeoutError:
        raise HTTPException(status_code=408) from None
    if body and get_header_values(request, b"content-encoding"):
        raise HTTPException(status_code=415)
    return body


async def _receive_body(request: Request[Any, Any, Any], max_bytes: int) -> bytes:
    body = bytearray()
    for _ in range(MAX_BODY_PARTS):
        event = await request.receive()
        if event["type"] != "http.request":
            _raise_invalid_request("", "the body is shorter than its Content-Length")
        body += event.get("body", b"")
        if len(body) > max_bytes:
            raise RequestEntityTooLarge
        if not event.get("more_body"):
            return bytes(body)
    raise RequestEntityTooLarge


def _decode_json_object(request: AuthenticatedRequest, body: bytes) -> dict[str, Any]:
    types = get_header_values(request, b"content-type")
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip()):
        raise HTTPException(status_code=415)
    try:
        fields = _JSON_DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        _raise_invalid_request("", "the body must be one JSON object in UTF-8")
    if not isinstance(fields, dict):
        _raise_invalid_request("", "the body must be a JSON object")
    return fields


def _decode_urlencoded(text: bytes) -> dict[str, str]:
    """Return the fields of a query or of a form body."""
    if not text:
        return {}
    if text.count(b"&") >= MAX_FIELDS:
        _raise_invalid_request("", f"must be at most {MAX_FIELDS} name=value pairs")
    try:
        query = text.decode("ascii")
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        _raise_invalid_request("", "must be name=value pairs, percent-encoded in UTF-8")
    return _require_unique_names(pairs)


def _require_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dictionary; names must be unique and encodable as UTF-8."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        duplicate = next(name for name, count in counts.items() if count > 1)
        _raise_invalid_request(_redact_field_name(duplicate), "is sent more than once")
    for name, value in pairs:
        name.encode()
        if isinstance(value, str):
            value.encode()  # half a surrogate pair is a ValueError
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _raise_invalid_request(path: str, message: str) -> NoReturn:
    raise InvalidRequest((path, message)) from None


def _describe_validation_error(text: str) -> tuple[str, str]:
    field = _FIELD_ERROR.match(text)
    if field:
        is_missing = field[1].startswith("missing")
        message = "is missing" if is_missing else "is not a field of this request"
        return _redact_field_name(field[2]), message
    what, _, path = text.partition(" - at `$.")
    # Patterns are shown in the syntax of JavaScript, as in openapi.py.
    return path.rstrip("`"), what[:1].lower() + what[1:].replace(r"\\Z", "$")


def _redact_field_name(name: str) -> str:
    """Return the name if it looks like one, or empty: other text could be a number."""
    return name if _FIELD_NAME.fullmatch(name) else ""


_JSON_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_require_unique_names, parse_constant=_reject_constant
)
