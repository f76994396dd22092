"""Generate the OpenAPI 3.1 document from the structs, the problem types and the handlers.

The decorator of a handler has its `request_body`, `response_body` and `query` structs, and the
`problems` that it can raise in addition to the common ones. The first line of its docstring is the
summary, the rest the description.

openapi_schemas.py and openapi_events.py have the bodies, openapi_problems.py the problems, and
openapi_examples.py the examples. openapi_names.py has the names that generators of clients use.

`otp-service openapi > openapi.yaml` writes the copy in the repository; a test compares them.
"""

import inspect
import json
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
import yaml
from litestar.handlers import HTTPRouteHandler

from otp_service import schemas
from otp_service.api import (
    audit,
    authenticators,
    callbacks,
    challenges,
    deliveries,
    hooks,
    ops,
    recovery_codes,
)
from otp_service.api.openapi_examples import REQUEST_EXAMPLES, RESPONSE_EXAMPLES
from otp_service.api.openapi_names import (
    build_schema_ref,
    name_operation,
    name_request,
    name_response,
)
from otp_service.api.openapi_parameters import build_shared_parameters, describe_parameters
from otp_service.api.openapi_problems import (
    build_problem_examples,
    build_problem_schemas,
    build_shared_responses,
    describe_problem_responses,
)
from otp_service.api.openapi_schemas import build_body_schemas


Schema = dict[str, Any]


class CallGroup(NamedTuple):
    """Calls under one tag of the document."""

    tag: str
    description: str
    handlers: tuple[HTTPRouteHandler, ...]


CALL_GROUPS: Final = (
    CallGroup("challenges", "Codes by SMS: issue, verify, resend.", challenges.CHALLENGE_HANDLERS),
    CallGroup(
        "deliveries",
        "Codes that other products generate and check.",
        deliveries.DELIVERY_HANDLERS,
    ),
    CallGroup(
        "authenticators",
        "Authenticator apps (TOTP). You store a sealed token for each user.",
        authenticators.AUTHENTICATOR_HANDLERS,
    ),
    CallGroup(
        "recovery-codes",
        "Ten single-use codes for a lost phone. You store a sealed token for each user.",
        recovery_codes.RECOVERY_CODE_HANDLERS,
    ),
    CallGroup("audit", "Events, for the security team.", audit.AUDIT_HANDLERS),
    CallGroup("operators", "What an operator does for a user.", challenges.OPERATOR_HANDLERS),
    CallGroup("callbacks", "Receipts of SMS providers.", callbacks.CALLBACK_HANDLERS),
    CallGroup("inbound", "Messages from phones: STOP, START, HELP.", callbacks.INBOUND_HANDLERS),
    CallGroup("hooks", "Codes of identity products.", hooks.HOOK_HANDLERS),
    CallGroup("health", "Probes of load balancers.", ops.HEALTH_HANDLERS),
)

DOCUMENTED_HANDLERS: Final = tuple(each for group in CALL_GROUPS for each in group.handlers)

SERVER_ADDRESSES: Final = (
    {"url": "http://127.0.0.1:8000", "description": "On your machine, by `make run`."},
    {
        "url": "https://{host}",
        "description": "In production, behind a proxy with TLS.",
        "variables": {"host": {"default": "otp.example.com"}},
    },
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

The paths below /twilio/v2 are not in this document: they follow Twilio's own specification of Verify v2,
in which 2xx does not mean verified. docs/twilio-verify.md says what differs.
"""

API_KEY_SCHEME: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key. `otp-service init` and `make run` print one.",
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
    for group in CALL_GROUPS:
        for handler in group.handlers:
            (path,), (method,) = handler.paths, handler.http_methods
            operations = paths.setdefault(path.replace(":str", ""), {})
            operations[method.lower()] = {"tags": [group.tag], **_describe_operation(handler)}
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "otp-service",
            "version": "1",
            "description": API_DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": SERVER_ADDRESSES,
        "tags": [{"name": group.tag, "description": group.description} for group in CALL_GROUPS],
        "paths": paths,
        "components": _build_components(),
    }
    # JSON removes shared objects, which YAML would write as aliases. Patterns are JavaScript here,
    # which has no \Z and does not need it: its $ does not match before a line feed.
    plain: Schema = json.loads(msgspec.json.encode(document).replace(rb"\\Z", b"$"))
    return plain


def _build_components() -> Schema:
    handlers = DOCUMENTED_HANDLERS
    body_schemas = build_body_schemas(handlers) | build_problem_schemas(handlers)
    return {
        "securitySchemes": {"apiKey": API_KEY_SCHEME},
        "parameters": build_shared_parameters(),
        "schemas": dict(sorted(body_schemas.items())),
        "responses": build_shared_responses(handlers),
        "examples": build_problem_examples(),
    }


def _describe_operation(handler: HTTPRouteHandler) -> Schema:
    summary, _, description = inspect.cleandoc(handler.fn.__doc__ or "").partition("\n\n")
    described: Schema = {
        "operationId": name_operation(handler),
        "summary": summary.removesuffix("."),
        "description": description,
        "security": [{"apiKey": [scope]} for scope in sorted(handler.opt.get("scopes", ()))],
        "parameters": describe_parameters(handler),
    }
    if request_body := handler.opt.get("request_body"):
        example = REQUEST_EXAMPLES[name_operation(handler)]
        described["requestBody"] = {
            "required": request_body is not schemas.EmptyBody,
            "content": _describe_body(name_request(handler), example),
        }
    described["responses"] = {str(_get_success_status(handler)): _describe_success(handler)}
    for status, response in describe_problem_responses(handler).items():
        described["responses"][str(status)] = response
    return described


def _get_success_status(handler: HTTPRouteHandler) -> int:
    """Return the documented status. Litestar forbids a body on 204, which some vendors need."""
    return int(handler.opt.get("documented_status", handler.status_code))


def _describe_success(handler: HTTPRouteHandler) -> Schema:
    described: Schema = {"description": HTTPStatus(_get_success_status(handler)).phrase}
    has_url = handler.opt.get("response_body") in {schemas.ChallengeView, schemas.CodeDeliveryView}
    if has_url and handler.status_code == HTTPStatus.CREATED:
        (path,) = handler.paths
        location = {"type": "string", "pattern": f"^{path}/"}
        described["headers"] = {"Location": {"required": True, "schema": location}}
    if response_body := handler.opt.get("response_body"):
        example = RESPONSE_EXAMPLES[name_operation(handler)]
        described["content"] = _describe_body(name_response(response_body), example)
    return described


def _describe_body(name: str, example: Schema) -> Schema:
    return {"application/json": {"schema": build_schema_ref(name), "example": example}}


class _LiteralBlockDumper(yaml.SafeDumper):
    """Writes text of several lines as a literal block."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_LiteralBlockDumper.add_representer(str, _LiteralBlockDumper.represent_str)
