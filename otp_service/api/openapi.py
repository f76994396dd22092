"""The API's description (OpenAPI 3.1), out of the structs, the problems and the handlers.

A handler says in its decorator what the document tells of it: `ask` and `answer` are the structs of
its bodies (`query`: of its query), `problems` what it is refused for beside what every call is.

`openapi.yaml` at the top of the repository is this text; a test holds them equal.
"""

import json
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
import yaml
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api import audit, callbacks, challenges, ops
from otp_service.api.problems import (
    FRAMEWORK_PROBLEMS,
    PROBLEM_TYPES,
    build_problem,
    build_problem_headers,
    get_problem_type,
)
from otp_service.core import errors
from otp_service.core.tenant import TENANT_NAME_PATTERN


Schema = dict[str, Any]

HANDLERS: Final = (
    *challenges.HANDLERS,
    *audit.HANDLERS,
    *callbacks.HANDLERS,
    *ops.PUBLIC_HANDLERS,
)

API_DESCRIPTION: Final = """\
Issues one-time codes to phone numbers, and says once whether the code that came back is right.

On verify, 2xx means verified, and nothing else does. Keep the challenge's id in the server-side
session of the user, pass `account`, and make a fresh `Idempotency-Key` for every try, never from
what a browser sent. Problems tell the reason to you, a back end; show your own users one message.

Every answer has `Cache-Control: no-store`; every error is `application/problem+json` (RFC 9457).
What is wrong is looked for in this order: 401, 403 forbidden, 413, 415, 400, 404, 410, 403
number-locked, 400 malformed-code, 409, 503 overloaded, 429. A `traceparent` header (W3C) names
the trace in the audit log.
"""

IDEMPOTENCY_KEY_PARAMETER: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names this try: repeated with it, the call is done once. Quoted or bare.",
    "schema": {
        "type": "string",
        "pattern": r'^(?:[!#-+.-~-]{1,255}|"(?:[ !#-\[\]-~]|\\["\\]){1,255}")$',
    },
}

RESPONSE_HEADERS: Final = {
    "Retry-After": ("^[1-9][0-9]*$", "Seconds after which the same call is worth another try."),
    "RateLimit": ('^"[A-Za-z]+";r=0;t=[0-9]+$', "The limit that refused, and for how long."),
    "RateLimit-Policy": ('^"[A-Za-z]+";q=[0-9]+;w=[0-9]+$', "Its count, and its seconds."),
    "WWW-Authenticate": ("^Bearer$", "How to authenticate."),
    "Allow": ("^[A-Z, ]+$", "The methods that are allowed."),
}

COMMON_PROBLEMS: Final = (
    *("unauthenticated", "forbidden", "content-too-large", "unsupported-media-type"),
    *("invalid-request", "overloaded", "store-unavailable", "internal-error"),
)
"""What every call with a key may be refused for."""
CHALLENGE_PATH_PROBLEMS: Final = ("challenge-not-found", "not-found", "method-not-allowed")
"""What a path with an id in it may meet; an id with a slash in it is another path."""

EXAMPLE_ERRORS: Final = (
    errors.InvalidRequest(("phone_number", "is missing")),
    errors.NumberNotAllowed("country"),
    errors.IncorrectCode(attempts_left=4),
    errors.Undeliverable("unreachable"),
    errors.RateLimited("SendsPerNumber", retry_after=312, quota=8, period_seconds=600),
    errors.DeliveryFailed("c07-5d41402abc4b2a76b9719d911017c592"),
)
"""Examples of the errors that tell more than their type."""


@cache
def render_document() -> str:
    """Return the document as YAML."""
    return to_yaml(build_document())


def to_yaml(part: Schema) -> str:
    """Return a part of the document as YAML."""
    return yaml.dump(
        part, Dumper=_LiteralBlockDumper, sort_keys=False, allow_unicode=True, width=100
    )


@cache
def build_document() -> Schema:
    """Return the document."""
    paths: dict[str, Schema] = {}
    for handler in HANDLERS:
        (path,), (method,) = handler.paths, handler.http_methods
        path = path.replace(":str", "")
        paths.setdefault(path, {})[method.lower()] = _describe_operation(path, handler)
    samples = _collect_sample_errors()
    made = {
        "openapi": "3.1.0",
        "info": {"title": "One-time codes", "version": "1", "description": API_DESCRIPTION},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _build_schemas(),
            "responses": _describe_problem_responses(),
            "examples": {slug: {"value": build_problem(samples[slug])} for slug in sorted(samples)},
        },
    }
    # Through JSON: what two places share would become an alias in YAML. And regular expressions
    # are JavaScript's here, which has no \Z and needs none: its $ does not let a line feed pass.
    plain: Schema = json.loads(msgspec.json.encode(made).replace(rb"\\Z", b"$"))
    return plain


@cache
def _collect_sample_errors() -> dict[str, Exception]:
    """Return an error of each type of problem."""
    refused = [
        HTTPException(status_code=one, headers={"allow": "GET"}) for one in FRAMEWORK_PROBLEMS
    ]
    found = {get_problem_type(error): error for error in (Exception(), *refused, *EXAMPLE_ERRORS)}
    for kind in vars(errors).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, errors.OtpError)
            and kind.problem_type not in found
        ):
            found[kind.problem_type] = kind()
    return found


