"""What comes in: a body or a query becomes a struct, or the refusal says which field is wrong.

Nothing is repaired and nothing is guessed: one name twice, a name we do not know, or half a
surrogate pair is refused, for another reader of the same bytes might read them otherwise. The
messages name fields and types, never values: those may be codes and numbers.
"""

import json
import re
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from otp_service.api.context import Call, header
from otp_service.core.errors import InvalidRequest
from otp_service.schemas import Nothing


T = TypeVar("T")

MOST_BYTES: Final = 16 * 1024

_JSON_TYPE: Final = re.compile(
    rb'application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?', re.IGNORECASE
)
_FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_FIELD: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)

# RFC 8941, 3.3.3, or bare. Without quotes a comma could be two headers that a proxy has joined.
_KEY: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"|([!#-+.-~-]*)')
_KEY_LENGTH: Final = 255


async def read(request: Call, kind: type[T]) -> T:
    """Return the body as this kind of struct. Raises 413, 415 and 400, in that order."""
    return into(await read_fields(request), kind)


async def read_nothing(request: Call) -> None:
    """Make sure that the body, if there is one, asks for nothing."""
    body = await body_of(request)
    if body:
        into(_fields(request, body), Nothing)


async def read_fields(request: Call) -> dict[str, Any]:
    """Return the body's fields, of whatever types they are."""
    return _fields(request, await body_of(request))


def query_fields(request: Call) -> dict[str, Any]:
    """Return the query's fields, all of them text."""
    return _named(request.scope["query_string"])


async def form_fields(request: Call) -> dict[str, str]:
    """Return the fields of a form that a browser has sent, all of them text."""
    if [value.lower() for value in header(request, b"content-type")] != [_FORM_TYPE]:
        raise HTTPException(status_code=415)
    return _named(await body_of(request))


def idempotency_key(request: Call) -> str | None:
    """Return the Idempotency-Key; quoted or bare, it is the same key."""
    values = header(request, b"idempotency-key")
    if not values:
        return None
    match = _KEY.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    quoted, bare = match.groups() if match else (None, None)
    key = bare if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
    if not key or len(key) > _KEY_LENGTH:
        _refuse("Idempotency-Key", "send it once: 1 to 255 visible ASCII characters, or quoted")
    return str(key, "ascii")


def into(fields: dict[str, Any], kind: type[T]) -> T:
    """Return the fields as this kind of struct."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_told(str(error))) from None


async def body_of(request: Request[Any, Any, Any], most: int = MOST_BYTES) -> bytes:
    """Return the whole body: bounded, chunked or not, and whatever length it announced."""
    announced = header(request, b"content-length")
    if any(size.isdigit() and int(size[:9]) > most for size in announced):
        raise RequestEntityTooLarge
    body = b""
    while True:
        event = await request.receive()
        if event["type"] != "http.request":
            _refuse("", "the body ended before its length")
        body += event.get("body", b"")
        if len(body) > most:
            raise RequestEntityTooLarge
        if not event.get("more_body"):
            return body


def _fields(request: Call, body: bytes) -> dict[str, Any]:
    types = header(request, b"content-type")
    is_plain = not header(request, b"content-encoding")
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip()) or not is_plain:
        raise HTTPException(status_code=415)
    try:
        fields = _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        _refuse("", "the body must be one JSON object in UTF-8")
    if not isinstance(fields, dict):
        _refuse("", "the body must be a JSON object")
    return fields


def _named(text: bytes) -> dict[str, str]:
    """Return the fields of a query, or of a form that is written like one."""
    if not text:
        return {}
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except ValueError:
        _refuse("", "must be name=value pairs, percent-encoded in UTF-8")
    return _unique(pairs)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dictionary, if each name is there once and all of it is text."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(_shown(twice), "is there more than once")
    for name, value in pairs:
        name.encode()
        if isinstance(value, str):
            value.encode()  # half a surrogate pair is a ValueError
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _refuse(path: str, message: str) -> NoReturn:
    raise InvalidRequest((path, message)) from None


def _told(text: str) -> tuple[str, str]:
    """Return path and message of what msgspec found wrong."""
    field = _FIELD.match(text)
    if field:
        is_missing = field[1].startswith("missing")
        return _shown(field[2]), "is missing" if is_missing else "is not a field of this request"
    what, _, path = text.partition(" - at `$.")
    # The documented patterns are those of JavaScript, as in openapi.py.
    return path.rstrip("`"), what[:1].lower() + what[1:].replace(r"\\Z", "$")


def _shown(name: str) -> str:
    """Return a field's name if it looks like one: what is not could be anything, even a number."""
    return name if _NAME.fullmatch(name) else ""


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
