"""JSON lines that commands read: one object a line, refused without repeating any of its values."""

import json
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import msgspec

from otp_service.core.value_rule import describe_json_type, describe_rule, takes_text


MAX_LINE_CHARS = 64 * 1024

Members: TypeAlias = dict[str, Any]
StructT = TypeVar("StructT", bound=msgspec.Struct)


class InvalidLine(ValueError):
    """A line cannot be converted; the text says why, without a value of the line."""


def parse_json_line(text: str) -> Members:
    """Return the members of a JSON object. Raises InvalidLine, also for a duplicate name."""
    if len(text) > MAX_LINE_CHARS:
        raise InvalidLine(f"has more than {MAX_LINE_CHARS:,} characters")
    try:
        members = json.loads(text, object_pairs_hook=_build_object)
    except InvalidLine:
        raise
    except (ValueError, RecursionError):
        raise InvalidLine("is not valid JSON in UTF-8; each line must be one object") from None
    if not isinstance(members, dict):
        raise InvalidLine("is not a JSON object; each line must be one")
    return members


def _build_object(pairs: list[tuple[str, Any]]) -> Members:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidLine("has a member twice")
    return members


def convert_members(members: Members, struct_type: type[StructT]) -> StructT:
    """Return the members as this struct. Raises InvalidLine, with all that is wrong with them."""
    known = struct_type.__struct_fields__
    if members.keys() - set(known):
        raise InvalidLine(f"has an unknown member; those known are {', '.join(known)}")
    fields = msgspec.structs.fields(struct_type)
    if issues := [issue for field in fields for issue in _find_member_issue(field, members)]:
        raise InvalidLine(", and ".join(issues))
    return msgspec.convert(members, struct_type)


def _find_member_issue(field: msgspec.structs.FieldInfo, members: Members) -> Iterator[str]:
    """Yield that a member is missing or of another type, without its value."""
    if field.name not in members:
        if field.required:
            yield f"{field.name} is missing"
        return
    try:
        msgspec.convert(members[field.name], field.type)
    except msgspec.ValidationError:
        other = _describe_other_type(field.type, members[field.name])
        yield f"{field.name} {describe_rule(field.type)}{other}"


def _describe_other_type(kind: Any, value: object) -> str:
    """Return the type of a value that is no value of `kind`; empty where the rule says enough.

    Such as 6.5, where the rule says which numbers, and text in the wrong form.
    """
    given = describe_json_type(value)
    is_enough = given == ("text" if takes_text(kind) else "a number")
    return "" if is_enough else f", not {given}"
