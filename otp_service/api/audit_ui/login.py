"""The login form: the API key is sent once, and a cookie identifies the session afterwards."""

from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.audit_ui.deps import get_dependencies
from otp_service.api.audit_ui.guards import LOGIN_PATH
from otp_service.api.audit_ui.renderer import redirect, render_page
from otp_service.api.request_body import parse_form_fields
from otp_service.api.request_context import AuthenticatedRequest
from otp_service.core.errors import Forbidden, InvalidRequest, Unauthenticated
from otp_service.core.tenant import hash_api_key


UNKNOWN_KEY_MESSAGE = "This key is unknown or has expired."
MISSING_SCOPE_MESSAGE = (
    "This key may not read events. Use one with the scope audit (its own tenant) or audit-all. The "
    "operator of the service creates it with 'otp-service key new'."
)


@get("/login")
async def show_login_form() -> ASGIResponse:
    """Show the login form."""
    return render_page("login.html", error=None)


@post("/login", status_code=200)
async def log_in(request: AuthenticatedRequest) -> ASGIResponse:
    """Start a session for the API key in the form."""
    fields = await parse_form_fields(request)
    if fields.keys() != {"key"}:
        raise InvalidRequest(("", "must be a form with a key"))
    try:
        digest = hash_api_key(fields["key"].strip())
        sessions = get_dependencies(request).session_store
        token = sessions.begin_session(digest)
    except Unauthenticated as error:
        return _render_login_error(request, error, 401, UNKNOWN_KEY_MESSAGE)
    except Forbidden as error:
        return _render_login_error(request, error, 403, MISSING_SCOPE_MESSAGE)
    return redirect("/audit", sessions.build_cookie_header(request, token))


@post("/logout", status_code=200)
async def log_out(request: AuthenticatedRequest) -> ASGIResponse:
    """End the session, here and in the browser."""
    sessions = get_dependencies(request).session_store
    sessions.end_session(sessions.get_token(request))
    return redirect(LOGIN_PATH, sessions.build_cookie_header(request, ""))


def _render_login_error(
    request: AuthenticatedRequest, error: Unauthenticated | Forbidden, status: int, message: str
) -> ASGIResponse:
    request.scope["state"]["problem"] = error.problem_type
    return render_page("login.html", status=status, error=message)
