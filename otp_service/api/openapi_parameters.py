"""The parameters of calls in the OpenAPI document: parts of the path, headers and the query."""

from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api.openapi_schemas import build_member_schema
from otp_service.core.tenant import TENANT_NAME_PATTERN


Schema = dict[str, Any]

IDEMPOTENCY_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Identifies one try: a repeated call with the same key runs once. Quoted or bare.",
    "schema": {
        "type": "string",
        "pattern": r'^(?:[!#-+.-~-]{1,255}|"(?:[ !#-\[\]-~]|\\["\\]){1,255}")$',
    },
}


def build_shared_parameters() -> Schema:
    """Return the parameters to which calls refer, by the names of their components."""
    return {"IdempotencyKey": IDEMPOTENCY_KEY_PARAMETER, **_build_path_parameters()}


def describe_parameters(handler: HTTPRouteHandler) -> list[Schema]:
    """Return the parameters of a call, or references to them."""
    names = [
        name
        for name, parameter in _build_path_parameters().items()
        if f"{{{parameter['name']}:" in str(handler.paths)
    ]
    if "accepts_idempotency_key" in handler.opt:
        names.append("IdempotencyKey")
    parameters: list[Schema] = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if query := handler.opt.get("query"):
        parameters += [_describe_query_parameter(query, name) for name in query.__struct_fields__]
    return parameters


def _describe_query_parameter(query: type[msgspec.Struct], name: str) -> Schema:
    schema = build_member_schema(query, name)
    description = schema.pop("description", "")
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
    }


def _build_path_parameters() -> Schema:
    challenge_id = build_member_schema(schemas.ChallengeView, "id")
    delivery_id = build_member_schema(schemas.CodeDeliveryView, "id")
    name_schema = {"type": "string", "pattern": f"^{TENANT_NAME_PATTERN}$"}
    described = (
        ("ChallengeId", "challenge_id", "The `id` of a challenge.", challenge_id),
        ("DeliveryId", "delivery_id", "The `id` of a delivery.", delivery_id),
        ("Provider", "provider", "The name of a provider in the configuration.", name_schema),
        ("Hook", "hook", "The name of a hook in the configuration.", name_schema),
    )
    return {
        component: {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": schema,
        }
        for component, name, description, schema in described
    }
