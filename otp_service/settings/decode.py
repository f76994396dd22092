"""Reads TOML's values into the structs of `model`, and names every fault, not only the first.

`msgspec.convert` stops at the first value that does not fit, and cannot say in which of several
tenants it stood. So tables and arrays are walked here, and msgspec is asked about one value at a
time; it also reads what the environment has as text. No text of a fault shows a value.
"""

import base64
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from otp_service.core.keys import Key, Ring
from otp_service.core.limits import Window
from otp_service.core.secret import Secret


ReadFile = Callable[[str], str]


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with which setting, and what to do about it."""

    setting: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.remedy}"


class SettingsError(ValueError):
    """The configuration cannot be read; `faults` says all that has to be corrected."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


def key_bytes(text: str) -> bytes:
    """Return the secret that base64url stands for, its end filled up or not."""
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


LEAVES: Mapping[Any, tuple[Callable[[str], Any], str]] = {
    Secret: (Secret, "must be a string that is not empty"),
    bytes: (key_bytes, "must be base64url of at least 32 random bytes"),
    Window: (Window.read, "write a limit like '5 in 10 min' or '10 in 1 d'"),
}
"""What msgspec does not read by itself: by which function, and what a fault says."""


class Reader:
    """Reads one configuration. What cannot be read is noted in `faults`, and stands as UNSET."""

    def __init__(self, read_file: ReadFile) -> None:
        self._read_file = read_file
        self.faults: list[Fault] = []

    def note(self, setting: str, remedy: str) -> Any:
        """Note a fault, and return what stands for the value that has it."""
        self.faults.append(Fault(setting, remedy))
        return msgspec.UNSET

    def read(self, value: Any, kind: Any, path: str) -> Any:
        """Return the value as this type."""
        options = _options(kind)
        kind = options[0] if len(options) == 1 else kind
        if value is msgspec.UNSET:
            return value
        if kind is Ring:
            return Ring(self._array(value, tuple[Key, ...], path))
        if kind not in LEAVES and all(_is_struct(option) for option in options):
            return self._struct(value, options, path)
        origin = get_origin(kind)
        if origin is dict:
            return self._table(value, kind, path)
        return (self._array if origin in {tuple, frozenset} else self._leaf)(value, kind, path)

    def _struct(self, value: Any, options: tuple[Any, ...], path: str) -> Any:
        if not isinstance(value, dict):
            return self.note(path, "must be a table of settings")
        tag = options[0].__struct_config__.tag_field
        structs = {str(option.__struct_config__.tag): option for option in options}
        struct = structs.get(str(value.get(tag)))
        if struct is None:
            return self.note(joined(path, tag), f"must be one of {', '.join(structs)}")
        value = self._with_files(value, path)
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        for name in sorted(value.keys() - fields.keys() - {tag}):
            self.note(joined(path, name), f"is not a setting: there are {', '.join(fields)}")
        read = {}
        for name, field in fields.items():
            if name in value:
                read[field.name] = self.read(value[name], field.type, joined(path, name))
            elif field.required:
                read[field.name] = self.note(joined(path, name), "is missing")
        return struct(**read)

    def _table(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.note(path, "must be a table")
        of_name, of_item = get_args(kind)
        value = self._with_files(value, path) if of_item is Secret else value
        read = {}
        for name, item in value.items():
            setting = joined(path, name)
            read[self._leaf(name, of_name, setting)] = self.read(item, of_item, setting)
        return read

    def _array(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self.note(path, "must be an array, in square brackets")
        of_item = get_args(kind)[0]
        read = [self.read(item, of_item, f"{path}[{i}]") for i, item in enumerate(value)]
        return (get_origin(kind) or tuple)(read)

    def _leaf(self, value: Any, kind: Any, path: str) -> Any:
        make, remedy = LEAVES.get(kind, (None, None))
        try:
            return make(value) if make else msgspec.convert(value, kind, strict=False)
        except (ValueError, TypeError) as error:
            return self.note(path, remedy or _remedy(kind, error))

    def _with_files(self, table: dict[str, Any], path: str) -> dict[str, Any]:
        """Return the table with NAME for each NAME_file: what stands in that file."""
        read = {}
        for name, value in table.items():
            known = name.removesuffix("_file")
            if known in table and known != name:
                self.note(joined(path, known), f"stands beside {name}: give one of them")
            read[known] = value if known == name else self._content(value, joined(path, name))
        return read

    def _content(self, path: Any, setting: str) -> Any:
        try:
            # Editors and `echo` end a file with a line break that is no part of the secret.
            return self._read_file(path).rstrip("\r\n")
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a file of text"
            return self.note(setting, f"cannot be read: {reason}")


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union without None, which TOML does not have."""
    if get_origin(kind) in {Union, UnionType}:
        return tuple(option for option in get_args(kind) if option is not NoneType)
    return (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _remedy(kind: Any, error: Exception) -> str:
    """Return what a value of this type has to be."""
    if get_origin(kind) is Annotated and (description := kind.__metadata__[0].description):
        return str(description)
    is_enum = isinstance(kind, type) and issubclass(kind, StrEnum)
    choices = list(kind) if is_enum else get_args(kind) if get_origin(kind) is Literal else ()
    if choices:
        return f"must be one of {', '.join(choices)}"
    return str(error).replace("Expected", "must be").replace("`", "")


def joined(path: str, name: str) -> str:
    """Return the dotted name of a setting."""
    return f"{path}.{name}" if path else name
