"""From the text of a configuration, the environment and the secret files to one `Settings`.

    OTP_SERVICE__PORT=9000                              service.port
    OTP_MODE=test                                       mode
    OTP_TENANTS__MY_SHOP__BRAND=Shop                    tenants.my-shop.brand
    OTP_LIMITS__SENDS_OVERALL='["9 in 1 h"]'            limits.SendsOverall
    OTP_REDIS__PASSWORD_FILE=/run/secrets/redis         redis.password, without the line's end

Two underscores go one level down; a hyphen is written '_', and so is the step between the words of
a limit. Arrays and tables are written as in TOML, all else as it stands. A variable with our prefix
that names no setting is refused: a misspelled limit must not look as if it held.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from otp_service.core.limits import Limit
from otp_service.settings.decode import Fault, Reader, ReadFile, SettingsError
from otp_service.settings.model import Settings


PREFIX = "OTP_"
OTHERS = ("OTP_DEV_API_KEY", "OTP_TESTS_")
"""What `dev` and the tests are told by; `serve` refuses the first by itself."""

HYPHENED = {"tenants", "providers", "sinks", "headers", "secret_headers"}
"""The tables whose names people choose, and write with hyphens."""

LIMITS = {re.sub(r"(?<!^)(?=[A-Z])", "_", limit).upper(): str(limit) for limit in Limit}

LOST = (
    "names no setting: two underscores go one level down, as in OTP_SERVICE__PORT. In Kubernetes, "
    "set enableServiceLinks: false if a Service is called otp"
)


def load(text: str, environ: Mapping[str, str], read_file: ReadFile, *, cores: int) -> Settings:
    """Return the settings, or raise SettingsError with everything that cannot be read.

    Whether they are safe is for `check.faults` to say: what is unsafe can still be shown.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Fault("configuration", f"is not TOML: {error}")]) from None
    reader = Reader(read_file)
    variables = _overlay(document, environ, reader)
    for section in ("service", "hash"):
        table = document.setdefault(section, {})
        if isinstance(table, dict):
            table.setdefault("workers", cores)
    settings: Settings = reader.read(document, Settings, "")
    if reader.faults:
        raise SettingsError([_named(fault, variables) for fault in reader.faults])
    return settings


def _overlay(
    document: dict[str, Any], environ: Mapping[str, str], reader: Reader
) -> dict[str, str]:
    """Lay the variables over the document; return each by the setting that it gives."""
    given = {}
    sections = {name.upper() for name in Settings.__struct_encode_fields__}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable.startswith(OTHERS):
            continue
        segments = variable.removeprefix(PREFIX).split("__")
        path = _put(document, segments, environ[variable]) if segments[0] in sections else None
        if path is None:
            reader.note(variable, LOST)
        else:
            given[".".join(path)] = variable
    return given


def _put(table: Any, segments: list[str], text: str) -> list[str] | None:
    """Set what the segments lead to and return its names; None if they lead nowhere."""
    path: list[str] = []
    for segment in segments:
        if path:
            table = table.setdefault(path[-1], {})
        if not isinstance(table, dict) or not segment:
            return None
        path.append(_name(segment, table, path[-1] if path else ""))
    for other in (f"{path[-1]}_file", path[-1].removesuffix("_file")):
        table.pop(other, None)  # the same secret, given in the other way
    table[path[-1]] = _value(text)
    return path


def _name(segment: str, table: dict[str, Any], of: str) -> str:
    """Return the name that is there already, or the one that would be written in TOML."""
    if of == "limits":
        return LIMITS.get(segment, segment)
    known = segment.removesuffix("_FILE")
    ending = segment.removeprefix(known).lower()
    for name in table:
        if name.removesuffix("_file").replace("-", "_").upper() == known:
            return name.removesuffix("_file") + ending
    return (known.replace("_", "-") if of in HYPHENED else known).lower() + ending


def _value(text: str) -> Any:
    """Return an array or table as TOML reads it; all else is text, which `Reader` reads by type."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass
    return text


def _named(fault: Fault, variables: Mapping[str, str]) -> Fault:
    """Add the variable, if that is where to look."""
    variable = variables.get(fault.setting)
    return Fault(fault.setting, f"{fault.remedy} (in {variable})") if variable else fault
