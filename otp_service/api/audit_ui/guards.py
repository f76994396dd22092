"""Who may come in: a browser with a session, on one of our own pages."""

from typing import Final

from litestar.response.base import ASGIResponse

from otp_service.api.audit_ui.deps import parts_of
from otp_service.api.audit_ui.renderer import going_to
from otp_service.api.audit_ui.sessions import cookie, token_in
from otp_service.api.context import Call, header
from otp_service.core.errors import Forbidden
from otp_service.service import Caller


LOGIN: Final = "/audit/login"

FOREIGN: Final = (
    "This form was not sent by this page, so nothing was done. Open the page and try again there; "
    "a proxy in front of it has to leave Host, Origin and Sec-Fetch-Site as they are."
)


async def same_origin(request: Call) -> None:
    """Refuse a form that another site has sent in somebody's name. Raises Forbidden.

    Browsers say so themselves (Sec-Fetch-Site) where a page came over TLS or from this machine,
    and everywhere at least by Origin.
    """
    if request.method != "POST":
        return
    sites = header(request, b"sec-fetch-site")
    origins = [b"".join(one.partition(b"://")[2:]) for one in header(request, b"origin")]
    hosts = header(request, b"host")
    is_ours = sites == [b"same-origin"] if sites else origins == hosts and len(hosts) == 1
    if not is_ours:
        raise Forbidden(FOREIGN)


async def let_in(request: Call) -> ASGIResponse | None:
    """Let in who has a session; the handler finds him as after `auth.authenticate`."""
    await same_origin(request)
    token = token_in(request)
    found = parts_of(request).sessions.find(token)
    if found is None:
        return going_to(LOGIN, cookie(request, "") if token else {})
    key, tenant = found
    request.scope["user"] = key
    request.scope["auth"] = Caller(
        tenant=tenant,
        key_id=key.id,
        request=request.scope["state"]["request"],
        trace=request.scope["state"]["trace"],
    )
    return None
