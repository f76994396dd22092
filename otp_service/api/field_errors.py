"""Every error of a request's fields at once, each with its path, in plain words.

Messages state the rule of a field, never its value, which may be a code or a number. How many are
listed is bounded: a body of 16 KiB can have thousands of unknown fields.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from otp_service.core.errors import InvalidRequest
from otp_service.core.value_rule import (
    Check,
    describe_json_type,
    describe_rule,
    get_check,
    is_text,
)
from otp_service.schemas import DeliveryRequest


FieldErrorPair = tuple[str, str]
"""The path of a field, and what is wrong with it."""

MAX_LISTED_ERRORS: Final = 20

CODE_FIELD: Final = "code"
"""The code of an attempt that is not text is as malformed as an empty one (R8), and is refused in the order
of every other malformed code: after 404, 410 and 422."""

REPEATED_NAME_MESSAGE: Final = "is sent more than once"

_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z_]{0,37}[0-9]{0,2}")
"""A name without the digits of a number, a code, a key or a secret, also behind a letter."""

_MAX_PATH_NAMES: Final = 4


class FieldRule(NamedTuple):
    """What one field of a request must be."""

    kind: Any
    is_required: bool
    is_text: bool
    rule: str
    check: Check | None


class ParsedFields(dict[str, Any]):
    """The names and values of a JSON object or a query, and the names that were sent repeatedly."""

    repeated_names: tuple[str, ...] = ()


def find_field_errors(
    fields: Mapping[str, Any], kind: type[msgspec.Struct]
) -> Iterator[FieldErrorPair]:
    """Yield the errors of known fields, then repeated names at any depth, then unknown names.

    An optional field that is null counts as missing. `find_member_errors` of a kind adds errors of several
    fields together.
    """
    rules = list_rules(kind)
    for name, rule in rules.items():
        if name not in fields:
            message = "is missing" if rule.is_required else ""
        else:
            is_checked_later = name == CODE_FIELD and is_attempt(kind)
            message = "" if is_checked_later else _find_value_error(fields[name], rule)
        if message:
            yield name, message
    if find_member_errors := getattr(kind, "find_member_errors", None):
        yield from find_member_errors(fields)
    yield from _find_repeated_names(fields)
    for name in fields:
        if name not in rules:
            yield redact_path(name), "is not a field of this request"


def is_attempt(kind: type[msgspec.Struct]) -> bool:
    """Whether the code of this request was typed by a person; a delivery has one of a program."""
    return kind is not DeliveryRequest


@cache
def list_rules(kind: type[msgspec.Struct]) -> dict[str, FieldRule]:
    """Return the rule of each field of a request."""
    return {
        field.encode_name: FieldRule(
            field.type,
            field.required,
            is_text(field.type),
            describe_rule(field.type),
            get_check(field.type),
        )
        for field in msgspec.structs.fields(kind)
    }


def build_invalid_request(errors: Iterable[FieldErrorPair]) -> InvalidRequest:
    """Return the error that lists these, each once, and says how many it leaves out."""
    unique = [*dict.fromkeys(errors)]
    listed, left_out = unique[:MAX_LISTED_ERRORS], len(unique) - MAX_LISTED_ERRORS
    if left_out > 0:
        listed.append(("", f"the other errors ({left_out}) are not listed"))
    return InvalidRequest(*listed)


def redact_path(*names: str) -> str:
    """Return the path of these names; empty if it is long, or a name looks like a value.

    It could be a number, a code or a key in the wrong place (R68).
    """
    is_readable = len(names) <= _MAX_PATH_NAMES and all(map(_FIELD_NAME.fullmatch, names))
    return ".".join(names) if is_readable else ""


def _find_value_error(value: Any, rule: FieldRule) -> str:
    """Return what is wrong with a value; empty if it obeys its rule."""
    if value is None and not rule.is_required:
        return ""
    if rule.is_text and not isinstance(value, str):
        return f"must be text, not {describe_json_type(value)}"
    try:
        msgspec.convert(value, rule.kind)
        if rule.check:
            rule.check(value)
    except msgspec.ValidationError:
        return rule.rule
    except InvalidRequest as error:
        return error.errors[0][1]
    except ValueError as error:
        return str(error)
    return ""


def _find_repeated_names(fields: Mapping[str, Any]) -> Iterator[FieldErrorPair]:
    """Yield the path of each name that an object, at any depth, has more than once."""
    containers: list[tuple[tuple[str, ...], Any]] = [((), fields)]
    while containers:
        path, value = containers.pop()
        items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
        for name in getattr(value, "repeated_names", ()):
            yield redact_path(*path, name), REPEATED_NAME_MESSAGE
        for name, item in items:
            if isinstance(item, dict | list):
                longer = (*path, name) if name is not None else path
                containers.append((longer[: _MAX_PATH_NAMES + 1], item))
