"""The API's description (OpenAPI 3.1), out of the structs, the problems and the table of calls.

`openapi.yaml` at the top of the repository is this text; a test holds them equal.
"""

import json
from functools import cache
from http import HTTPStatus
from typing import Any, Final

import msgspec
import yaml
from litestar.exceptions import HTTPException

from otp_service import wire
from otp_service.api.operations import ABOUT, OPERATIONS, Operation
from otp_service.api.problems import FRAMEWORKS, KINDS, headers_of, problem_of, slug_of
from otp_service.core import errors


Schema = dict[str, Any]

KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names this try: repeated with it, the call is done once. Quoted or bare.",
    "schema": {
        "type": "string",
        "pattern": r'^(?:[!#-+.-~-]{1,255}|"(?:[ !#-\[\]-~]|\\["\\]){1,255}")$',
    },
}

HEADERS: Final = {
    "Retry-After": ("^[1-9][0-9]*$", "Seconds after which the same call is worth another try."),
    "RateLimit": ('^"[A-Za-z]+";r=0;t=[0-9]+$', "The limit that refused, and for how long."),
    "RateLimit-Policy": ('^"[A-Za-z]+";q=[0-9]+;w=[0-9]+$', "Its count, and its seconds."),
    "WWW-Authenticate": ("^Bearer$", "How to authenticate."),
    "Allow": ("^[A-Z, ]+$", "The methods that are allowed."),
}

SAMPLES: Final[tuple[Exception, ...]] = (
    errors.InvalidRequest(("phone_number", "is missing")),
    errors.MalformedCode(),
    errors.Unauthenticated(),
    errors.Forbidden(),
    errors.NumberLocked(),
    errors.ChallengeNotFound(),
    errors.SendsExhausted(),
    errors.IdempotencyKeyInUse(),
    errors.ChallengeExpired(),
    errors.ChallengeLocked(),
    errors.ChallengeCanceled(),
    errors.ChallengeAlreadyVerified(),
    errors.InvalidPhoneNumber(),
    errors.NumberNotAllowed("country"),
    errors.IncorrectCode(attempts_left=4),
    errors.Undeliverable("unreachable"),
    errors.IdempotencyKeyReused(),
    errors.RateLimited("SendsPerNumber", retry_after=312, count=8, period=600),
    errors.DeliveryFailed("c07-5d41402abc4b2a76b9719d911017c592"),
    errors.Overloaded(),
    errors.StoreUnavailable(),
    Exception(),
    *(HTTPException(status_code=status, headers={"allow": "GET"}) for status in FRAMEWORKS),
)
_SAMPLE: Final = {slug_of(error): error for error in reversed(SAMPLES)}


@cache
def text() -> str:
    """Return the document as YAML."""
    return yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@cache
def document() -> Schema:
    """Return the document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    made = {
        "openapi": "3.1.0",
        "info": {"title": "One-time codes", "version": "1", "description": ABOUT},
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
            "responses": _responses(),
            "examples": {slug: {"value": problem_of(e)} for slug, e in sorted(_SAMPLE.items())},
        },
    }
    # Through JSON: what two places share would become an alias in YAML. And regular expressions
    # are JavaScript's here, which has no \Z and needs none: its $ does not let a line feed pass.
    plain: Schema = json.loads(msgspec.json.encode(made).replace(rb"\\Z", b"$"))
    return plain


def _operation(operation: Operation) -> Schema:
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{"key": [scope]} for scope in operation.scopes],
        "parameters": _parameters(operation),
    }
    if operation.ask:
        described["requestBody"] = {
            "required": operation.ask is not wire.Nothing,
            "content": {"application/json": {"schema": _ref(operation.ask)}},
        }
    described["responses"] = {str(operation.status): _success(operation)}
    for status, slugs in _refusals(operation).items():
        described["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(slugs)}"}
    return described


def _parameters(operation: Operation) -> list[Schema]:
    found: list[Schema] = []
    if "{challenge_id}" in operation.path:
        schema = _field(wire.ChallengeView, "id")
        found.append({"name": "challenge_id", "in": "path", "required": True, "schema": schema})
    if operation.name == "events":
        found += [
            {"name": name, "in": "query", "schema": _field(wire.AuditQuery, name)}
            for name in wire.AuditQuery.__struct_fields__
        ]
    return [*found, KEY] if operation.takes_key else found


def _success(operation: Operation) -> Schema:
    described: Schema = {"description": HTTPStatus(operation.status).phrase}
    if operation.status == HTTPStatus.CREATED:
        location = {"type": "string", "pattern": "^/v1/challenges/"}
        described["headers"] = {"Location": {"required": True, "schema": location}}
    if operation.answer:
        described["content"] = {"application/json": {"schema": _ref(operation.answer)}}
    return described


def _refusals(operation: Operation) -> dict[int, tuple[str, ...]]:
    """Return the types of problem by their status."""
    by_status: dict[int, tuple[str, ...]] = {}
    for slug in sorted(operation.problems):
        status = KINDS[slug].status
        by_status[status] = (*by_status.get(status, ()), slug)
    return dict(sorted(by_status.items()))


def _name(slugs: tuple[str, ...]) -> str:
    return ".".join(slugs)


def _responses() -> Schema:
    groups = {slugs for operation in OPERATIONS for slugs in _refusals(operation).values()}
    return {_name(slugs): _response(slugs) for slugs in sorted(groups)}


def _response(slugs: tuple[str, ...]) -> Schema:
    samples = [_SAMPLE[slug] for slug in slugs]
    exact = {
        "properties": {
            "type": {"enum": [f"/problems/{slug}" for slug in slugs]},
            "status": {"const": KINDS[slugs[0]].status},
        },
        "required": _in_all([msgspec.to_builtins(problem_of(sample)) for sample in samples]),
    }
    examples = {slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs}
    schema = {"allOf": [_ref(wire.Problem), exact]}
    return {
        "description": "; ".join(KINDS[slug].title for slug in slugs),
        "headers": _headers([headers_of(sample) for sample in samples]),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }


def _headers(carried: list[dict[str, str]]) -> Schema:
    always = _in_all(carried)
    return {
        name: {
            "description": about,
            "required": name in always,
            "schema": {"type": "string", "pattern": pattern},
        }
        for name, (pattern, about) in HEADERS.items()
        if any(name in headers for headers in carried)
    }


def _in_all(many: list[dict[str, Any]]) -> list[str]:
    return [name for name in many[0] if all(name in other for other in many)]


def _ref(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schemas() -> Schema:
    asked = [operation.ask for operation in OPERATIONS if operation.ask]
    answered = [operation.answer for operation in OPERATIONS if operation.answer]
    kinds = [*asked, *answered, wire.Problem]
    template = "#/components/schemas/{name}"
    return dict(sorted(msgspec.json.schema_components(kinds, ref_template=template)[1].items()))


def _field(kind: type[msgspec.Struct], name: str) -> Schema:
    """Return the schema of one field, without the null that only a body can say."""
    schema: Schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"][name]
    return schema["anyOf"][0] if "anyOf" in schema else schema


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it stands."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
