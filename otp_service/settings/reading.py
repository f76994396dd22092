"""Reads TOML's values into the structs of `model`, and names every fault, not only the first.

`msgspec.convert` stops at the first value that does not fit, and cannot say in which of several
tenants it stood. So structs, tables and arrays are walked here, and msgspec is asked about one
value at a time. Texts of faults name types and choices, never the value of a secret.
"""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any, get_args, get_origin

import msgspec

from otp_service.core.keys import Key, Ring
from otp_service.settings.kinds import (
    LEAVES,
    SECRETS,
    bare,
    hint,
    is_secret,
    joined,
    remedy,
    structs,
)


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


class Raw(msgspec.Struct, frozen=True):
    """What an environment variable holds."""

    variable: str
    text: str

    def __repr__(self) -> str:
        return f"Raw({self.variable})"

    def toml(self) -> Any:
        """Return the text as a TOML value; ValueError if it is none."""
        document = tomllib.loads(f"value = {self.text}")
        if document.keys() != {"value"}:
            raise ValueError("this is more than one value")
        return document["value"]

    def readings(self, kind: Any) -> Iterator[Any]:
        """Give TOML's value, so that numbers and arrays can be written, then the text itself.

        A secret is only ever the text: quotes and a '#' may be part of a password.
        """
        if kind not in SECRETS:
            with suppress(ValueError):
                yield self.toml()
        yield self.text


class Broken(Enum):
    """Stands for a value whose fault has been noted."""

    BROKEN = 0


BROKEN = Broken.BROKEN


class Reader:
    """Reads one configuration; what cannot be read is noted in `faults`."""

    def __init__(self, read_file: ReadFile) -> None:
        self._read_file = read_file
        self.faults: list[Fault] = []

    def note(self, setting: str, remedy: str) -> Broken:
        """Note a fault, and stand for the value that has it."""
        self.faults.append(Fault(setting, remedy))
        return BROKEN

    def read(self, value: Any, kind: Any, path: str) -> Any:
        """Return the value as this type, or BROKEN."""
        kind = bare(kind)
        origin = get_origin(kind)
        if isinstance(value, Raw):
            return self._variable(value, kind, path)
        if kind is Ring:
            keys = self._array(value, tuple[Key, ...], path)
            return keys if keys is BROKEN else Ring(keys)
        if structs(kind):
            return self._struct(value, kind, path)
        if origin is dict:
            return self._table(value, kind, path)
        return (self._array if origin in {tuple, frozenset} else self._leaf)(value, kind, path)

    def _variable(self, raw: Raw, kind: Any, path: str) -> Any:
        """Take the first reading that fits; if none does, say what is wrong with the first."""
        before = len(self.faults)
        first: list[Fault] = []
        for value in raw.readings(kind):
            result = self.read(value, kind, path)
            if result is not BROKEN:
                return result
            first = first or self.faults[before:]
            del self.faults[before:]
        for fault in first:
            self.note(fault.setting, f"{fault.remedy} (in {raw.variable})")
        return BROKEN

    def _struct(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.note(path, "must be a table of settings")
        struct = self._member(value, structs(kind), path)
        if struct is BROKEN:
            return BROKEN
        fields = msgspec.structs.fields(struct)
        known = {field.encode_name for field in fields}
        known |= {f"{field.encode_name}_file" for field in fields if is_secret(field.type)}
        unknown = sorted(value.keys() - known - {struct.__struct_config__.tag_field})
        for name in unknown:
            self.note(joined(path, name), f"is not a setting{hint(name, known)}")
        read = {field.name: self._field(value, field, path) for field in fields}
        if unknown or BROKEN in read.values():
            return BROKEN
        return struct(**{name: item for name, item in read.items() if item is not msgspec.UNSET})

    def _member(self, value: dict[str, Any], union: dict[str, Any], path: str) -> Any:
        """Return the struct that is meant, by its tag where there are several."""
        field = next(iter(union.values())).__struct_config__.tag_field
        if field is None:
            return next(iter(union.values()))
        tag = value.get(field)
        tag = tag.text if isinstance(tag, Raw) else tag
        if isinstance(tag, str) and tag in union:
            return union[tag]
        return self.note(joined(path, field), f"must be one of {', '.join(sorted(union))}")

    def _field(self, value: dict[str, Any], field: msgspec.structs.FieldInfo, path: str) -> Any:
        """Return what stands there, or UNSET for the default."""
        name, secret = field.encode_name, is_secret(field.type)
        setting = joined(path, name)
        if secret and f"{name}_file" in value:
            if name in value:
                return self.note(setting, f"stands beside {name}_file: give one of them")
            return self._secret_file(value[f"{name}_file"], field.type, f"{setting}_file")
        if name in value:
            return self.read(value[name], field.type, setting)
        if field.required:
            return self.note(setting, f"is missing{f': give it or {name}_file' if secret else ''}")
        return msgspec.UNSET

    def _secret_file(self, path: Any, kind: Any, setting: str) -> Any:
        path = path.text if isinstance(path, Raw) else path
        if not isinstance(path, str) or not path:
            return self.note(setting, "must be the path of a file")
        try:
            text = self._read_file(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            return self.note(setting, f"cannot be read: {reason}")
        # Editors and `echo` end a file with a line break that is no part of the secret.
        return self.read(text.rstrip("\r\n"), kind, setting)

    def _table(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.note(path, "must be a table")
        of_name, of_item = get_args(kind)
        read = {}
        for name, item in value.items():
            setting = joined(path, name)
            known = name.removesuffix("_file") if is_secret(of_item) else name
            if known != name and known in value:
                self.note(setting, f"stands beside {known}: give one of them")
            get = self.read if known == name else self._secret_file
            read[self._name(known, of_name, setting)] = get(item, of_item, setting)
        return BROKEN if BROKEN in read or BROKEN in read.values() else read

    def _name(self, name: str, kind: Any, path: str) -> Any:
        """Read the name in front of '=': always a string in TOML, whatever it stands for."""
        try:
            return msgspec.convert(name, kind, strict=False)
        except msgspec.ValidationError as error:
            return self.note(path, remedy(kind, name, error))

    def _array(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self.note(path, "must be an array, in square brackets")
        of_item = get_args(kind)[0]
        read = [self.read(item, of_item, f"{path}[{i}]") for i, item in enumerate(value)]
        make = get_origin(kind)
        return BROKEN if BROKEN in read or make is None else make(read)

    def _leaf(self, value: Any, kind: Any, path: str) -> Any:
        make = LEAVES.get(kind)
        try:
            return make(value) if make else msgspec.convert(value, kind)
        except (ValueError, TypeError) as error:
            return self.note(path, remedy(kind, value, error))
