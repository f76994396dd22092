"""Translate every error into a problem document (RFC 9457).

Every error of `core.errors` has a row in PROBLEM_TYPES under its `problem_type`, and so have the
HTTP errors that Litestar raises. Any other exception becomes a bare `internal-error`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from otp_service.api.request_head import has_head
from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.schemas import FieldError, Problem


logger = logging.getLogger(__name__)


class ProblemType(NamedTuple):
    """The members that are the same in every problem of one type."""

    status: int
    title: str
    detail: str = ""
    """Only for types without an OtpError, whose text is the detail otherwise."""


PROBLEM_TYPES: Final[Mapping[str, ProblemType]] = {
    "invalid-request": ProblemType(400, "The request is invalid", "Correct the request."),
    "malformed-code": ProblemType(400, "The code is malformed"),
    "unauthenticated": ProblemType(401, "The API key is missing or invalid"),
    "forbidden": ProblemType(403, "The API key lacks the scope"),
    "number-locked": ProblemType(403, "The number is locked"),
    "account-locked": ProblemType(403, "The account is locked"),
    "challenge-not-found": ProblemType(404, "The challenge does not exist"),
    "not-found": ProblemType(404, "The path does not exist", "Look up the path in openapi.yaml."),
    "method-not-allowed": ProblemType(
        405, "The method is not allowed", "Use one of the methods in the Allow header."
    ),
    "sends-exhausted": ProblemType(409, "No sends are left"),
    "idempotency-key-in-use": ProblemType(409, "The first call is still running"),
    "authenticator-not-confirmed": ProblemType(409, "The authenticator is not confirmed"),
    "authenticator-already-confirmed": ProblemType(409, "The authenticator is active"),
    "challenge-expired": ProblemType(410, "The challenge has expired"),
    "challenge-locked": ProblemType(410, "The challenge is locked"),
    "challenge-canceled": ProblemType(410, "The challenge was canceled"),
    "challenge-already-verified": ProblemType(410, "The challenge was already verified"),
    "request-timeout": ProblemType(
        408, "The body took too long", "Send the whole body within 20 seconds."
    ),
    "content-too-large": ProblemType(413, "The body is too large", "Send at most 16 KiB."),
    "uri-too-long": ProblemType(
        414, "The URL is too long", "Send at most 8192 bytes of path and query."
    ),
    "unsupported-media-type": ProblemType(
        415,
        "The body is not JSON",
        "Send UTF-8 with the header 'Content-Type: application/json', and no Content-Encoding.",
    ),
    "invalid-phone-number": ProblemType(422, "The phone number is invalid"),
    "number-not-allowed": ProblemType(422, "No code is sent to this number"),
    "incorrect-code": ProblemType(422, "The code is incorrect"),
    "code-already-used": ProblemType(422, "The code was used before"),
    "invalid-authenticator": ProblemType(422, "The authenticator is invalid"),
    "invalid-recovery-set": ProblemType(422, "The recovery set is invalid"),
    "undeliverable": ProblemType(422, "The number cannot be reached"),
    "idempotency-key-reused": ProblemType(422, "The Idempotency-Key was used before"),
    "rate-limited": ProblemType(429, "Too many requests"),
    "internal-error": ProblemType(
        500,
        "The service failed",
        "Repeat the call with the same Idempotency-Key, and report the failure to the operator.",
    ),
    "not-implemented": ProblemType(
        501,
        "The transfer coding is unknown",
        "Send the body with Content-Length or with 'Transfer-Encoding: chunked' alone.",
    ),
    "delivery-failed": ProblemType(502, "No provider accepted the message"),
    "overloaded": ProblemType(503, "The service is at its capacity"),
    "store-unavailable": ProblemType(503, "The store is not available"),
}
"""To add a type: a row here, an OtpError with this `problem_type` in core/errors.py, the routes that
raise it (`problems=` of the handler), its extension members in `_build_extension_members` with an
example in openapi_problems.EXAMPLE_ERRORS, and docs/api-guide.md. tests/api/test_checklists.py checks
each."""

FRAMEWORK_PROBLEMS: Final[Mapping[int, str]] = {
    400: "invalid-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "content-too-large",
    414: "uri-too-long",
    415: "unsupported-media-type",
    501: "not-implemented",
}
"""HTTP errors that Litestar or this package raise. Litestar's texts may repeat what the caller sent, so
they are dropped."""


BASIC_CHALLENGE: Final = 'Basic realm="otp-service"'
"""Many clients send a password of their URL only after it."""


def build_problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the problem response of any exception, and log internal errors."""
    slug = get_problem_type(error)
    request.scope["state"]["problem"] = slug
    if slug == "internal-error":
        # Telemetry logs class and stack only: the text could contain a number (R68).
        logger.error("request %s failed", request.scope["state"]["request"], exc_info=error)
    return Response(
        content=msgspec.json.encode(build_problem(error)),
        media_type="application/problem+json",
        status_code=PROBLEM_TYPES[slug].status,
        headers=build_problem_headers(error, path=request.scope["path"]),
    )


