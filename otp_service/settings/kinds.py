"""What the reader and the environment have to know of the types in `model`."""

import base64
import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from otp_service.core.limits import Window
from otp_service.core.secret import Secret


def key_bytes(text: Any) -> bytes:
    """Return the secret that base64url stands for; Python's own decoder skips what is none."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]+={0,2}", text, re.ASCII):
        raise ValueError("must be base64url of at least 32 random bytes")
    digits = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    except ValueError:
        raise ValueError("must be base64url of at least 32 random bytes") from None


def window(text: Any) -> Window:
    """Return the window that '5 in 10 min' stands for."""
    if not isinstance(text, str):
        raise TypeError("write a limit like '5 in 10 min' or '10 in 1 d'")
    return Window.read(text)


SECRETS: Mapping[Any, Callable[[Any], Any]] = {Secret: Secret, bytes: key_bytes}
"""The types that may also come from a file, named by the same setting with _file behind it."""

LEAVES: Mapping[Any, Callable[[Any], Any]] = {**SECRETS, Window: window}
"""The types that msgspec does not read by itself, and what reads them."""


def bare(kind: Any) -> Any:
    """Return the type without `| None`: TOML has no null."""
    if get_origin(kind) in {Union, UnionType}:
        options = [option for option in get_args(kind) if option is not NoneType]
        return Union[tuple(options)]  # noqa: UP007  # `|` cannot join a list of types
    return kind


def structs(kind: Any) -> dict[str, Any]:
    """Return the structs that may stand here, by tag; none where the type is something else."""
    kind = bare(kind)
    options = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    if kind in LEAVES or not all(_is_struct(option) for option in options):
        return {}
    return {str(option.__struct_config__.tag): option for option in options}


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def is_secret(kind: Any) -> bool:
    """Whether this is a secret, which may also come from a file."""
    return bare(kind) in SECRETS


def choices(kind: Any) -> list[str]:
    """Return the values of an enum or a Literal; none for other types."""
    if get_origin(kind) is Literal:
        return [str(option) for option in get_args(kind)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(option.value) for option in kind]
    return []


def remedy(kind: Any, value: Any, error: Exception) -> str:
    """Return what a value of this type has to be, without the value: it may be a secret."""
    for meta in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    if options := choices(kind):
        return f"must be one of {', '.join(options)}{hint(str(value), options)}"
    return str(error).replace("Expected", "must be").replace("`", "")


def hint(name: str, known: Iterable[str]) -> str:
    """Return a suggestion for a misspelled name, if one is near."""
    lower = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1)
    return f"; did you mean {lower[close[0]]}?" if close else ""


def joined(path: str, name: str) -> str:
    """Return the dotted name of a setting."""
    return f"{path}.{name}" if path else name
