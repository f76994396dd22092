"""Generate the OpenAPI 3.1 document from the structs, the problem types and the handlers.

The decorator of a handler has its `request_body`, `response_body` and `query` structs, and the
`problems` that it can raise in addition to the common ones. The first line of its docstring is the
summary, the rest the description.

`otp-service openapi > openapi.yaml` writes the copy in the repository; a test compares them.
"""

import inspect
import json
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
import yaml
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api import (
    audit,
    authenticators,
    callbacks,
    challenges,
    ops,
    problems,
    recovery_codes,
)
from otp_service.core import errors
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

RESPONSE_HEADERS: Final = {
    "Retry-After": ("^[1-9][0-9]*$", "Seconds to wait before the same call can succeed."),
    "RateLimit": (
        '^"[A-Za-z]+";r=0;t=[0-9]+$',
        "The limit that refused, and the seconds until it admits.",
    ),
    "RateLimit-Policy": (
        '^"[A-Za-z]+";q=[0-9]+;w=[0-9]+$',
        "The quota of that limit, and its window in seconds.",
    ),
    "WWW-Authenticate": ("^Bearer$", "How to authenticate."),
    "Allow": ("^[A-Z, ]+$", "The allowed methods."),
}

COMMON_PROBLEMS: Final = (
    *("unauthenticated", "forbidden", "content-too-large", "unsupported-media-type"),
    *("invalid-request", "overloaded", "store-unavailable", "internal-error"),
)
"""Problems of every call that needs a key."""
CHALLENGE_PATH_PROBLEMS: Final = ("challenge-not-found", "not-found", "method-not-allowed")
"""Problems of a path with a challenge id; an id with a slash is another path."""

EXAMPLE_ERRORS: Final = (
    errors.InvalidRequest(("phone_number", "is missing")),
    errors.NumberNotAllowed("country"),
    errors.IncorrectCode(attempts_left=4),
    errors.Undeliverable("unreachable"),
    errors.RateLimited("SendsPerNumber", retry_after=312, quota=8, period_seconds=600),
    errors.DeliveryFailed("c07-5d41402abc4b2a76b9719d911017c592"),
)
"""Examples of errors with extension members."""


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
    samples = _collect_sample_errors()
    document = {
        "openapi": "3.1.0",
        "info": {"title": "One-time codes", "version": "1", "description": API_DESCRIPTION},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _build_schemas(),
            "responses": _describe_problem_responses(),
            "examples": {
                slug: {"value": problems.build_problem(samples[slug])} for slug in sorted(samples)
            },
        },
    }
    # JSON removes shared objects, which YAML would write as aliases. Patterns are JavaScript here,
    # which has no \Z and does not need it: its $ does not match before a line feed.
    plain: Schema = json.loads(msgspec.json.encode(document).replace(rb"\\Z", b"$"))
    return plain


@cache
def _collect_sample_errors() -> dict[str, Exception]:
    allow = {"allow": "GET"}
    statuses = problems.FRAMEWORK_PROBLEMS
    of_framework = [HTTPException(status_code=s, headers=allow) for s in statuses]
    examples = (Exception(), *of_framework, *EXAMPLE_ERRORS)
    samples = {problems.get_problem_type(error): error for error in examples}
    for kind in vars(errors).values():
        is_error = isinstance(kind, type) and issubclass(kind, errors.OtpError)
        if is_error and kind.problem_type not in samples:
            samples[kind.problem_type] = kind()
    return samples


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
            "content": {"application/json": {"schema": _build_ref(request_body)}},
        }
    described["responses"] = {str(_get_success_status(handler)): _describe_success(handler)}
    for status, slugs in _group_problems_by_status(handler).items():
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{'.'.join(slugs)}"}
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
        described["content"] = {"application/json": {"schema": _build_ref(response_body)}}
    return described


def _group_problems_by_status(handler: HTTPRouteHandler) -> dict[int, tuple[str, ...]]:
    all_slugs = {*handler.opt.get("problems", ())}
    if "scopes" in handler.opt:
        all_slugs.update(COMMON_PROBLEMS)
    if "query" in handler.opt:
        all_slugs.add("uri-too-long")
    if challenges.CHALLENGE_PATH in str(handler.paths):
        all_slugs.update(CHALLENGE_PATH_PROBLEMS)
    by_status: dict[int, tuple[str, ...]] = {}
    for slug in sorted(all_slugs):
        status = problems.PROBLEM_TYPES[slug].status
        by_status[status] = (*by_status.get(status, ()), slug)
    return dict(sorted(by_status.items()))


def _describe_problem_responses() -> Schema:
    by_status = map(_group_problems_by_status, DOCUMENTED_HANDLERS)
    groups = {slugs for groups in by_status for slugs in groups.values()}
    return {".".join(slugs): _describe_problem_response(slugs) for slugs in sorted(groups)}


def _describe_problem_response(slugs: tuple[str, ...]) -> Schema:
    samples = [_collect_sample_errors()[slug] for slug in slugs]
    header_sets = [problems.build_problem_headers(sample) for sample in samples]
    bodies = [msgspec.to_builtins(problems.build_problem(sample)) for sample in samples]
    properties = {
        "type": {"enum": [f"/problems/{slug}" for slug in slugs]},
        "status": {"const": problems.PROBLEM_TYPES[slugs[0]].status},
    }
    exact = {"properties": properties, "required": _find_common_keys(bodies)}
    examples = {slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs}
    schema = {"allOf": [_build_ref(schemas.Problem), exact]}
    return {
        "description": "; ".join(problems.PROBLEM_TYPES[slug].title for slug in slugs),
        "headers": _describe_headers(header_sets),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }


def _describe_headers(header_sets: list[dict[str, str]]) -> Schema:
    always = _find_common_keys(header_sets)
    return {
        name: {
            "description": description,
            "required": name in always,
            "schema": {"type": "string", "pattern": pattern},
        }
        for name, (pattern, description) in RESPONSE_HEADERS.items()
        if any(name in headers for headers in header_sets)
    }


def _find_common_keys(mappings: list[dict[str, Any]]) -> list[str]:
    return [name for name in mappings[0] if all(name in other for other in mappings)]


def _build_ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _build_schemas() -> Schema:
    options = [handler.opt for handler in DOCUMENTED_HANDLERS]
    bodies = [o[name] for o in options for name in ("request_body", "response_body") if name in o]
    kinds = [*bodies, schemas.Problem]
    template = "#/components/schemas/{name}"
    return dict(sorted(msgspec.json.schema_components(kinds, ref_template=template)[1].items()))


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