def get_problem_type(error: Exception) -> str:
    """Return the key of PROBLEM_TYPES for an error."""
    if isinstance(error, OtpError):
        return error.problem_type
    if isinstance(error, HTTPException):
        return FRAMEWORK_PROBLEMS.get(error.status_code, "internal-error")
    return "internal-error"


def build_problem(error: Exception) -> Problem:
    slug = get_problem_type(error)
    problem_type = PROBLEM_TYPES[slug]
    return Problem(
        type=f"/problems/{slug}",
        title=problem_type.title,
        status=problem_type.status,
        detail=_describe_error(error) or problem_type.detail,
        **_build_extension_members(error),
    )


def _describe_error(error: Exception) -> str:
    """Return the error's own text for the caller; empty if its type has the text."""
    match error:
        case OtpError():
            return str(error)
        case HTTPException(status_code=413, extra={"max_bytes": int(limit)}):
            return f"Send at most {limit // 1024} KiB."
        case _:
            return ""


def build_problem_headers(error: Exception, *, path: str = "") -> dict[str, str]:
    match error:
        case errors.InboundUnauthenticated():
            return {"WWW-Authenticate": BASIC_CHALLENGE}
        case errors.Unauthenticated() | errors.Forbidden():
            return {"WWW-Authenticate": "Bearer"}
        case errors.RateLimited(limit=name, retry_after=wait, quota=count, period_seconds=period):
            return {
                "Retry-After": str(wait),
                "RateLimit": f'"{name}";r=0;t={wait}',
                "RateLimit-Policy": f'"{name}";q={count};w={period}',
            }
        case errors.TemporarilyUnavailable(retry_after=wait):
            return {"Retry-After": str(wait)}
        case HTTPException(status_code=405, headers={"allow": methods}):
            # The middleware treats OPTIONS, which is Litestar's own, like an unknown method.
            allowed = methods.replace(", OPTIONS", "").replace("OPTIONS, ", "")
            return {"Allow": allowed.replace("GET", "GET, HEAD") if has_head(path) else allowed}
        case _:
            return {}


def _build_extension_members(  # noqa: PLR0911  # one case for each error
    error: Exception,
) -> dict[str, Any]:
    match error:
        case errors.MalformedCode():
            return {}  # its errors would only repeat its text
        case errors.InvalidRequest(errors=pairs):
            return {"errors": [FieldError(path, message) for path, message in pairs]}
        case HTTPException(status_code=400):
            return {"errors": []}
        case errors.NumberNotAllowed(reason_code=code) | errors.Undeliverable(reason_code=code):
            return {"reason": code}
        case errors.IncorrectCode(attempts_left=left) if left is not None:
            return {"attempts_left": left}
        case errors.RateLimited(limit=name, retry_after=wait):
            return {"retry_after": wait, "limit": name}
        case errors.DeliveryFailed(challenge_id=challenge_id):
            return {"id": challenge_id}
        case _:
            return {}
