"""Validate events against the published schemas of OCSF and ECS; errors are described in words."""

import csv
import ipaddress
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any


SCHEMAS = Path(__file__).parent / "schemas"

OCSF_SCHEMA = json.loads((SCHEMAS / "ocsf-1.8.0.json").read_text("utf-8"))
OCSF_CLASSES = {one["uid"]: (name, one) for name, one in OCSF_SCHEMA["classes"].items()}

API_ACTIVITY_ATTRIBUTES = {"actor", "api"}
"""API Activity has these itself, which elsewhere the profiles `host` and `cloud` bring."""

CAPTION_FIELDS = {
    "activity_id": "activity_name",
    "category_uid": "category_name",
    "class_uid": "class_name",
    "type_uid": "type_name",
    **{f"{name}_id": name for name in ("action", "disposition", "severity", "status")},
}
PYTHON_TYPES = {
    "integer_t": int,
    "long_t": int,
    "boolean_t": bool,
    "string_t": str,
    "json_t": object,
}


def find_ocsf_errors(event: Mapping[str, Any]) -> list[str]:
    """Return what OCSF does not allow in an event."""
    if event.get("class_uid") not in OCSF_CLASSES:
        return [f"there is no class {event.get('class_uid')}"]
    name, kind = OCSF_CLASSES[event["class_uid"]]
    profiles = set(event.get("metadata", {}).get("profiles", ()))
    faults = [f"{name} has no profile {one}" for one in profiles - set(kind["profiles"])]
    its_own = API_ACTIVITY_ATTRIBUTES if name == "api_activity" else set()
    return [*faults, *_check_object(name, kind, event, profiles, its_own)]


def _check_object(
    path: str, kind: Any, value: Any, profiles: set[str], extra_attributes: Collection[str] = ()
) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path} is no object"
        return
    allowed = {
        name: one
        for name, one in kind["attributes"].items()
        if one.get("profile") in {None, *profiles} or name in extra_attributes
    }
    yield from (f"{path}.{name} does not exist" for name in value.keys() - allowed.keys())
    for name, one in allowed.items():
        if name in value:
            yield from _check_attribute(f"{path}.{name}", one, value[name], profiles)
            yield from _check_caption(f"{path}.{name}", one, value, name)
        elif one["requirement"] == "required":
            yield f"{path}.{name} is required"
    either = (kind.get("constraints") or {}).get("at_least_one")
    if either and not any(name in value for name in either):
        yield f"{path} needs one of {either}"


def _check_attribute(path: str, kind: Any, value: Any, profiles: set[str]) -> Iterator[str]:
    if kind["is_array"] != isinstance(value, list):
        yield f"{path}: an array or not"
        return
    for one in value if isinstance(value, list) else [value]:
        if kind["type"] == "object":
            continue  # anything
        if kind["type"] in OCSF_SCHEMA["objects"]:
            yield from _check_object(path, OCSF_SCHEMA["objects"][kind["type"]], one, profiles)
        elif kind["type"] in OCSF_SCHEMA["types"]:
            yield from _check_scalar(path, kind["type"], one)
        else:
            yield f"{path}: {kind['type']} is not in the cut"
        if "enum" in kind and str(one) not in kind["enum"]:
            yield f"{path}: {one} is not in its enum"


def _check_scalar(path: str, name: str, value: Any) -> Iterator[str]:
    rules = OCSF_SCHEMA["types"][name]
    base = PYTHON_TYPES.get(rules.get("type", name))
    if base is None or not isinstance(value, base) or (base is int and isinstance(value, bool)):
        yield f"{path}: {value!r} is no {name}"
    elif value == "" or len(str(value)) > rules.get("max_len", 65536):
        yield f"{path}: {name} is too short or too long"
    elif "regex" in rules and not re.search(rules["regex"], str(value)):
        yield f"{path}: {value!r} is no {name}"


def _check_caption(path: str, kind: Any, holder: Mapping[str, Any], name: str) -> Iterator[str]:
    """An enum's sibling says the same in words; of `99` anything but what the enum has."""
    caption = holder.get(CAPTION_FIELDS.get(name, ""))
    meant = kind.get("enum", {}).get(str(holder[name]))
    if caption is None or meant is None or str(holder[name]) == "99":
        return
    if caption != meant:
        yield f"{path}: {caption!r} for {meant!r}"


# ------------------------------------------------------------------------------------- ECS

with (SCHEMAS / "ecs-9.4.0.csv").open(encoding="utf-8", newline="") as _file:
    ECS_FIELDS = {row["field"]: row for row in csv.DictReader(_file)}

REQUIRED_ECS_FIELDS = ("@timestamp", "ecs.version", "event.kind", "event.category", "event.type")

ECS_KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}
ECS_OUTCOMES = {"success", "failure", "unknown"}
ECS_TYPES_BY_CATEGORY = {
    "api": "access admin allowed change creation deletion denied end info start user",
    "authentication": "start end info",
    "configuration": "access change creation deletion info",
    "database": "access change info error",
    "iam": "admin change creation deletion group info user",
    "intrusion_detection": "allowed denied info",
    "process": "access change end info start",
}
"""The categories that we use, with the types that ECS expects in them."""
ALL_ECS_TYPES = {one for types in ECS_TYPES_BY_CATEGORY.values() for one in types.split()} | {
    *("connection", "device", "indicator", "installation", "protocol")
}


def find_ecs_errors(event: Mapping[str, Any]) -> list[str]:
    """Return the fields that ECS does not define, or defines differently."""
    fields = dict(_flatten_fields(event))
    faults = [f"{name} is needed" for name in REQUIRED_ECS_FIELDS if name not in fields]
    for name, value in fields.items():
        faults += _check_field(name, value)
    return faults + list(_check_categories(fields))


def _flatten_fields(event: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in event.items():
        dotted = f"{path}{name}"
        if isinstance(value, Mapping) and ECS_FIELDS.get(dotted, {}).get("type") != "object":
            yield from _flatten_fields(value, f"{dotted}.")
        else:
            yield dotted, value


def _check_field(name: str, value: Any) -> list[str]:
    if name not in ECS_FIELDS:
        return [f"there is no field {name}"]
    row = ECS_FIELDS[name]
    if (row["normalization"] == "array") != isinstance(value, list):
        return [f"{name}: an array or not"]
    values = value if isinstance(value, list) else [value]
    return [
        f"{name}: {one!r} is no {row['type']}"
        for one in values
        if not _is_valid_value(row["type"], one)
    ]


def _is_valid_value(kind: str, value: Any) -> bool:
    match kind:
        case "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "object":
            plain = isinstance(value, dict) and {type(one) for one in value.values()} <= {str}
            return plain and not any("." in name for name in value)
        case "date":
            return bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(value)))
        case "ip":
            return bool(ipaddress.ip_address(value))
        case "keyword" | "match_only_text" | "constant_keyword":
            return isinstance(value, str) and 0 < len(value) <= 8191
        case _:
            return False


def _check_categories(fields: Mapping[str, Any]) -> Iterator[str]:
    kind, outcome = fields.get("event.kind"), fields.get("event.outcome", "unknown")
    types = set(fields.get("event.type", ()))
    if kind not in ECS_KINDS or outcome not in ECS_OUTCOMES:
        yield f"event.kind {kind}, event.outcome {outcome}"
    if not types <= ALL_ECS_TYPES:
        yield f"event.type {types - ALL_ECS_TYPES}"
    for category in fields.get("event.category", ()):
        if not types & set(ECS_TYPES_BY_CATEGORY.get(category, "").split()):
            yield f"event.category {category} expects none of {types}"
