"""The one translation of what went wrong into a problem document (RFC 9457).

Every error of `core.errors` has its row in KINDS under its slug; so have the refusals that only
HTTP knows, which Litestar raises. Whatever else is raised is a bare `internal-error`.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.schemas import FieldError, Problem


logger = logging.getLogger(__name__)


class ProblemDefinition(NamedTuple):
    """What is the same in every problem of one type."""

    status: int
    title: str
    detail: str = ""
    """For those that no OtpError stands for: its text is the detail."""


PROBLEM_TYPES: Final[Mapping[str, ProblemDefinition]] = {
    "invalid-request": ProblemDefinition(
        400, "The request is not valid", "Correct it and send it again."
    ),
    "malformed-code": ProblemDefinition(400, "The code is malformed"),
    "unauthenticated": ProblemDefinition(401, "The API key is missing or not valid"),
    "forbidden": ProblemDefinition(403, "The API key may not do this"),
    "number-locked": ProblemDefinition(403, "The number is locked"),
    "challenge-not-found": ProblemDefinition(404, "There is no such challenge"),
    "not-found": ProblemDefinition(
        404, "There is nothing here", "Look at the path: nothing is served there."
    ),
    "method-not-allowed": ProblemDefinition(
        405, "The method is not allowed", "Use one of the methods in the Allow header."
    ),
    "sends-exhausted": ProblemDefinition(409, "No sends are left"),
    "idempotency-key-in-use": ProblemDefinition(409, "The first call is still running"),
    "challenge-expired": ProblemDefinition(410, "The challenge has expired"),
    "challenge-locked": ProblemDefinition(410, "The challenge is locked"),
    "challenge-canceled": ProblemDefinition(410, "The challenge was canceled"),
    "challenge-already-verified": ProblemDefinition(410, "The challenge was already verified"),
    "content-too-large": ProblemDefinition(
        413, "The body is too large", "Send a body of at most 16 KiB."
    ),
    "unsupported-media-type": ProblemDefinition(
        415,
        "The body is not JSON",
        "Send JSON in UTF-8, with the header 'Content-Type: application/json'.",
    ),
    "invalid-phone-number": ProblemDefinition(422, "The phone number is not valid"),
    "number-not-allowed": ProblemDefinition(422, "No code is sent to this number"),
    "incorrect-code": ProblemDefinition(422, "The code is not right"),
    "undeliverable": ProblemDefinition(422, "The number cannot be reached"),
    "idempotency-key-reused": ProblemDefinition(422, "The Idempotency-Key was used before"),
    "rate-limited": ProblemDefinition(429, "Too many requests"),
    "internal-error": ProblemDefinition(
        500,
        "Something went wrong here",
        "The service failed. Repeat the call with the same Idempotency-Key, and tell its operator.",
    ),
    "delivery-failed": ProblemDefinition(502, "No provider took the message"),
    "overloaded": ProblemDefinition(503, "The service is at its capacity"),
    "store-unavailable": ProblemDefinition(503, "The store is not available"),
}

FRAMEWORK_PROBLEMS: Final[Mapping[int, str]] = {
    400: "invalid-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "content-too-large",
    415: "unsupported-media-type",
}
"""What Litestar refuses by itself; its own words may repeat what was sent, so they are dropped."""


def build_problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer with a problem: the handler of every exception there is."""
    slug = get_problem_type(error)
    request.scope["state"]["problem"] = slug
    if slug == "internal-error":
        # Class and stack, that is: telemetry leaves out the text, which could hold a number (R68).
        logger.error("request %s failed", request.scope["state"]["request"], exc_info=error)
    return Response(
        content=msgspec.json.encode(build_problem(error)),
        media_type="application/problem+json",
        status_code=PROBLEM_TYPES[slug].status,
        headers=build_problem_headers(error),
    )


def get_problem_type(error: Exception) -> str:
    """Return the type of problem that this is."""
    if isinstance(error, OtpError):
        return error.problem_type
    if isinstance(error, HTTPException):
        return FRAMEWORK_PROBLEMS.get(error.status_code, "internal-error")
    return "internal-error"


def build_problem(error: Exception) -> Problem:
    """Return the document that tells a caller of this error."""
    slug = get_problem_type(error)
    kind = PROBLEM_TYPES[slug]
    said = str(error) if isinstance(error, OtpError) else ""
    return Problem(
        type=f"/problems/{slug}",
        title=kind.title,
        status=kind.status,
        detail=said or kind.detail,
        **_build_extension_members(error),
    )


def build_problem_headers(error: Exception) -> dict[str, str]:
    """Return the headers that belong to this error."""
    match error:
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
            # OPTIONS is Litestar's own and answered like every other unknown method: see door.py.
            return {"Allow": methods.replace(", OPTIONS", "").replace("OPTIONS, ", "")}
        case _:
            return {}


def _build_extension_members(error: Exception) -> dict[str, Any]:
    """Return the extension members of the contract's table."""
    members: dict[str, Any] = {}
    match error:
        case errors.MalformedCode():
            pass  # its errors would only repeat its text
        case errors.InvalidRequest(errors=found):
            members = {"errors": [FieldError(path, message) for path, message in found]}
        case HTTPException(status_code=400):
            members = {"errors": []}
        case errors.NumberNotAllowed(reason_code=why) | errors.Undeliverable(reason_code=why):
            members = {"reason": why}
        case errors.IncorrectCode(attempts_left=left):
            members = {"attempts_left": left}
        case errors.RateLimited(limit=name, retry_after=wait):
            members = {"retry_after": wait, "limit": name}
        case errors.DeliveryFailed(challenge_id=challenge_id):
            members = {"id": challenge_id}
        case _:
            pass
    return members
