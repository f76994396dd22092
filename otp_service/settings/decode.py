"""Decode TOML values into the structs of `model`, and collect every issue, not only the first.

`msgspec.convert` stops at the first invalid value and does not report in which of several tenants
it is. So this module iterates over tables and arrays and converts one value at a time with msgspec,
which also parses text from the environment. No issue shows a value.
"""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from otp_service.core.fixed_codes import FixedCodes
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import Window
from otp_service.core.pumping.prices import MONEY_RULE, Money
from otp_service.core.secret import Secret
from otp_service.core.value_rule import describe_rule


ReadFile = Callable[[str], str]


class ConfigIssue(msgspec.Struct, frozen=True):
    """One invalid or unsafe setting, and the remedy."""

    setting: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.remedy}"


def build_issues(section: str, pairs: Iterable[tuple[str, str]]) -> Iterator[ConfigIssue]:
    """Yield an issue for each (field, remedy) of a section."""
    return (ConfigIssue(f"{section}.{field}", remedy) for field, remedy in pairs)


class SettingsError(ValueError):
    """The configuration cannot be decoded; `issues` lists everything to correct."""

    def __init__(self, issues: list[ConfigIssue]) -> None:
        super().__init__("\n".join(str(issue) for issue in issues))
        self.issues = issues


def decode_key(text: str) -> bytes:
    """Return the bytes of base64url text, with or without padding. Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


LEAF_DECODERS: Mapping[Any, tuple[Callable[[str], Any], str]] = {
    Secret: (Secret, "must be a nonempty string"),
    bytes: (decode_key, "must be base64url of at least 32 random bytes"),
    Window: (Window.parse, "write a limit like '5 in 10 min' or '10 in 1 d'"),
    Money: (Money.from_number, MONEY_RULE),
    FixedCodes: (
        FixedCodes.from_table,
        'must be a table of texts, like { "+447700900123" = "123456" }',
    ),
}
"""Types that msgspec cannot decode: the function that does, and the remedy."""


class SettingsDecoder:
    """Decodes one configuration. An invalid value adds to `issues` and becomes UNSET."""

    def __init__(self, read_file: ReadFile) -> None:
        self._read_file = read_file
        self.issues: list[ConfigIssue] = []

    def add_issue(self, setting: str, remedy: str) -> Any:
        """Record an issue, and return UNSET as the value."""
        self.issues.append(ConfigIssue(setting, remedy))
        return msgspec.UNSET

    def decode(self, value: Any, kind: Any, path: str) -> Any:
        options = _list_union_types(kind)
        kind = options[0] if len(options) == 1 else kind
        if value is msgspec.UNSET:
            return value
        if kind is KeyRing:
            return KeyRing(self._decode_array(value, tuple[Key, ...], path))
        if kind not in LEAF_DECODERS and all(_is_struct(option) for option in options):
            return self._decode_struct(value, options, path)
        origin = get_origin(kind)
        if origin is dict:
            return self._decode_table(value, kind, path)
        decode = self._decode_array if origin in {tuple, frozenset} else self._decode_leaf
        return decode(value, kind, path)

    def _decode_struct(self, value: Any, options: tuple[Any, ...], path: str) -> Any:
        if not isinstance(value, dict):
            return self.add_issue(path, "must be a table of settings")
        tag = options[0].__struct_config__.tag_field
        structs = {str(option.__struct_config__.tag): option for option in options}
        struct = structs.get(str(value.get(tag)))
        if struct is None:
            return self.add_issue(join_path(path, tag), f"must be one of {', '.join(structs)}")
        value = self._resolve_file_settings(value, path)
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        for name in sorted(value.keys() - fields.keys() - {tag}):
            remedy = f"is not a setting: valid names are {', '.join(fields)}"
            self.add_issue(join_path(path, name), remedy)
        decoded = {}
        for name, field in fields.items():
            if name in value:
                decoded[field.name] = self.decode(value[name], field.type, join_path(path, name))
            elif field.required:
                decoded[field.name] = self.add_issue(join_path(path, name), "is missing")
        return struct(**decoded)

    def _decode_table(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return self.add_issue(path, "must be a table")
        name_type, item_type = get_args(kind)
        value = self._resolve_file_settings(value, path) if item_type is Secret else value
        decoded = {}
        for name, item in value.items():
            setting = join_path(path, name)
            key = self._decode_leaf(name, name_type, setting)
            decoded[key] = self.decode(item, item_type, setting)
        return decoded

    def _decode_array(self, value: Any, kind: Any, path: str) -> Any:
        if not isinstance(value, list):
            return self.add_issue(path, "must be an array, in square brackets")
        item_type = get_args(kind)[0]
        decoded = [self.decode(item, item_type, f"{path}[{i}]") for i, item in enumerate(value)]
        return (get_origin(kind) or tuple)(decoded)

    def _decode_leaf(self, value: Any, kind: Any, path: str) -> Any:
        decode, remedy = LEAF_DECODERS.get(kind, (None, None))
        try:
            return decode(value) if decode else msgspec.convert(value, kind, strict=False)
        except (ValueError, TypeError) as error:
            return self.add_issue(path, remedy or _describe_error(kind, error))

    def _resolve_file_settings(self, table: dict[str, Any], path: str) -> dict[str, Any]:
        """Return the table with each NAME_file replaced by NAME and the content of that file."""
        resolved = {}
        for key, value in table.items():
            name, setting = key.removesuffix("_file"), join_path(path, key)
            if name != key and name in table:
                self.add_issue(join_path(path, name), f"is set together with {key}: set one")
            resolved[name] = value if name == key else self._read_secret_file(value, setting)
        return resolved

    def _read_secret_file(self, path: Any, setting: str) -> Any:
        try:
            # Editors and `echo` end a file with a line break that is not part of the secret.
            return self._read_file(path).rstrip("\r\n")
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not a file of text"
            return self.add_issue(setting, f"cannot be read: {reason}")


def _list_union_types(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union without None, which TOML cannot express."""
    if get_origin(kind) in {Union, UnionType}:
        return tuple(option for option in get_args(kind) if option is not NoneType)
    return (kind,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _describe_error(kind: Any, error: Exception) -> str:
    """Return the rule that a value breaks; the text of the error where the rule has no words."""
    return describe_rule(kind) or str(error).replace("Expected", "must be").replace("`", "")


def join_path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
