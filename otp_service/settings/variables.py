"""Variables of the environment that begin with OTP_: settings, misspelled settings, and those of others.

A misspelled setting must stop a start, because a limit would look as if it applied. A variable of another
program must not: Kubernetes adds some for each Service of the namespace, also one called `otp-…`
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any, Final, get_args

import msgspec

from otp_service.core.limits import Limit
from otp_service.settings.decode import ConfigIssue
from otp_service.settings.model import Settings


ENV_PREFIX: Final = "OTP_"
FOREIGN_ENV_PREFIXES: Final = ("OTP_DEV_API_KEY", "OTP_TESTS_")
"""Variables of `dev` and of the tests; `serve` refuses the first itself."""

LIMIT_BY_ENV_NAME: Final = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", limit).upper(): str(limit) for limit in Limit
}
SECTION_NAMES: Final = {name.upper() for name in Settings.__struct_encode_fields__}

_MIN_SIMILARITY_RATIO: Final = 0.8
"""From which on a name counts as another one that was misspelled: one wrong letter of five."""

_SERVICE_HOST: Final = re.compile(r"(OTP(?:_[A-Z0-9_]+)?)_SERVICE_HOST")
_SERVICE_LINK: Final = r"{}_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9]+)*|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"


def list_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the variables that are settings, or misspelled settings, in order."""
    foreign = find_foreign_variables(environ)
    yield from sorted(
        name
        for name in environ
        if name.startswith(ENV_PREFIX)
        and not name.startswith(FOREIGN_ENV_PREFIXES)
        and name not in foreign
    )


def find_foreign_variables(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the variables of other programs, which are ignored."""
    names = [name for name in environ if name.startswith(ENV_PREFIX)]
    links = {name for name in names if _is_service_link(name, environ)}
    others = {name for name in names if find_meant_setting(name) is None}
    return frozenset((links | others) - {*filter(_is_our_own, names)})


def find_ignored_variables(environ: Mapping[str, str]) -> Iterator[ConfigIssue]:
    """Yield the variables of other programs as one remark, in case that one is a misspelled setting."""
    if names := sorted(find_foreign_variables(environ)):
        remedy = f"has {', '.join(names)}: ignored, because no setting has such a name"
        yield ConfigIssue("environment", remedy)


def find_meant_setting(variable: str) -> str | None:
    """Return the variable of a setting that this one may mean; empty if it is one of many.

    None means that another program has it: it has no two underscores, and resembles no setting.
    """
    name = variable.removeprefix(ENV_PREFIX)
    section, *rest = name.split("__")
    if rest:
        close = get_close_matches(section, SECTION_NAMES, 1, _MIN_SIMILARITY_RATIO)
        return ENV_PREFIX + "__".join([*close, *rest]) if close else ""
    if name in SECTION_NAMES or not name:
        return ""
    if (exact := _VARIABLE_BY_SPELLING.get(name)) is not None:
        return exact
    if close := get_close_matches(name, _LONG_SPELLINGS, 1, _MIN_SIMILARITY_RATIO):
        return _VARIABLE_BY_SPELLING[close[0]]
    return "" if any(name.startswith(f"{section}_") for section in SECTION_NAMES) else None


def _is_our_own(variable: str) -> bool:
    return variable.startswith(FOREIGN_ENV_PREFIXES)


def _is_service_link(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes set this variable for a Service: host, port and URL of one agree."""
    for name, host in environ.items():
        match = _SERVICE_HOST.fullmatch(name)
        if match and re.fullmatch(_SERVICE_LINK.format(match[1]), variable):
            port = environ.get(f"{match[1]}_SERVICE_PORT", "")
            if _is_service_url(environ.get(f"{match[1]}_PORT", ""), host, port):
                return True
    return False


def _is_service_url(url: str, host: str, port: str) -> bool:
    """Whether a URL like tcp://10.0.0.11:6379 is of this address."""
    try:
        literal = f"[{host}]" if ip_address(host).version == 6 else host  # noqa: PLR2004
    except ValueError:
        return False
    address = re.escape(f"{literal}:{port}")
    return re.fullmatch(rf"(tcp|udp|sctp)://{address}", url) is not None


def _list_spellings() -> Iterator[tuple[str, str]]:
    """Yield ways to write a setting without its two underscores, each with the correct variable."""
    for field in msgspec.structs.fields(Settings):
        section = field.encode_name.upper()
        yield section, f"{ENV_PREFIX}{section}"
        for leaf in _list_fields(field.type):
            variable = f"{ENV_PREFIX}{section}__{leaf.upper()}"
            yield leaf.upper(), variable
            yield f"{section}_{leaf.upper()}", variable
    for name in LIMIT_BY_ENV_NAME:
        variable = f"{ENV_PREFIX}LIMITS__{name}"
        yield from ((each, variable) for each in (name, f"LIMITS_{name}", name.replace("_", "")))


def _list_fields(kind: Any) -> tuple[str, ...]:
    """Return the names of the settings in a table; empty for one whose names operators choose."""
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return kind.__struct_encode_fields__ if is_struct and not get_args(kind) else ()


_VARIABLE_BY_SPELLING: Final = dict(_list_spellings())
_LONG_SPELLINGS: Final = [
    name for name in _VARIABLE_BY_SPELLING if "_" in name or name in SECTION_NAMES
]
"""A short name of one word, like PORT, resembles too many others."""
