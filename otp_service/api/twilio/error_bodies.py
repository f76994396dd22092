"""Translate every error into Twilio's form, on its paths.

Twilio's clients raise another class of exception for a body with `type`, `title`, `status` and `code`
(RFC 9457) than the one that applications catch. So these paths never answer with a problem document.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from otp_service.api.problems import (
    PROBLEM_TYPES,
    build_problem_headers,
    get_problem_type,
)
from otp_service.api.twilio.basic_auth import CREDENTIALS_DETAIL
from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.core.limits import Limit
from otp_service.core.tenant import Scope
from otp_service.service.verification_service import VerificationDelayed


logger = logging.getLogger(__name__)

TWILIO_PREFIX: Final = "/twilio/"

ERROR_PAGE_URL: Final = "https://www.twilio.com/docs/api/errors"

NUMBER_DETAIL: Final = (
    "must be a valid number in E.164 form, like +447400123456. In a form, + is written as %2B"
)

FORM_DETAIL: Final = "The body is not a form. Send it as it is, with 'Content-Type: application/x-www-form-urlencoded'."

_DETAIL_BY_ERROR: Final[Mapping[type[OtpError], str]] = {
    errors.Unauthenticated: CREDENTIALS_DETAIL,
    errors.Forbidden: f"This API key lacks the scope '{Scope.TWILIO_VERIFY}'.",
    errors.ChallengeNotFound: (
        "It is unknown, was approved or canceled, or has expired. Start a verification."
    ),
}
"""What to do, where the text that an error has by default is about our own API."""

_PARAMETER_NAMES: Final[Mapping[str, str]] = {
    "phone_number": "To",
    "code": "Code",
    "locale": "Locale",
    "client_ip": "DeviceIp",
    "account": "RateLimits",
    "": "body",
}
"""What our names of fields are at Twilio."""

_FAILURE_LIMITS: Final = frozenset(limit for limit in Limit if "Failures" in limit)
_NUMBER_SEND_LIMITS: Final = frozenset({Limit.SENDS_NUMBER, Limit.SENDS_NUMBER_TENANT})


class TwilioCode(NamedTuple):
    """One row of Twilio's list of errors."""

    status: int
    code: int
    message: str
    is_listed: bool = True
    """Whether Twilio has a page about it."""


_INVALID_PARAMETER: Final = TwilioCode(400, 60200, "Invalid parameter")
_NOT_FOUND: Final = TwilioCode(404, 20404, "The requested resource was not found")
_CHECKS_EXHAUSTED: Final = TwilioCode(429, 60202, "Max check attempts reached")
_SENDS_EXHAUSTED: Final = TwilioCode(429, 60203, "Max send attempts reached")
_COOLDOWN_ACTIVE: Final = TwilioCode(429, 60212, "Too many concurrent requests for phone number")
_NUMBER_BLOCKED: Final = TwilioCode(403, 60410, "Verification delivery attempt blocked")
_COUNTRY_BLOCKED: Final = TwilioCode(403, 60605, "Verification delivery attempt blocked")
_NO_SMS: Final = TwilioCode(403, 60205, "SMS is not supported by this phone number")
_SERVICE_UNAVAILABLE: Final = TwilioCode(503, 20503, "Service unavailable")

_UNLISTED_PROBLEMS: Final = (
    *("request-timeout", "content-too-large", "uri-too-long", "unsupported-media-type"),
    "not-implemented",
)
"""Errors of HTTP, for which Twilio has no row."""

TWILIO_CODES: Final[Mapping[str, TwilioCode]] = {
    "invalid-request": _INVALID_PARAMETER,
    "malformed-code": _INVALID_PARAMETER,
    "invalid-phone-number": _INVALID_PARAMETER,
    "unauthenticated": TwilioCode(401, 20003, "Authenticate"),
    "forbidden": TwilioCode(403, 20403, "Forbidden"),
    "number-locked": _NUMBER_BLOCKED,
    "account-locked": _NUMBER_BLOCKED,
    "number-not-allowed": _NUMBER_BLOCKED,
    "undeliverable": _NO_SMS,
    "challenge-not-found": _NOT_FOUND,
    "not-found": _NOT_FOUND,
    "method-not-allowed": TwilioCode(405, 20004, "Method not allowed"),
    "challenge-locked": _CHECKS_EXHAUSTED,
    "sends-exhausted": _SENDS_EXHAUSTED,
    "rate-limited": TwilioCode(429, 20429, "Too many requests"),
    "internal-error": TwilioCode(500, 20500, "Internal server error"),
    "delivery-failed": _SERVICE_UNAVAILABLE,
    "overloaded": _SERVICE_UNAVAILABLE,
    "store-unavailable": _SERVICE_UNAVAILABLE,
    **{
        slug: TwilioCode(
            PROBLEM_TYPES[slug].status,
            20000 + PROBLEM_TYPES[slug].status,
            PROBLEM_TYPES[slug].title,
            is_listed=False,
        )
        for slug in _UNLISTED_PROBLEMS
    },
}
"""By the type of the problem elsewhere. Other types cannot occur on these paths."""


