"""The response of an error in the form that the clients of its path expect."""

from typing import Any

from litestar import Request, Response

from otp_service.api.problems import build_problem_response
from otp_service.api.twilio import TWILIO_PREFIX, build_twilio_error_response


def build_error_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the response: Twilio's form on its paths, elsewhere a problem document."""
    if request.scope["path"].startswith(TWILIO_PREFIX):
        return build_twilio_error_response(request, error)
    return build_problem_response(request, error)
