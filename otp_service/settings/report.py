"""What is in force, for a person to read: every setting with its value, secrets starred."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import singledispatch
from types import NoneType
from typing import Any

import msgspec

from otp_service.core.keys import Key, Ring
from otp_service.core.limits import DEFAULTS, Window
from otp_service.core.profile import thief_hours
from otp_service.core.secret import Secret
from otp_service.settings.limits import shown
from otp_service.settings.model import Settings, TenantTable


STARS = "**********"
UNSET = "-"
MOST_DIGITS = 10
"""`faults` refuses more, but a report is also made of what is refused."""

Line = tuple[str, str]


def report(
    settings: Settings,
    *,
    store: Iterable[Line] = (),
    hashes_per_second: float | None = None,
) -> str:
    """Return the settings in force, aligned.

    `store` is what a look at the live Redis found (`store/health.py`), as (name, what was found);
    `hashes_per_second` is what one core of this machine was measured to make.
    """
    seen = list(store) or [("store", "not asked: 'check' without a connection says nothing of it")]
    sections = [
        list(_settings_lines(settings)),
        list(_limit_lines(settings)),
        list(_cost_lines(settings, hashes_per_second)),
        seen,
    ]
    width = max(len(name) for section in sections for name, _ in section)
    return "\n\n".join(
        "\n".join(f"{name:<{width}}  {value}" for name, value in section) for section in sections
    )


def _settings_lines(settings: Settings) -> Iterator[Line]:
    for field in msgspec.structs.fields(settings):
        if field.name != "limits":
            yield from lines(getattr(settings, field.name), field.encode_name)


def _limit_lines(settings: Settings) -> Iterator[Line]:
    """Name every limit, also those that nobody configured."""
    for limit, windows in settings.rates.items():
        default = "  (default)" if windows == DEFAULTS[limit] else ""
        yield f"limits.{limit}", shown(windows) + default


def _cost_lines(settings: Settings, hashes_per_second: float | None) -> Iterator[Line]:
    table, processes = settings.hash, settings.service.workers
    memory = processes * table.workers * table.memory_kib // 1024
    yield "argon2 at once", f"{processes * table.workers}, in {memory} MiB"
    if hashes_per_second is None:
        yield "a thief's hours", "not measured: see 'otp-service calibrate'"
        return
    digits = min(settings.policy.digits, MOST_DIGITS)
    hours = thief_hours(table.profile, hashes_per_second, digits=digits)
    attack = f"{hours:.3g} for all 10^{digits} codes of one challenge, with Redis, the pepper and"
    yield "a thief's hours", f"{attack} one GPU ({hashes_per_second:.0f} hashes a second on a core)"


def lines(value: Any, path: str) -> Iterator[Line]:
    """Walk a value of the settings; what is neither struct nor table is one line."""
    if isinstance(value, TenantTable):
        yield from _tenant_lines(value, path)
    elif isinstance(value, msgspec.Struct) and not isinstance(value, Key | Ring | Window):
        if tag := value.__struct_config__.tag:
            yield f"{path}.{value.__struct_config__.tag_field}", str(tag)
        for field in msgspec.structs.fields(value):
            yield from lines(getattr(value, field.name), f"{path}.{field.encode_name}")
    elif isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from lines(item, f"{path}.{name}")
    else:
        yield path, text(value)


def _tenant_lines(table: TenantTable, path: str) -> Iterator[Line]:
    """Show a tenant's API keys by their ids: a hash says nothing to a reader."""
    for field in msgspec.structs.fields(table):
        if field.name != "keys":
            yield from lines(getattr(table, field.name), f"{path}.{field.encode_name}")
    for key in table.keys:
        until = f", until {text(key.expires)}" if key.expires else ""
        yield f"{path}.keys.{key.id}", f"{STARS} for {text(key.scopes)}{until}"


@singledispatch
def text(value: object) -> str:
    """Return one value as the report shows it."""
    return _address(str(value)) or UNSET


@text.register(Secret)
def _secret(value: Secret) -> str:  # noqa: ARG001  # whatever it is
    return STARS


@text.register(Key)
def _key(value: Key) -> str:
    return f"{value.id} {STARS}"


@text.register(Ring)
def _ring(value: Ring) -> str:
    return text(value.keys)


@text.register(bool)
def _flag(value: bool) -> str:  # noqa: FBT001  # this is what is shown
    return str(value).lower()


@text.register(datetime)
def _instant(value: datetime) -> str:
    return value.isoformat()


@text.register(tuple)
def _array(value: tuple[object, ...]) -> str:
    return ", ".join(text(item) for item in value) or UNSET


@text.register(frozenset)
def _set(value: frozenset[object]) -> str:
    return ", ".join(sorted(text(item) for item in value)) or UNSET


@text.register(dict)
@text.register(NoneType)
def _nothing(value: object) -> str:  # noqa: ARG001  # a table that is shown as one is empty
    return UNSET


def _address(shown_text: str) -> str:
    """Star what an address may hold of secrets; `faults` refuses it there, but after showing."""
    without_user = re.sub(r"(://)[^/@\s]*@", rf"\1{STARS}@", shown_text)
    return re.sub(r"(://[^\s?]*\?)\S+", rf"\1{STARS}", without_user)
