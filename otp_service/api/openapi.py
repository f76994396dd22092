"""Generate the OpenAPI 3.1 document from the structs, the problem types and the handlers.

The decorator of a handler has its `request_body`, `response_body` and `query` structs, and the
`problems` that it can raise in addition to the common ones. The first line of its docstring is the
summary, the rest the description.

Examples are in openapi_examples.py for bodies, and in openapi_problems.py for problems.

`otp-service openapi > openapi.yaml` writes the copy in the repository; a test compares them.
"""

import inspect
import json
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
import yaml
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api import (
    audit,
    authenticators,
    callbacks,
    challenges,
    ops,
    recovery_codes,
)
from otp_service.api.openapi_examples import REQUEST_EXAMPLES, RESPONSE_EXAMPLES
from otp_service.api.openapi_problems import (
    describe_problem_examples,
    describe_problem_responses,
    name_problem_responses,
)
from otp_service.core.tenant import TENANT_NAME_PATTERN


Schema = dict[str, Any]

DOCUMENTED_HANDLERS: Final = (
    *challenges.CHALLENGE_HANDLERS,
    *authenticators.AUTHENTICATOR_HANDLERS,
    *recovery_codes.RECOVERY_CODE_HANDLERS,
    *(*audit.AUDIT_HANDLERS, *callbacks.CALLBACK_HANDLERS, *ops.HEALTH_HANDLERS),
)

API_DESCRIPTION: Final = """\
Sends one-time codes to phone numbers, and confirms exactly once that a code is correct.

On verify, 2xx means verified, and no other status does. Keep the id of the challenge in the
server-side session of the user, pass `account`, and generate a new `Idempotency-Key` for every try,
never from data of a browser. The reason in a problem is for your back end; show users one message.

Every response has `Cache-Control: no-store`; every error is `application/problem+json` (RFC 9457).
Errors are checked in this order: 401, 403 forbidden, 413, 415, 400, 422 invalid-phone-number,
number-not-allowed, invalid-authenticator and invalid-recovery-set, 404, 410, 403 number-locked and
account-locked, 400 malformed-code, 409, 503 overloaded, 429; then 422 incorrect-code and
code-already-used. A `traceparent` header (W3C) sets the trace id in the audit log.
"""

IDEMPOTENCY_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Identifies one try: a repeated call with the same key runs once. Quoted or bare.",
    "schema": {
        "type": "string",
        "pattern": r'^(?:[!#-+.-~-]{1,255}|"(?:[ !#-\[\]-~]|\\["\\]){1,255}")$',
    },
}


@cache
def render_document() -> str:
    return to_yaml(build_document())


def to_yaml(part: Schema) -> str:
    options: Any = {"sort_keys": False, "allow_unicode": True, "width": 100}
    text: str = yaml.dump(part, Dumper=_LiteralBlockDumper, **options)
    return text


@cache
def build_document() -> Schema:
    paths: dict[str, Schema] = {}
    for handler in DOCUMENTED_HANDLERS:
        (path,), (method,) = handler.paths, handler.http_methods
        path = path.replace(":str", "")
        paths.setdefault(path, {})[method.lower()] = _describe_operation(path, handler)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "One-time codes", "version": "1", "description": API_DESCRIPTION},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _build_schemas(),
            "responses": describe_problem_responses(DOCUMENTED_HANDLERS),
            "examples": describe_problem_examples(DOCUMENTED_HANDLERS),
        },
    }
    # JSON removes shared objects, which YAML would write as aliases. Patterns are JavaScript here,
    # which has no \Z and does not need it: its $ does not match before a line feed.
    plain: Schema = json.loads(msgspec.json.encode(document).replace(rb"\\Z", b"$"))
    return plain


def _describe_operation(path: str, handler: HTTPRouteHandler) -> Schema:
    summary, _, description = inspect.cleandoc(handler.fn.__doc__ or "").partition("\n\n")
    described: Schema = {
        "operationId": handler.handler_name,
        "summary": summary.removesuffix("."),
        **({"description": description} if description else {}),
        "security": [{"key": [scope]} for scope in sorted(handler.opt.get("scopes", ()))],
        "parameters": _describe_parameters(path, handler.opt),
    }
    if request_body := handler.opt.get("request_body"):
        described["requestBody"] = {
            "required": request_body is not schemas.EmptyBody,
            "content": _describe_body(request_body, REQUEST_EXAMPLES[handler.handler_name]),
        }
    described["responses"] = {str(_get_success_status(handler)): _describe_success(handler)}
    for status, name in name_problem_responses(handler).items():
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
    return described


def _describe_parameters(path: str, opt: dict[str, Any]) -> list[Schema]:
    path_schemas = {
        "challenge_id": _get_field_schema(schemas.ChallengeView, "id"),
        "provider": {"type": "string", "pattern": f"^{TENANT_NAME_PATTERN}$"},
    }
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in path_schemas.items()
        if f"{{{name}}}" in path
    ]
    if query := opt.get("query"):
        parameters += [
            {"name": name, "in": "query", "schema": _get_field_schema(query, name)}
            for name in query.__struct_fields__
        ]
    return [*parameters, *([IDEMPOTENCY_KEY_PARAMETER] if "accepts_idempotency_key" in opt else ())]


def _get_success_status(handler: HTTPRouteHandler) -> int:
    """Return the documented status. Litestar forbids a body on 204, which some vendors need."""
    return int(handler.opt.get("documented_status", handler.status_code))


def _describe_success(handler: HTTPRouteHandler) -> Schema:
    described: Schema = {"description": HTTPStatus(_get_success_status(handler)).phrase}
    has_url = handler.opt.get("response_body") is schemas.ChallengeView
    if has_url and handler.status_code == HTTPStatus.CREATED:
        location = {"type": "string", "pattern": "^/v1/challenges/"}
        described["headers"] = {"Location": {"required": True, "schema": location}}
    if response_body := handler.opt.get("response_body"):
        example = RESPONSE_EXAMPLES[handler.handler_name]
        described["content"] = _describe_body(response_body, example)
    return described


def _describe_body(kind: type[msgspec.Struct], example: Schema) -> Schema:
    return {"application/json": {"schema": _build_ref(kind), "example": example}}


def _build_ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _build_schemas() -> Schema:
    options = [handler.opt for handler in DOCUMENTED_HANDLERS]
    requests = [opt["request_body"] for opt in options if "request_body" in opt]
    responses = [opt["response_body"] for opt in options if "response_body" in opt]
    template = "#/components/schemas/{name}"
    kinds = [*requests, *responses, schemas.Problem]
    described: Schema = msgspec.json.schema_components(kinds, ref_template=template)[1]
    for kind in requests:
        _admit_null(described[kind.__name__])
    for schema in described.values():
        # Python 3.13 takes the indentation out of docstrings; the earlier ones keep it.
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return dict(sorted(described.items()))


def _admit_null(schema: Schema) -> None:
    """Let each optional member of a request be null, as request_body.convert_fields does."""
    properties: Schema = schema.get("properties", {})
    for name in properties.keys() - {*schema.get("required", ())}:
        member = properties[name]
        if "anyOf" not in member:
            default = {"default": member.pop("default")}
            properties[name] = {"anyOf": [member, {"type": "null"}], **default}


def _get_field_schema(kind: type[msgspec.Struct], name: str) -> Schema:
    """Return the schema of one field, without the null that only a JSON body can have."""
    schema: Schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name]
    return schema["anyOf"][0] if "anyOf" in schema else schema


class _LiteralBlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a literal block."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_LiteralBlockDumper.add_representer(str, _LiteralBlockDumper.represent_str)
