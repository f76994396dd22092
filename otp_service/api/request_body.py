"""Parse bodies, queries and Idempotency-Keys; one error names everything that is invalid.

Nothing is repaired: a duplicate name, an unknown name or half a surrogate pair is refused, because
another parser of the same bytes might interpret them differently.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from otp_service.api.field_errors import (
    CODE_FIELD,
    REPEATED_NAME_MESSAGE,
    ParsedFields,
    build_invalid_request,
    find_field_errors,
    is_attempt,
    list_rules,
    redact_path,
)
from otp_service.api.request_context import AuthenticatedRequest, get_header_values
from otp_service.core.errors import InvalidRequest
from otp_service.core.tenant import CODE_RULE, Tenant
from otp_service.schemas import (
    DeliveryRequest,
    EmptyBody,
    IssueRequest,
    VerifyAuthenticatorRequest,
    VerifyRecoveryCodeRequest,
    VerifyRequest,
)


T = TypeVar("T", bound=msgspec.Struct)

LOGIN_KINDS: Final = frozenset(
    {
        *(IssueRequest, DeliveryRequest, VerifyRequest),
        *(VerifyAuthenticatorRequest, VerifyRecoveryCodeRequest),
    }
)
"""Bodies with a client's address, to which `requires` of a tenant applies. It is no filter of events."""

MAX_BODY_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 100
"""Name-value pairs of a query or a form."""

MAX_BODY_PARTS: Final = 2_000
"""Chunks, or pieces as they arrive. Each costs some 20 us whatever its size, so a body of 256 KiB in
chunks of one byte would cost 6 s."""

BODY_TIMEOUT_SECONDS: Final = 20.0
"""Seconds from the head of a request until the end of its body."""

_JSON_TYPE: Final = re.compile(rb'(?i)application/json\s*(;\s*charset\s*=\s*("utf-8"|utf-8)\s*)?')
FORM_TYPE: Final = b"application/x-www-form-urlencoded"
_SHORT_NUMBER: Final = re.compile("[0-9]{1,8}")  # int() of a longer text takes time

# RFC 8941, 3.3.3, or bare. A comma without quotes could be two headers joined by a proxy.
_IDEMPOTENCY_KEY: Final = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"|([!#-+.-~-]*)')
_MAX_KEY_CHARS: Final = 255


async def parse_body(request: AuthenticatedRequest, kind: type[T]) -> T:
    """Return the body as this kind of struct. Raises 413, 415 and 400, in that order.

    A body of `EmptyBody` may be missing.
    """
    body = await read_body(request)
    is_missing = not body and kind is EmptyBody
    fields = ParsedFields() if is_missing else _decode_json_object(request, body)
    return convert_fields(fields, kind, _get_tenant(request))


async def parse_call(request: AuthenticatedRequest, kind: type[T]) -> tuple[T, str | None]:
    """Return the body, and the Idempotency-Key. Raises as `parse_body`, with the errors of both."""
    key, key_errors = None, tuple[tuple[str, str], ...]()
    try:
        key = parse_idempotency_key(request)
    except InvalidRequest as error:
        key_errors = error.errors
    try:
        body = await parse_body(request, kind)
    except InvalidRequest as error:
        raise InvalidRequest(*error.errors, *key_errors) from None
    if key_errors:
        raise InvalidRequest(*key_errors)
    return body, key


def parse_query(request: AuthenticatedRequest, kind: type[T]) -> T:
    """Return the query as this kind of struct. Raises InvalidRequest."""
    fields = decode_urlencoded(request.scope["query_string"])
    for name, rule in list_rules(kind).items():
        text = fields.get(name, "")
        if not rule.is_text and _SHORT_NUMBER.fullmatch(text):
            fields[name] = int(text)
    return convert_fields(fields, kind, _get_tenant(request))


def parse_query_fields(request: AuthenticatedRequest) -> dict[str, str]:
    """Return the fields of the query, all of them text."""
    return _require_unique_names(decode_urlencoded(request.scope["query_string"]))


async def parse_form_fields(request: AuthenticatedRequest) -> dict[str, str]:
    """Return the fields of an HTML form, all of them text."""
    if [value.lower() for value in get_header_values(request, b"content-type")] != [FORM_TYPE]:
        raise HTTPException(status_code=415)
    return _require_unique_names(decode_urlencoded(await read_body(request)))


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


