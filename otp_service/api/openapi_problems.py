"""The problems of the OpenAPI document: which calls answer them, their schemas and their examples.

A handler lists its problem types as `problems`. Each type has a schema of its own, in which `type` is
one value: a generated client has a class for each, and finds the right one by it.

A call whose example of a type differs from EXAMPLE_ERRORS (another limit, other members or another
text) is in EXAMPLE_ERRORS_BY_CALL, and shows that example in its response.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from otp_service.api import challenges, deliveries, problems
from otp_service.api.audit_admission import CALLS_LIMIT
from otp_service.api.openapi_names import (
    build_schema_ref,
    name_operation,
    name_problem,
    to_pascal_case,
)
from otp_service.api.openapi_schemas import build_member_schema
from otp_service.core import errors
from otp_service.core.limits import Limit
from otp_service.core.recovery_codes import MALFORMED_CODE_DETAIL
from otp_service.core.tenant import CODE_RULE
from otp_service.core.timestamps import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS
from otp_service.schemas import Problem


Schema = dict[str, Any]

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
    "WWW-Authenticate": ('^(Bearer|Basic realm="otp-service")$', "How to authenticate."),
    "Allow": ("^[A-Z, ]+$", "The allowed methods."),
}

COMMON_PROBLEMS: Final = (
    *("unauthenticated", "forbidden", "content-too-large", "unsupported-media-type"),
    *("invalid-request", "overloaded", "store-unavailable", "internal-error"),
)
"""Problems of every call that needs a key."""
DELIVERY_PATH_PROBLEMS: Final = ("not-found", "method-not-allowed")
"""Problems of a path with the id of a delivery."""
CHALLENGE_PATH_PROBLEMS: Final = ("challenge-not-found", "not-found", "method-not-allowed")
"""Problems of a path with a challenge id; an id with a slash is another path."""

EXAMPLE_ERRORS: Final = (
    errors.InvalidRequest(("phone", "is not a field of this request")),
    # The text of core.codes.normalize_code for the default number of digits.
    errors.MalformedCode(
        detail="The code must be a string of 6 ASCII digits. No attempt was charged."
    ),
    errors.NumberNotAllowed("country"),
    errors.IncorrectCode(attempts_left=4),
    errors.Undeliverable("unreachable"),
    errors.RateLimited("SendsPerNumber", retry_after=312, quota=8, period_seconds=600),
    errors.DeliveryFailed("c07-5d41402abc4b2a76b9719d911017c592"),
)
"""Examples of errors with extension members. They fit each call that lists their type, except
those below."""

_AUTHENTICATOR_ERRORS: Final = (
    errors.IncorrectCode(),
    errors.RateLimited(
        Limit.AUTHENTICATOR_FAILURES, retry_after=120, quota=5, period_seconds=10 * MINUTE_SECONDS
    ),
)
_AUDIT_ERRORS: Final = (
    errors.RateLimited(CALLS_LIMIT, retry_after=1, quota=60, period_seconds=MINUTE_SECONDS),
)
EXAMPLE_ERRORS_BY_CALL: Final[Mapping[str, tuple[errors.OtpError, ...]]] = {
    "verifyChallenge": (
        errors.RateLimited(
            Limit.FAILURES_NUMBER, retry_after=360, quota=10, period_seconds=HOUR_SECONDS
        ),
    ),
    "createDelivery": (
        errors.InvalidRequest(("code", CODE_RULE)),
        errors.DeliveryFailed("d07-7d793037a0760186574b0282f2f435e7"),
    ),
    "getDelivery": (errors.DeliveryNotFound(),),
    "confirmAuthenticator": _AUTHENTICATOR_ERRORS,
    "verifyAuthenticator": _AUTHENTICATOR_ERRORS,
    "createRecoveryCodes": (
        errors.RateLimited(
            Limit.RECOVERY_SETS, retry_after=17_280, quota=5, period_seconds=DAY_SECONDS
        ),
    ),
    "verifyRecoveryCode": (
        errors.MalformedCode(detail=MALFORMED_CODE_DETAIL),
        errors.IncorrectCode(),
        errors.RateLimited(
            Limit.RECOVERY_FAILURES, retry_after=720, quota=5, period_seconds=HOUR_SECONDS
        ),
    ),
    "listEvents": _AUDIT_ERRORS,
    "searchEvents": _AUDIT_ERRORS,
}
"""By operation id. (Litestar copies the options of a handler, and errors cannot be copied.)"""

SHARED_RESPONSE_NAMES: Final = {
    ("challenge-not-found", "not-found"): "ChallengeOrPathNotFound",
    ("account-locked", "forbidden", "number-locked"): "ForbiddenOrLocked",
    (
        *("challenge-already-verified", "challenge-canceled"),
        *("challenge-expired", "challenge-locked"),
    ): "ChallengeEnded",
    ("invalid-phone-number", "number-not-allowed"): "NumberRefused",
    ("overloaded", "store-unavailable"): "Unavailable",
}
"""The name of the response with these problems, where several calls have it."""


def describe_problem_responses(handler: HTTPRouteHandler) -> dict[int, Schema]:
    """Return the response of each status of a call, or a reference to it."""
    own = _get_own_errors(handler)
    return {
        status: _describe_response(slugs, own)
        if name is None or not own.keys().isdisjoint(slugs)
        else {"$ref": f"#/components/responses/{name}"}
        for status, slugs in _group_problems_by_status(handler).items()
        for name in [_name_shared_response(slugs)]
    }


def build_shared_responses(handlers: Iterable[HTTPRouteHandler]) -> Schema:
    """Return the responses to which the calls refer, by their names."""
    groups = {slugs for each in handlers for slugs in _group_problems_by_status(each).values()}
    named = {name: slugs for slugs in groups if (name := _name_shared_response(slugs))}
    return {name: _describe_response(named[name], {}) for name in sorted(named)}


def build_problem_examples() -> Schema:
    """Return one example of each problem type."""
    samples = sorted(_collect_sample_errors().items())
    return {to_pascal_case(slug): _build_example(error) for slug, error in samples}


def build_problem_schemas(handlers: Iterable[HTTPRouteHandler]) -> Schema:
    """Return the schema of each problem type that a call can answer."""
    groups = (_group_problems_by_status(handler).values() for handler in handlers)
    slugs = {slug for group in groups for each in group for slug in each}
    return {name_problem(slug): _build_problem_schema(slug) for slug in sorted(slugs)}


def _name_shared_response(slugs: tuple[str, ...]) -> str | None:
    return to_pascal_case(slugs[0]) if len(slugs) == 1 else SHARED_RESPONSE_NAMES.get(slugs)


def _get_own_errors(handler: HTTPRouteHandler) -> dict[str, Exception]:
    own = EXAMPLE_ERRORS_BY_CALL.get(name_operation(handler), ())
    return {error.problem_type: error for error in own}


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


def _group_problems_by_status(handler: HTTPRouteHandler) -> dict[int, tuple[str, ...]]:
    all_slugs = {*handler.opt.get("problems", ())}
    if "scopes" in handler.opt:
        all_slugs.update(COMMON_PROBLEMS)
    if "query" in handler.opt:
        all_slugs.add("uri-too-long")
    if challenges.CHALLENGE_PATH in str(handler.paths):
        all_slugs.update(CHALLENGE_PATH_PROBLEMS)
    if deliveries.DELIVERY_PATH in str(handler.paths):
        all_slugs.update(DELIVERY_PATH_PROBLEMS)
    by_status: dict[int, tuple[str, ...]] = {}
    for slug in sorted(all_slugs):
        status = problems.PROBLEM_TYPES[slug].status
        by_status[status] = (*by_status.get(status, ()), slug)
    return dict(sorted(by_status.items()))


def _describe_response(slugs: tuple[str, ...], own: Mapping[str, Exception]) -> Schema:
    samples = _collect_sample_errors()
    header_sets = [problems.build_problem_headers(samples[slug]) for slug in slugs]
    described = {
        "description": "; ".join(problems.PROBLEM_TYPES[slug].title for slug in slugs),
        "headers": _describe_headers(header_sets),
        "content": {
            "application/problem+json": {
                "schema": _build_union(slugs),
                "examples": {slug: _describe_example(slug, own.get(slug)) for slug in slugs},
            }
        },
    }
    return {name: part for name, part in described.items() if part}


def _build_union(slugs: tuple[str, ...]) -> Schema:
    refs = {f"/problems/{slug}": build_schema_ref(name_problem(slug)) for slug in slugs}
    if len(slugs) == 1:
        return build_schema_ref(name_problem(slugs[0]))
    mapping = {problem_type: ref["$ref"] for problem_type, ref in refs.items()}
    discriminator = {"propertyName": "type", "mapping": mapping}
    return {"oneOf": [*refs.values()], "discriminator": discriminator}


def _describe_example(slug: str, own: Exception | None) -> Schema:
    shared = {"$ref": f"#/components/examples/{to_pascal_case(slug)}"}
    return shared if own is None else _build_example(own)


def _build_example(error: Exception) -> Schema:
    return {"value": problems.build_problem(error)}


def _build_problem_schema(slug: str) -> Schema:
    """Return the members that examples of this type have. All have the required ones."""
    by_call = [error for own in EXAMPLE_ERRORS_BY_CALL.values() for error in own]
    samples = [_collect_sample_errors()[slug], *(e for e in by_call if e.problem_type == slug)]
    bodies = [msgspec.to_builtins(problems.build_problem(sample)) for sample in samples]
    members = {name: build_member_schema(Problem, name) for body in bodies for name in body}
    problem_type = problems.PROBLEM_TYPES[slug]
    members["type"] |= {"enum": [f"/problems/{slug}"]}
    members["status"] |= {"const": problem_type.status}
    return {
        "description": f"{problem_type.title}.",
        "type": "object",
        "properties": members,
        "required": _find_common_keys(bodies),
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
