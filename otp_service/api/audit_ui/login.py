"""The key is given once, into a form; from then on a cookie stands for it."""

from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.audit_ui.deps import parts_of
from otp_service.api.audit_ui.guards import LOGIN
from otp_service.api.audit_ui.renderer import going_to, shown
from otp_service.api.audit_ui.sessions import cookie, token_in
from otp_service.api.context import Call
from otp_service.api.request_body import form_fields
from otp_service.core.errors import Forbidden, InvalidRequest, Unauthenticated
from otp_service.core.tenant import digest


WRONG = "This key is not known here, or it has expired."
NARROW = (
    "This key is known, but it may not look at events. It takes one with the scope audit (of one "
    "tenant) or audit-all; whoever runs the service makes it with 'otp-service key new'."
)


@get("/login")
async def ask() -> ASGIResponse:
    """Show the form."""
    return shown("login.html", error=None)


@post("/login", status_code=200)
async def enter(request: Call) -> ASGIResponse:
    """Begin a session."""
    fields = await form_fields(request)
    if fields.keys() != {"key"}:
        raise InvalidRequest(("", "must be a form with a key"))
    try:
        token = parts_of(request).sessions.begin(digest(fields["key"].strip()))
    except Unauthenticated as error:
        return _refused(request, error, 401, WRONG)
    except Forbidden as error:
        return _refused(request, error, 403, NARROW)
    return going_to("/audit", cookie(request, token))


@post("/logout", status_code=200)
async def leave(request: Call) -> ASGIResponse:
    """End the session, here and in the browser."""
    parts_of(request).sessions.end(token_in(request))
    return going_to(LOGIN, cookie(request, ""))


def _refused(
    request: Call, error: Unauthenticated | Forbidden, status: int, says: str
) -> ASGIResponse:
    request.scope["state"]["problem"] = error.slug
    return shown("login.html", status=status, error=says)
