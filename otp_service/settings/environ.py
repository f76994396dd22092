"""Lays environment variables over the TOML document.

    OTP_SERVICE__PORT=9000                              service.port
    OTP_MODE=test                                       mode
    OTP_TENANTS__MY_SHOP__BRAND=Shop                    tenants.my-shop.brand
    OTP_LIMITS__SENDS_OVERALL='["9 in 1 h"]'            limits.SendsOverall
    OTP_KEYS__PEPPER__0__SECRET_FILE=/run/secrets/p     keys.pepper, the first one's secret_file
    OTP_REDIS__PASSWORD_FILE=/run/secrets/redis         redis.password, without the line's end

Two underscores go one level down, a number is a place in an array (the next free one adds to it),
a hyphen is written '_' and so is the step between the words of a limit. The value is read as TOML
where the setting takes it so, else as it stands; a secret always as it stands. A variable with our
prefix that names no setting is refused: a misspelled limit must not look as if it held.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

import msgspec

from otp_service.core.keys import Key, Ring
from otp_service.core.limits import Limit
from otp_service.settings.kinds import bare, choices, hint, is_secret, structs
from otp_service.settings.model import Settings
from otp_service.settings.reading import Raw, Reader


PREFIX = "OTP_"
OTHERS = ("OTP_DEV_API_KEY", "OTP_TESTS_")
"""What `dev` and the tests are told by; `serve` refuses the first by itself."""

KUBERNETES = re.compile(
    r"OTP(_[A-Z0-9]+)*?"
    r"(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9]+)*|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes puts into every pod about a Service that is called otp or otp-something."""

Step = tuple[Any, Any] | None
"""The name or place in a table or array, and the type of what stands there."""


def overlay(document: dict[str, Any], environ: Mapping[str, str], reader: Reader) -> None:
    """Put the variables into the document, whole tables before what stands inside them."""
    ours = [name for name in environ if name.startswith(PREFIX) and not _foreign(name, environ)]
    for name in sorted(ours, key=lambda name: (name.count("__"), name)):
        segments = name.removeprefix(PREFIX).split("__")
        if not _put(document, Settings, segments, Raw(name, environ[name])):
            reader.note(name, f"names no setting{_suggestion(name)}; correct it or take it out")


def env_name(name: str) -> str:
    """Return how a name of TOML is written in the environment.

    >>> env_name("admin_port"), env_name("my-shop"), env_name("SendsPerCountry")
    ('ADMIN_PORT', 'MY_SHOP', 'SENDS_PER_COUNTRY')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return words.replace("-", "_").upper()


def _foreign(name: str, environ: Mapping[str, str]) -> bool:
    in_a_pod = "KUBERNETES_SERVICE_HOST" in environ and "__" not in name
    return name.startswith(OTHERS) or (in_a_pod and KUBERNETES.fullmatch(name) is not None)


def _put(node: Any, kind: Any, segments: Sequence[str], raw: Raw) -> bool:
    """Set what the segments lead to; False if they lead nowhere."""
    step = _step(node, bare(kind), segments[0])
    if step is None:
        return False
    name, of_item = step
    if len(segments) == 1:
        _set(node, name, raw)
        return True
    inside = _opened(node, name, of_item)
    if inside is None:
        return False
    _set(node, name, inside)
    return _put(inside, of_item, segments[1:], raw)


def _step(node: Any, kind: Any, segment: str) -> Step:
    if isinstance(node, list):
        return _array_step(node, kind, segment)
    if get_origin(kind) is dict:
        return _table_step(node, kind, segment)
    return _struct_step(kind, segment)


def _array_step(node: list[Any], kind: Any, segment: str) -> Step:
    of_item = Key if kind is Ring else get_args(kind)[0]
    known = re.fullmatch(r"0|[1-9]\d?", segment, re.ASCII) and int(segment) <= len(node)
    return (int(segment), of_item) if known else None


def _table_step(node: dict[str, Any], kind: Any, segment: str) -> Step:
    """Find the name that is there already; without it, make one unless only some can be."""
    of_name, of_item = get_args(kind)
    in_file = is_secret(of_item) and segment.endswith("_FILE")
    ending = "_file" if in_file else ""
    segment = segment.removesuffix("_FILE") if in_file else segment
    there = [name.removesuffix("_file") if is_secret(of_item) else name for name in node]
    names = choices(of_name) or there
    fitting = [name for name in names if env_name(name) == segment]
    if not segment or (choices(of_name) and not fitting):
        return None
    name = fitting[0] if fitting else segment.lower().replace("_", "-")
    return name + ending, str if in_file else of_item


def _struct_step(kind: Any, segment: str) -> Step:
    for struct in structs(kind).values():
        tag = struct.__struct_config__.tag_field
        steps = {tag: str} if tag else {}
        for field in msgspec.structs.fields(struct):
            steps[field.encode_name] = field.type
            if is_secret(field.type):
                steps[f"{field.encode_name}_file"] = str
        for name, of_item in steps.items():
            if env_name(name) == segment:
                return name, of_item
    return None


def _opened(node: Any, name: Any, kind: Any) -> Any:
    """Return the table or array that stands there, or an empty one; None if there can be none."""
    there = node.get(name) if isinstance(node, dict) else dict(enumerate(node)).get(name)
    if isinstance(there, Raw):
        there = next(there.readings(kind))
    is_array = bare(kind) is Ring or get_origin(bare(kind)) in {tuple, frozenset}
    is_table = bool(structs(kind)) or get_origin(bare(kind)) is dict
    if there is None and (is_array or is_table):
        return [] if is_array else {}
    return there if isinstance(there, list if is_array else dict) else None


def _set(node: Any, name: Any, value: Any) -> None:
    """Put it there, in place of the same secret given in the other way."""
    if isinstance(node, list):
        node[name : name + 1] = [value]
        return
    node.pop(name.removesuffix("_file") if name.endswith("_file") else f"{name}_file", None)
    node[name] = value


def _suggestion(name: str) -> str:
    """Return the variable that was likely meant: most often one underscore is missing."""
    known = {f"{PREFIX}LIMITS__{env_name(limit)}" for limit in Limit}
    for section in msgspec.structs.fields(Settings):
        first = PREFIX + env_name(section.encode_name)
        known.add(first)
        for struct in structs(section.type).values():
            fields = msgspec.structs.fields(struct)
            known |= {f"{first}__{env_name(field.encode_name)}" for field in fields}
    return hint(name, known)
