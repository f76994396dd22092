"""What is in force, for a person to read: every setting with its value, secrets starred."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from otp_service.core.argon2_profile import thief_hours
from otp_service.core.keys import Key, Ring
from otp_service.core.limits import DEFAULTS
from otp_service.settings.check_limits import shown
from otp_service.settings.model import ApiKeyTable, Settings


STARS = "**********"
IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)|(?<=\?)\S+")
"""What an address may hold of secrets; `faults` refuses it there, but after showing."""

Line = tuple[str, str]


def report(settings: Settings, hashes_per_second: float | None = None) -> str:
    """Return the settings in force, aligned.

    `hashes_per_second` is what one core of this machine was measured to make, for settings of which
    nothing is refused.
    """
    found = [*_settings_lines(settings), *_cost_lines(settings, hashes_per_second)]
    width = max(len(name) for name, _ in found)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in found)


def _settings_lines(settings: Settings) -> Iterator[Line]:
    for field in msgspec.structs.fields(settings):
        if field.name != "limits":
            yield from _lines(getattr(settings, field.name), field.encode_name)
    for limit, windows in settings.rates.items():
        default = "  (default)" if windows == DEFAULTS[limit] else ""
        yield f"limits.{limit}", shown(windows) + default


def _cost_lines(settings: Settings, hashes_per_second: float | None) -> Iterator[Line]:
    table, processes = settings.hash, settings.service.workers
    memory = processes * table.workers * table.memory_kib // 1024
    yield "argon2 at once", f"{processes * table.workers}, in {memory} MiB"
    if hashes_per_second is not None:
        digits = settings.policy.digits
        hours = thief_hours(table.profile, hashes_per_second, digits=digits)
        attack = f"{hours:.3g} for all 10^{digits} codes of one challenge, with Redis, the pepper"
        speed = f"{hashes_per_second:.0f} hashes a second on a core"
        yield "a thief's hours", f"{attack} and one GPU ({speed})"


def _lines(value: Any, path: str) -> Iterator[Line]:
    """Walk a value of the settings; what is neither struct nor table is one line."""
    match value:
        case ApiKeyTable():
            until = f", until {value.expires}" if value.expires else ""
            yield path, f"{STARS} for {_text(value.scopes)}{until}"
        case msgspec.Struct() if not isinstance(value, Key | Ring):
            if tag := value.__struct_config__.tag:
                yield f"{path}.{value.__struct_config__.tag_field}", str(tag)
            for field in msgspec.structs.fields(value):
                yield from _lines(getattr(value, field.name), f"{path}.{field.encode_name}")
        case Mapping() if value:
            for name, item in value.items():
                yield from _lines(item, f"{path}.{name}")
        case (ApiKeyTable(), *_):
            for key in value:
                yield from _lines(key, f"{path}.{key.id}")
        case _:
            yield path, _text(value)


def _text(value: Any) -> str:
    """Return one value as the report shows it; a Secret is stars of itself."""
    match value:
        case Key():
            return f"{value.id} {STARS}"
        case bool():
            return str(value).lower()
        case tuple() | Ring():
            return ", ".join(_text(item) for item in value) or "-"
        case frozenset():
            return ", ".join(sorted(_text(item) for item in value)) or "-"
        case None | {}:
            return "-"
        case _:
            return IN_ADDRESS.sub(STARS, str(value)) or "-"
