"""Who may come in: a browser with a session, on one of our own pages."""

from typing import Final

from litestar.response.base import ASGIResponse

from otp_service.api.audit_ui.deps import get_dependencies
from otp_service.api.audit_ui.renderer import redirect
from otp_service.api.audit_ui.sessions import build_cookie_header, get_session_token
from otp_service.api.auth import set_caller
from otp_service.api.request_context import AuthenticatedRequest, get_header_values
from otp_service.core.errors import Forbidden


LOGIN_PATH: Final = "/audit/login"

CROSS_ORIGIN_MESSAGE: Final = (
    "This form was not sent by this page, so nothing was done. Open the page and try again there; "
    "a proxy in front of it has to leave Host, Origin and Sec-Fetch-Site as they are."
)


async def require_same_origin(request: AuthenticatedRequest) -> None:
    """Refuse a form that another site has sent in somebody's name. Raises Forbidden.

    Browsers say so themselves (Sec-Fetch-Site) where a page came over TLS or from this machine,
    and everywhere at least by Origin.
    """
    if request.method != "POST":
        return
    sites = get_header_values(request, b"sec-fetch-site")
    origins = [b"".join(one.partition(b"://")[2:]) for one in get_header_values(request, b"origin")]
    hosts = get_header_values(request, b"host")
    is_ours = sites == [b"same-origin"] if sites else origins == hosts and len(hosts) == 1
    if not is_ours:
        raise Forbidden(CROSS_ORIGIN_MESSAGE)


async def require_session(request: AuthenticatedRequest) -> ASGIResponse | None:
    """Let in who has a session; the handler finds him as after `auth.authenticate`."""
    await require_same_origin(request)
    token = get_session_token(request)
    found = get_dependencies(request).session_store.find_session_key(token)
    if found is None:
        return redirect(LOGIN_PATH, build_cookie_header(request, "") if token else {})
    set_caller(request, *found)
    return None
