"""The problems of the OpenAPI document: which calls answer them, and their examples.

A handler lists its problem types as `problems`. A call whose example of a type differs from
EXAMPLE_ERRORS (another limit, other members or another text) is in EXAMPLE_ERRORS_BY_CALL. It has
responses and examples of its own in the document, named after it.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from otp_service.api import challenges, problems
from otp_service.api.audit_admission import CALLS_LIMIT
from otp_service.core import errors
from otp_service.core.limits import Limit
from otp_service.core.recovery_codes import MALFORMED_CODE_DETAIL
from otp_service.core.timestamps import DAY_SECONDS, HOUR_SECONDS, MINUTE_SECONDS


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
    "verify_challenge": (
        errors.RateLimited(
            Limit.FAILURES_NUMBER, retry_after=360, quota=10, period_seconds=HOUR_SECONDS
        ),
    ),
    "confirm_authenticator": _AUTHENTICATOR_ERRORS,
    "verify_authenticator": _AUTHENTICATOR_ERRORS,
    "create_recovery_codes": (
        errors.RateLimited(
            Limit.RECOVERY_SETS, retry_after=17_280, quota=5, period_seconds=DAY_SECONDS
        ),
    ),
    "verify_recovery_code": (
        errors.MalformedCode(detail=MALFORMED_CODE_DETAIL),
        errors.IncorrectCode(),
        errors.RateLimited(
            Limit.RECOVERY_FAILURES, retry_after=720, quota=5, period_seconds=HOUR_SECONDS
        ),
    ),
    "list_events": _AUDIT_ERRORS,
    "search_events": _AUDIT_ERRORS,
}
"""By operation id. (Litestar copies the options of a handler, and errors cannot be copied.)"""


def name_problem_responses(handler: HTTPRouteHandler) -> dict[int, str]:
    """Return the name of the response component of each status."""
    groups = _group_problems_by_status(handler)
    return {status: _name_response(handler, slugs) for status, slugs in groups.items()}


def describe_problem_responses(handlers: Iterable[HTTPRouteHandler]) -> Schema:
    """Return the response components of these calls, by their names."""
    described = {
        _name_response(handler, slugs): _describe_problem_response(handler, slugs)
        for handler in handlers
        for slugs in _group_problems_by_status(handler).values()
    }
    return dict(sorted(described.items()))


def describe_problem_examples(handlers: Iterable[HTTPRouteHandler]) -> Schema:
    """Return the example components: one of each problem type, then those of single calls."""
    samples = dict(sorted(_collect_sample_errors().items()))
    for handler in handlers:
        own = _get_own_errors(handler)
        samples |= {_name_example(handler, slug): own[slug] for slug in sorted(own)}
    return {name: {"value": problems.build_problem(error)} for name, error in samples.items()}


def _name_response(handler: HTTPRouteHandler, slugs: tuple[str, ...]) -> str:
    is_own = not _get_own_errors(handler).keys().isdisjoint(slugs)
    return ".".join((handler.handler_name, *slugs) if is_own else slugs)


def _name_example(handler: HTTPRouteHandler, slug: str) -> str:
    return f"{handler.handler_name}.{slug}" if slug in _get_own_errors(handler) else slug


def _get_own_errors(handler: HTTPRouteHandler) -> dict[str, Exception]:
    own = EXAMPLE_ERRORS_BY_CALL.get(handler.handler_name, ())
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
    by_status: dict[int, tuple[str, ...]] = {}
    for slug in sorted(all_slugs):
        status = problems.PROBLEM_TYPES[slug].status
        by_status[status] = (*by_status.get(status, ()), slug)
    return dict(sorted(by_status.items()))


def _describe_problem_response(handler: HTTPRouteHandler, slugs: tuple[str, ...]) -> Schema:
    known = _collect_sample_errors() | _get_own_errors(handler)
    samples = [known[slug] for slug in slugs]
    header_sets = [problems.build_problem_headers(sample) for sample in samples]
    bodies = [msgspec.to_builtins(problems.build_problem(sample)) for sample in samples]
    properties = {
        "type": {"enum": [f"/problems/{slug}" for slug in slugs]},
        "status": {"const": problems.PROBLEM_TYPES[slugs[0]].status},
    }
    exact = {"properties": properties, "required": _find_common_keys(bodies)}
    names = {slug: _name_example(handler, slug) for slug in slugs}
    examples = {slug: {"$ref": f"#/components/examples/{name}"} for slug, name in names.items()}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, exact]}
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
