"""Load `Settings` from the text of a configuration, the environment and secret files.

    OTP_SERVICE__PORT=9000                              service.port
    OTP_MODE=test                                       mode
    OTP_TENANTS__MY_SHOP__BRAND=Shop                    tenants.my-shop.brand
    OTP_LIMITS__SENDS_OVERALL='["9 in 1 h"]'            limits.SendsOverall
    OTP_REDIS__PASSWORD_FILE=/run/secrets/redis         redis.password, without the line break

Two underscores separate levels. One underscore replaces a hyphen, and separates the words of a
limit. Arrays and tables are written as in TOML, other values as plain text. `variables.py` says which
variables with this prefix are refused, and which are left alone.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from otp_service.settings.decode import (
    ConfigIssue,
    ReadFile,
    SettingsDecoder,
    SettingsError,
    join_path,
)
from otp_service.settings.model import Settings
from otp_service.settings.variables import (
    ENV_PREFIX,
    LIMIT_BY_ENV_NAME,
    SECTION_NAMES,
    find_meant_setting,
    list_variables,
)


HYPHENATED_TABLES = {
    *("tenants", "providers", "hooks", "sinks"),
    *("headers", "secret_headers", "secrets"),
}
"""The tables whose keys are chosen by operators and contain hyphens."""

COUNTRY_TABLES = {"prices", "senders", "routes"}
"""The tables whose keys are countries, in capital letters."""

UNKNOWN_VARIABLE_REMEDY = (
    "matches no setting: two underscores separate levels, as in OTP_SERVICE__PORT"
)


def load_settings(
    text: str, environ: Mapping[str, str], read_file: ReadFile, *, cores: int
) -> Settings:
    """Return the settings. Raises SettingsError with everything that cannot be decoded.

    It does not check whether they are safe (`rules.find_errors`), so that `check` can show them.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([ConfigIssue("configuration", f"is not TOML: {error}")]) from None
    decoder = SettingsDecoder(read_file)
    variables = _apply_environment(document, environ, decoder)
    service = document.setdefault("service", {})
    if isinstance(service, dict):
        service.setdefault("workers", cores)
    settings: Settings = decoder.decode(document, Settings, "")
    if decoder.issues:
        raise SettingsError([_add_variable_name(issue, variables) for issue in decoder.issues])
    if "workers" in document.get("hash", {}):
        return settings
    return _share_cores(settings, cores)


def list_origins(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the path of each setting that was written, with its variable, or empty for the file.

    Raises ValueError if the text is not TOML.
    """
    document = tomllib.loads(text)
    variables = _apply_environment(document, environ, SettingsDecoder(str))
    by_path = {path.removesuffix("_file"): variable for path, variable in variables.items()}
    return {path: find_origin(path, by_path) or "" for path in _list_paths(document)}


def find_origin(path: str, origins: Mapping[str, str]) -> str | None:
    """Return the origin of a setting, or of the table or array that it is in; None without one.

    A setting whose value is a table has the origin of what is written in it.
    """
    inner = next((origin for name, origin in origins.items() if name.startswith(f"{path}.")), None)
    if inner is not None:
        return inner
    while path not in origins and "." in path:
        path = path.rpartition(".")[0]
    return origins.get(path)


def _list_paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each value in a document; a secret in a file of its own has that of the secret."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _list_paths(item, join_path(path, name.removesuffix("_file")))
    elif path:
        yield path


def _share_cores(settings: Settings, cores: int) -> Settings:
    """Return the settings in which all processes together have a hashing thread for each core."""
    workers = max(1, cores // settings.service.workers)
    return replace(settings, hash=replace(settings.hash, workers=workers))


def _apply_environment(
    document: dict[str, Any], environ: Mapping[str, str], decoder: SettingsDecoder
) -> dict[str, str]:
    """Override the document with the variables; return each variable by its setting."""
    variables = {}
    for variable in list_variables(environ):
        segments = variable.removeprefix(ENV_PREFIX).split("__")
        has_section = segments[0] in SECTION_NAMES
        path = _set_value(document, segments, environ[variable]) if has_section else None
        if path is None:
            meant = find_meant_setting(variable)
            hint = f". Write {meant}" if meant and meant != variable else ""
            decoder.add_issue(variable, f"{UNKNOWN_VARIABLE_REMEDY}{hint}")
        else:
            variables[".".join(path)] = variable
    return variables


def _set_value(table: Any, segments: list[str], text: str) -> list[str] | None:
    """Set the value at the segments and return its path, or None if it is not in a table."""
    path: list[str] = []
    for segment in segments:
        if path:
            table = table.setdefault(path[-1], {})
        if not isinstance(table, dict) or not segment:
            return None
        path.append(_resolve_name(segment, table, path[-1] if path else ""))
    for other in (f"{path[-1]}_file", path[-1].removesuffix("_file")):
        table.pop(other, None)  # the same secret in its other form
    table[path[-1]] = _parse_value(text)
    return path


def _resolve_name(segment: str, table: dict[str, Any], parent: str) -> str:
    """Return the existing name in the table, or the name as TOML writes it."""
    if parent == "limits":
        return LIMIT_BY_ENV_NAME.get(segment, segment)
    if parent in COUNTRY_TABLES:
        return segment
    stem = segment.removesuffix("_FILE")
    ending = segment.removeprefix(stem).lower()
    for name in table:
        if name.removesuffix("_file").replace("-", "_").upper() == stem:
            return name.removesuffix("_file") + ending
    return (stem.replace("_", "-") if parent in HYPHENATED_TABLES else stem).lower() + ending


def _parse_value(text: str) -> Any:
    """Return arrays and tables parsed as TOML, and other values as text for `SettingsDecoder`."""
    if text.lstrip().startswith(("[", "{")):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            pass
    return text


def _add_variable_name(issue: ConfigIssue, variables: Mapping[str, str]) -> ConfigIssue:
    """Append the name of the variable, if the value is from the environment."""
    variable = variables.get(issue.setting)
    return ConfigIssue(issue.setting, f"{issue.remedy} (in {variable})") if variable else issue
