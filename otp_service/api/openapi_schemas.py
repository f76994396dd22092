"""The schemas of bodies in the OpenAPI document.

They are those of msgspec, changed where generators of clients would make a worse type of them:

- An optional member of a request has no default, which a generator would send or require. Its
  description has it.
- A member of a response that is always written is required, also if its field has a default.
- A member that may be null has one schema with both types, so that generators keep its description.
- An enum of strings has the type `string`.
"""

import inspect
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api.openapi_events import build_event_schemas, describe_event_items
from otp_service.api.openapi_names import SCHEMA_PATH, name_request, name_response


Schema = dict[str, Any]

_VIEW_REF: Final = re.compile(rf'("{SCHEMA_PATH}\w+)View"')


def build_body_schemas(handlers: Iterable[HTTPRouteHandler]) -> Schema:
    """Return the schemas of all bodies of these calls, and those that they refer to, by name."""
    options = [(handler, handler.opt) for handler in handlers]
    requests = {name_request(h): o["request_body"] for h, o in options if "request_body" in o}
    responses = [o["response_body"] for _, o in options if "response_body" in o]
    described = _build_response_schemas([*responses, schemas.FieldError])
    described |= {name: _build_request_schema(kind) for name, kind in requests.items()}
    page = described[name_response(schemas.AuditPage)]
    page["properties"]["events"]["items"] = describe_event_items()
    return described | build_event_schemas()


def build_member_schema(kind: type[msgspec.Struct], name: str) -> Schema:
    """Return the schema of one member, without the null that only a JSON body can have."""
    properties = _build_struct_schemas([kind])[kind.__name__]["properties"]
    member = _merge_null(_describe_default(properties[name]))
    match member:
        case {"type": [member_type, "null"]}:
            return {**member, "type": member_type}
        case _:
            return member


def _build_request_schema(kind: type[msgspec.Struct]) -> Schema:
    """Return the schema of a request. Null counts as absent, as in request_body.convert_fields."""
    described = _build_struct_schemas([kind])
    schema: Schema = described[kind.__name__]
    properties = schema["properties"]
    for name in properties.keys() - {*schema["required"]}:
        member = _inline_enum(_describe_default(properties[name]), described)
        member = _merge_null(member)
        if isinstance(member["type"], str):
            member["type"] = [member["type"], "null"]
        properties[name] = member
    return schema


def _describe_default(member: Schema) -> Schema:
    """Return the schema with its default in the description, unless it is null."""
    default, kept = member.get("default"), {k: v for k, v in member.items() if k != "default"}
    text = f"{member.get('description', '')} The default is `{default}`.".strip()
    return kept if default is None else {**kept, "description": text}


def _build_response_schemas(kinds: Iterable[type[msgspec.Struct]]) -> Schema:
    described = _build_struct_schemas(kinds)
    for schema in described.values():
        for name, member in schema.get("properties", {}).items():
            if "default" in member:
                del member["default"]
                schema["required"].append(name)
            schema["properties"][name] = _merge_null(member)
    return {name.removesuffix("View"): schema for name, schema in described.items()}


def _build_struct_schemas(kinds: Iterable[type[msgspec.Struct]]) -> Schema:
    template = f"{SCHEMA_PATH}{{name}}"
    described = msgspec.json.schema_components(kinds, ref_template=template)[1]
    plain: Schema = json.loads(_VIEW_REF.sub(r'\1"', msgspec.json.encode(described).decode()))
    for schema in _iterate_schemas(plain):
        if "enum" in schema:
            schema |= {"type": "string", "enum": schema.pop("enum")}
    for schema in plain.values():
        del schema["title"]  # the name of the struct, which is not that of the component
        # Python 3.13 takes the indentation out of docstrings; the earlier ones keep it.
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return plain


def _inline_enum(member: Schema, described: Schema) -> Schema:
    """Return the schema of an optional enum without its reference. Others are returned as they are."""
    match member:
        case {"anyOf": [{"$ref": str(path), **rest}, {"type": "null"} as null]}:
            values = described[path.removeprefix(SCHEMA_PATH)]["enum"]
            return {**member, "anyOf": [{"type": "string", **rest, "enum": values}, null]}
        case _:
            return member


def _merge_null(schema: Schema) -> Schema:
    """Return one schema for a value or null, where that is what it has. Other ones are returned."""
    match schema:
        case {"anyOf": [{"type": kind} as value, {"type": "null"}]}:
            merged = {**value, "type": [kind, "null"]}
            return {**merged, "enum": [*merged["enum"], None]} if "enum" in merged else merged
        case _:
            return schema


def _iterate_schemas(part: Any) -> Iterator[Schema]:
    if isinstance(part, dict):
        yield part
    for below in (
        part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    ):
        yield from _iterate_schemas(below)