def convert_fields(fields: Mapping[str, Any], kind: type[T], tenant: Tenant | None = None) -> T:
    """Return the fields as a struct. Raises InvalidRequest with every error.

    An optional field that is null counts as missing, also one whose default is not null. `tenant` is
    the caller's, whose `requires` applies.
    """
    rules = list_rules(kind)
    refused = _find_tenant_errors(tenant, fields, kind) if tenant and kind in LOGIN_KINDS else ()
    if errors := [*find_field_errors(fields, kind), *refused]:  # each is listed once
        raise build_invalid_request(errors)
    given = {k: v for k, v in fields.items() if v is not None or rules[k].is_required}
    if CODE_FIELD in given and is_attempt(kind) and not isinstance(given[CODE_FIELD], str):
        given[CODE_FIELD] = ""
    return msgspec.convert(given, kind)


def _find_tenant_errors(
    tenant: Tenant, fields: Mapping[str, Any], kind: type[msgspec.Struct]
) -> Iterator[tuple[str, str]]:
    """Yield what the tenant's settings refuse in a call for a login: members, and a code."""
    rules = list_rules(kind)
    for name, message in tenant.find_missing_members(fields):
        if not rules[name].is_required:  # else it is reported for every tenant
            yield name, message
    if kind is IssueRequest:
        yield from tenant.find_untrusted_members(fields)
    code = fields.get(CODE_FIELD)
    if kind is DeliveryRequest and isinstance(code, str) and not tenant.can_deliver(code):
        yield CODE_FIELD, CODE_RULE


def _get_tenant(request: AuthenticatedRequest) -> Tenant | None:
    """Return the tenant of the caller; None on the pages of the admin listener."""
    caller = request.scope.get("auth")
    return None if caller is None else caller.tenant


async def read_body(request: Request[Any, Any, Any], max_bytes: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body, chunked or not. Raises 408, 413, and 415 for a content coding."""
    announced = get_header_values(request, b"content-length")
    if any(size.isdigit() and int(size[:9]) > max_bytes for size in announced):
        raise _build_too_large(max_bytes)
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
            raise _build_too_large(max_bytes)
        if not event.get("more_body"):
            return bytes(body)
    raise _build_too_large(max_bytes)


def _decode_json_object(request: AuthenticatedRequest, body: bytes) -> ParsedFields:
    types = get_header_values(request, b"content-type")
    if len(types) != 1 or not _JSON_TYPE.fullmatch(types[0].strip()):
        raise HTTPException(status_code=415)
    try:
        fields = JSON_DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        _raise_invalid_request("", "the body must be one JSON object in UTF-8")
    if not isinstance(fields, ParsedFields):
        _raise_invalid_request("", "the body must be a JSON object")
    return fields


def decode_urlencoded(text: bytes) -> ParsedFields:
    """Return the fields of a query or of a form body."""
    if not text:
        return ParsedFields()
    if text.count(b"&") >= MAX_FIELDS:
        _raise_invalid_request("", f"must be at most {MAX_FIELDS} name=value pairs")
    try:
        query = text.decode("ascii")
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        _raise_invalid_request("", "must be name=value pairs, percent-encoded in UTF-8")
    return _collect_fields(pairs)


def _collect_fields(pairs: list[tuple[str, Any]]) -> ParsedFields:
    """Return the pairs by name. Raises ValueError if a name or a text cannot be encoded as UTF-8."""
    fields = ParsedFields(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        fields.repeated_names = tuple(name for name, count in counts.items() if count > 1)
    for name, value in pairs:
        name.encode()
        if isinstance(value, str):
            value.encode()  # half a surrogate pair is a ValueError
    return fields


def _require_unique_names(fields: ParsedFields) -> ParsedFields:
    """Return the fields. Raises InvalidRequest if a name was sent more than once."""
    if fields.repeated_names:
        paths = map(redact_path, fields.repeated_names)
        raise build_invalid_request((path, REPEATED_NAME_MESSAGE) for path in paths)
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _build_too_large(max_bytes: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(extra={"max_bytes": max_bytes})  # for the detail of the problem


def _raise_invalid_request(path: str, message: str) -> NoReturn:
    raise InvalidRequest((path, message)) from None


JSON_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_collect_fields, parse_constant=_reject_constant
)
"""Decodes an object as ParsedFields. Raises ValueError and RecursionError."""
