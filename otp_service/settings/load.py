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
from otp_service.settings.decode import ConfigIssue, ReadFile, SettingsDecoder, SettingsError
from otp_service.settings.model import Settings


ENV_PREFIX = "OTP_"
FOREIGN_ENV_PREFIXES = ("OTP_DEV_API_KEY", "OTP_TESTS_")
"""What `dev` and the tests are told by; `serve` refuses the first by itself."""

HYPHENATED_TABLES = {"tenants", "providers", "sinks", "headers", "secret_headers"}
"""The tables whose names people choose, and write with hyphens."""

LIMIT_BY_ENV_NAME = {re.sub(r"(?<!^)(?=[A-Z])", "_", limit).upper(): str(limit) for limit in Limit}

UNKNOWN_VARIABLE_REMEDY = (
    "names no setting: two underscores go one level down, as in OTP_SERVICE__PORT. In Kubernetes, "
    "set enableServiceLinks: false if a Service is called otp"
)


def load_settings(
    text: str, environ: Mapping[str, str], read_file: ReadFile, *, cores: int
) -> Settings:
    """Return the settings, or raise SettingsError with everything that cannot be read.

    Whether they are safe is for `check.faults` to say: what is unsafe can still be shown.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([ConfigIssue("configuration", f"is not TOML: {error}")]) from None
    reader = SettingsDecoder(read_file)
    variables = _apply_environment(document, environ, reader)
    for section in ("service", "hash"):
        table = document.setdefault(section, {})
        if isinstance(table, dict):
            table.setdefault("workers", cores)
    settings: Settings = reader.decode(document, Settings, "")
    if reader.issues:
        raise SettingsError([_add_variable_name(fault, variables) for fault in reader.issues])
    return settings


def _apply_environment(
    document: dict[str, Any], environ: Mapping[str, str], reader: SettingsDecoder
) -> dict[str, str]:
    """Lay the variables over the document; return each by the setting that it gives."""
    given = {}
    sections = {name.upper() for name in Settings.__struct_encode_fields__}
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX) or variable.startswith(FOREIGN_ENV_PREFIXES):
            continue
        segments = variable.removeprefix(ENV_PREFIX).split("__")
        path = (
            _set_value(document, segments, environ[variable]) if segments[0] in sections else None
        )
        if path is None:
            reader.add_issue(variable, UNKNOWN_VARIABLE_REMEDY)
        else:
            given[".".join(path)] = variable
    return given


def _set_value(table: Any, segments: list[str], text: str) -> list[str] | None:
    """Set what the segments lead to and return its names; None if they lead nowhere."""
    path: list[str] = []
    for segment in segments:
        if path:
            table = table.setdefault(path[-1], {})
        if not isinstance(table, dict) or not segment:
            return None
        path.append(_resolve_name(segment, table, path[-1] if path else ""))
    for other in (f"{path[-1]}_file", path[-1].removesuffix("_file")):
        table.pop(other, None)  # the same secret, given in the other way
    table[path[-1]] = _parse_value(text)
    return path


def _resolve_name(segment: str, table: dict[str, Any], parent: str) -> str:
    """Return the name that is there already, or the one that would be written in TOML."""
    if parent == "limits":
        return LIMIT_BY_ENV_NAME.get(segment, segment)
    known = segment.removesuffix("_FILE")
    ending = segment.removeprefix(known).lower()
    for name in table:
        if name.removesuffix("_file").replace("-", "_").upper() == known:
            return name.removesuffix("_file") + ending
    return (known.replace("_", "-") if parent in HYPHENATED_TABLES else known).lower() + ending


def _parse_value(text: str) -> Any:
    """Return an array or table as TOML reads it; all else is text, which `Reader` reads by type."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass
    return text


def _add_variable_name(fault: ConfigIssue, variables: Mapping[str, str]) -> ConfigIssue:
    """Add the variable, if that is where to look."""
    variable = variables.get(fault.setting)
    return ConfigIssue(fault.setting, f"{fault.remedy} (in {variable})") if variable else fault
