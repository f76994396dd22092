"""Plain words for what a value must be, made of its type: `must be a whole number from 1 to 65535`.

Requests and settings are refused with the same words. A pattern says nothing to a reader, so a type
that has one states its rule:

    Purpose = Annotated[str, Meta(pattern=..., extra=build_rule("must be a word like 'login'"))]
"""

from collections.abc import Callable
from typing import Any, Final, Literal, get_args, get_origin

from msgspec import inspect


Check = Callable[[str], object]
"""Raises ValueError or InvalidRequest, with the rule as its text, for text that breaks it."""

_JSON_TYPE_WORDS: Final = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "an array"),
    (dict, "an object"),
)


def build_rule(rule: str = "", *, check: Check | None = None) -> dict[str, Any]:
    """Return the `extra` of a Meta: the rule in words, and a check that no type can express."""
    return {"rule": rule, "check": check}


def describe_rule(kind: Any) -> str:
    """Return what a value of a type must be; empty if its words are unknown."""
    described, extra = _unwrap_type(kind)
    if get_origin(kind) is Literal:  # `inspect` sorts its values
        return f"must be one of {', '.join(map(str, get_args(kind)))}"
    return extra.get("rule") or _describe_type(described)


def get_check(kind: Any) -> Check | None:
    """Return the check of a type, if it has one."""
    check: Check | None = _unwrap_type(kind)[1].get("check")
    return check


def describe_json_type(value: object) -> str:
    """Return the type of a JSON value in words."""
    return next((words for kind, words in _JSON_TYPE_WORDS if isinstance(value, kind)), "null")


def is_text(kind: Any) -> bool:
    """Whether the values of a type are text in JSON."""
    described, _ = _unwrap_type(kind)
    return isinstance(described, inspect.StrType | inspect.DateTimeType)


def takes_text(kind: Any) -> bool:
    """Whether values of this type are text: any, or one of a few words."""
    match _unwrap_type(kind)[0]:
        case inspect.EnumType(cls=members):
            return all(isinstance(member.value, str) for member in members)
        case inspect.LiteralType(values=values):
            return all(isinstance(value, str) for value in values)
        case _:
            return is_text(kind)


def _unwrap_type(kind: Any) -> tuple[inspect.Type, dict[str, Any]]:
    """Return the type without its metadata and without null, and the `extra` of its metadata."""
    described = inspect.type_info(kind)
    extra: dict[str, Any] = {}
    while isinstance(described, inspect.Metadata | inspect.UnionType):
        if isinstance(described, inspect.Metadata):
            extra = described.extra or extra
            described = described.type
            continue
        options = [each for each in described.types if not isinstance(each, inspect.NoneType)]
        if len(options) > 1:
            break
        (described,) = options
    return described, extra


def _describe_type(described: inspect.Type) -> str:
    match described:
        case inspect.StrType():
            size = _describe_range(described.min_length, described.max_length)
            return f"must be text of {size} characters" if size else "must be text"
        case inspect.IntType():
            return _describe_number("a whole number", described.ge, described.gt, described.le)
        case inspect.FloatType():
            return _describe_number("a number", described.ge, described.gt, described.le)
        case inspect.BoolType():
            return "must be true or false"
        case inspect.EnumType(cls=members):
            return f"must be one of {', '.join(member.value for member in members)}"
        case _:
            return ""


def _describe_number(
    noun: str, at_least: float | None, over: float | None, at_most: float | None
) -> str:
    if over is None and at_least is None and at_most is None:
        return f"must be {noun}"
    if over is not None:
        size = f"over {over:g}" + ("" if at_most is None else f" and at most {at_most:g}")
    else:
        size = _describe_range(at_least, at_most)
        size = f"of {size}" if at_least is None or at_most is None else f"from {size}"
    return f"must be {noun} {size}"


def _describe_range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least} to {most}"
    if most is not None:
        return f"at most {most}"
    return "" if least is None else f"at least {least}"