class TwilioError(msgspec.Struct, frozen=True):
    """The body of an error."""

    code: int
    message: str
    more_info: str
    status: int


def build_twilio_error_response(
    request: Request[Any, Any, Any], error: Exception
) -> Response[bytes]:
    """Return the response of any exception in Twilio's form, and log internal errors."""
    cause = _get_cause(error)
    slug = request.scope["state"]["problem"] = get_problem_type(cause)
    if slug == "internal-error":
        # Telemetry logs class and stack only: the text could contain a number (R68).
        logger.error("request %s failed", request.scope["state"]["request"], exc_info=error)
    row = find_twilio_code(cause)
    body = TwilioError(row.code, _build_message(row, cause), _build_link(row), row.status)
    return Response(
        content=msgspec.json.encode(body),
        media_type="application/json",
        status_code=row.status,
        headers=_build_headers(error),
    )


def find_twilio_code(error: Exception) -> TwilioCode:
    """Return the row of an error; of a VerificationDelayed pass its cause."""
    match error:
        case errors.RateLimited(limit=limit) if limit in _FAILURE_LIMITS:
            return _CHECKS_EXHAUSTED
        case errors.RateLimited(limit=limit) if limit in _NUMBER_SEND_LIMITS:
            return _SENDS_EXHAUSTED
        case errors.RateLimited(limit=Limit.COOLDOWN):
            return _COOLDOWN_ACTIVE
        case errors.NumberNotAllowed(reason_code="country"):
            return _COUNTRY_BLOCKED
        case errors.NumberNotAllowed(reason_code="type"):
            return _NO_SMS
        case _:
            return TWILIO_CODES.get(get_problem_type(error), TWILIO_CODES["internal-error"])


def _build_message(row: TwilioCode, error: Exception) -> str:
    """Return Twilio's text, with what to do. It holds no value that the caller sent."""
    match error:
        case errors.InvalidRequest(errors=pairs):
            described = (f"{_PARAMETER_NAMES.get(path, path)}: {text}" for path, text in pairs)
            return f"{row.message}: {'; '.join(described)}"
        case errors.InvalidPhoneNumber(problem=problem):
            return f"{row.message}: To: {NUMBER_DETAIL}. {problem}".strip()
        case HTTPException(status_code=415):
            return FORM_DETAIL
        case OtpError():
            return f"{row.message}. {_describe_error(error)}"
        case _:
            return row.message


def _describe_error(error: OtpError) -> str:
    """Return what to do about an error, where its own text is about another API."""
    match error:
        case errors.NumberNotAllowed(reason_code=reason) if reason not in error.details:
            return f"The reason is '{reason}'."
        case errors.RateLimited(limit=limit):
            return f"The limit is {limit}. Wait for the seconds in Retry-After."
        case errors.ChallengeLocked() | errors.SendsExhausted():
            return "Wait for the seconds in Retry-After, and start a verification."
        case _ if str(error) == error.detail:
            return _DETAIL_BY_ERROR.get(type(error), error.detail)
        case _:
            return str(error)


def _build_link(row: TwilioCode) -> str:
    return f"{ERROR_PAGE_URL}/{row.code}" if row.is_listed else ERROR_PAGE_URL


def _build_headers(error: Exception) -> dict[str, str]:
    if isinstance(error, VerificationDelayed):
        return {"Retry-After": str(error.retry_after)}
    headers = build_problem_headers(error)
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Basic realm="otp-service"'
    elif isinstance(error, errors.Forbidden):
        del headers["WWW-Authenticate"]
    return headers


def _get_cause(error: Exception) -> Exception:
    cause = error.__cause__
    return (
        cause if isinstance(error, VerificationDelayed) and isinstance(cause, Exception) else error
    )
