"""Checks before every handler of the page: a session, and a form of our own."""

from typing import Final

from litestar.response.base import ASGIResponse

from otp_service.api.audit_ui.deps import get_dependencies
from otp_service.api.audit_ui.renderer import redirect
from otp_service.api.auth import set_caller
from otp_service.api.request_context import AuthenticatedRequest, get_header_values
from otp_service.core.errors import Forbidden


LOGIN_PATH: Final = "/audit/login"

CROSS_ORIGIN_MESSAGE: Final = (
    "This form was not sent from this page, so nothing was done. Open the page and try again. A "
    "proxy in front of it must not change Host, Origin or Sec-Fetch-Site."
)


async def require_same_origin(request: AuthenticatedRequest) -> None:
    """Refuse a form that another site sent with the browser's cookie. Raises Forbidden.

    Browsers send Sec-Fetch-Site for pages over TLS or from a loopback address, and Origin always.
    """
    if request.method != "POST":
        return
    sites = get_header_values(request, b"sec-fetch-site")
    origins = [origin.partition(b"://")[2] for origin in get_header_values(request, b"origin")]
    hosts = get_header_values(request, b"host")
    is_ours = sites == [b"same-origin"] if sites else origins == hosts and len(hosts) == 1
    if not is_ours:
        raise Forbidden(CROSS_ORIGIN_MESSAGE)


async def require_session(request: AuthenticatedRequest) -> ASGIResponse | None:
    """Set the caller of the session, as `auth.authenticate` does, or redirect to the login form."""
    await require_same_origin(request)
    sessions = get_dependencies(request).session_store
    token = sessions.get_token(request)
    session = sessions.find_session_key(token)
    if session is None:
        return redirect(LOGIN_PATH, sessions.build_cookie_header(request, "") if token else {})
    set_caller(request, *session)
    return None
