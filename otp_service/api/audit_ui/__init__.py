"""The page of the security team: the last day, a search, the timeline of a challenge, and the archive.

It is read-only and rendered on the server. The browser may run no script, and `renderer` escapes
every value of every template, so the content of an event can do no harm.
"""

from typing import Final

from litestar import Router

from otp_service.api.audit_ui import evidence_download, login, search_views, views
from otp_service.api.audit_ui.deps import AuditUiDependencies
from otp_service.api.audit_ui.guards import require_same_origin, require_session
from otp_service.api.audit_ui.renderer import get_stylesheet, render_error_page


__all__ = ["AUDIT_ROUTER", "AuditUiDependencies"]

_SESSION_ROUTER: Final = Router(
    "/",
    before_request=require_session,
    route_handlers=[
        *views.AUDIT_PAGE_HANDLERS,
        *search_views.SEARCH_HANDLERS,
        evidence_download.download_evidence,
        login.log_out,
    ],
)
_LOGIN_ROUTER: Final = Router(
    "/",
    before_request=require_same_origin,
    route_handlers=[login.show_login_form, login.log_in, get_stylesheet],
)

AUDIT_ROUTER: Final = Router(
    "/audit",
    exception_handlers={Exception: render_error_page},
    route_handlers=[_LOGIN_ROUTER, _SESSION_ROUTER],
)