def _describe_operation(path: str, handler: HTTPRouteHandler) -> Schema:
    described: Schema = {
        "operationId": handler.handler_name,
        "summary": (handler.fn.__doc__ or "").removesuffix("."),
        "security": [{"key": [scope]} for scope in sorted(handler.opt.get("scopes", ()))],
        "parameters": _describe_parameters(path, handler.opt),
    }
    if request_body := handler.opt.get("request_body"):
        described["requestBody"] = {
            "required": request_body is not schemas.EmptyBody,
            "content": {"application/json": {"schema": _build_ref(request_body)}},
        }
    described["responses"] = {str(_get_success_status(handler)): _describe_success(handler)}
    for status, slugs in _group_problems_by_status(handler).items():
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{'.'.join(slugs)}"}
    return described


def _describe_parameters(path: str, opt: dict[str, Any]) -> list[Schema]:
    found: list[Schema] = []
    if "{challenge_id}" in path:
        schema = _get_field_schema(schemas.ChallengeView, "id")
        found.append({"name": "challenge_id", "in": "path", "required": True, "schema": schema})
    if "{provider}" in path:
        schema = {"type": "string", "pattern": f"^{TENANT_NAME_PATTERN}$"}
        found.append({"name": "provider", "in": "path", "required": True, "schema": schema})
    if query := opt.get("query"):
        found += [
            {"name": name, "in": "query", "schema": _get_field_schema(query, name)}
            for name in query.__struct_fields__
        ]
    return [*found, IDEMPOTENCY_KEY_PARAMETER] if "accepts_idempotency_key" in opt else found


def _get_success_status(handler: HTTPRouteHandler) -> int:
    """Return the status of success; Litestar would let no vendor have a body beside its 204."""
    return int(handler.opt.get("documented_status", handler.status_code))


def _describe_success(handler: HTTPRouteHandler) -> Schema:
    described: Schema = {"description": HTTPStatus(_get_success_status(handler)).phrase}
    if handler.status_code == HTTPStatus.CREATED:
        location = {"type": "string", "pattern": "^/v1/challenges/"}
        described["headers"] = {"Location": {"required": True, "schema": location}}
    if response_body := handler.opt.get("response_body"):
        described["content"] = {"application/json": {"schema": _build_ref(response_body)}}
    return described


def _group_problems_by_status(handler: HTTPRouteHandler) -> dict[int, tuple[str, ...]]:
    """Return the types of problem by their status."""
    problems = {*handler.opt.get("problems", ())}
    if "scopes" in handler.opt:
        problems.update(COMMON_PROBLEMS)
    if challenges.CHALLENGE_PATH in str(handler.paths):
        problems.update(CHALLENGE_PATH_PROBLEMS)
    by_status: dict[int, tuple[str, ...]] = {}
    for slug in sorted(problems):
        status = PROBLEM_TYPES[slug].status
        by_status[status] = (*by_status.get(status, ()), slug)
    return dict(sorted(by_status.items()))


def _describe_problem_responses() -> Schema:
    groups = {
        slugs for handler in HANDLERS for slugs in _group_problems_by_status(handler).values()
    }
    return {".".join(slugs): _describe_problem_response(slugs) for slugs in sorted(groups)}


def _describe_problem_response(slugs: tuple[str, ...]) -> Schema:
    samples = [_collect_sample_errors()[slug] for slug in slugs]
    exact = {
        "properties": {
            "type": {"enum": [f"/problems/{slug}" for slug in slugs]},
            "status": {"const": PROBLEM_TYPES[slugs[0]].status},
        },
        "required": _find_common_keys(
            [msgspec.to_builtins(build_problem(sample)) for sample in samples]
        ),
    }
    examples = {slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs}
    schema = {"allOf": [_build_ref(schemas.Problem), exact]}
    return {
        "description": "; ".join(PROBLEM_TYPES[slug].title for slug in slugs),
        "headers": _describe_headers([build_problem_headers(sample) for sample in samples]),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }


def _describe_headers(header_sets: list[dict[str, str]]) -> Schema:
    always = _find_common_keys(header_sets)
    return {
        name: {
            "description": about,
            "required": name in always,
            "schema": {"type": "string", "pattern": pattern},
        }
        for name, (pattern, about) in RESPONSE_HEADERS.items()
        if any(name in headers for headers in header_sets)
    }


def _find_common_keys(mappings: list[dict[str, Any]]) -> list[str]:
    return [name for name in mappings[0] if all(name in other for other in mappings)]


def _build_ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _build_schemas() -> Schema:
    bodies = [
        handler.opt.get(name) for handler in HANDLERS for name in ("request_body", "response_body")
    ]
    kinds = [*filter(None, bodies), schemas.Problem]
    template = "#/components/schemas/{name}"
    return dict(sorted(msgspec.json.schema_components(kinds, ref_template=template)[1].items()))


def _get_field_schema(kind: type[msgspec.Struct], name: str) -> Schema:
    """Return the schema of one field, without the null that only a body can say."""
    schema: Schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name]
    return schema["anyOf"][0] if "anyOf" in schema else schema


class _LiteralBlockDumper(yaml.SafeDumper):
    """Writes text of several lines as it stands."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_LiteralBlockDumper.add_representer(str, _LiteralBlockDumper.represent_str)
