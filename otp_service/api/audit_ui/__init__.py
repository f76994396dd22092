"""The page of the security team: today, a search, one challenge's story, and the archive.

It only shows. Everything is written on the server, and a browser is allowed no script at all, so
what events hold can at worst look odd: `rendering` escapes every value of every template.
"""

from typing import Final

from litestar import Router

from otp_service.api.audit_ui import login, views
from otp_service.api.audit_ui.deps import PageParts
from otp_service.api.audit_ui.guards import let_in, same_origin
from otp_service.api.audit_ui.renderer import refused, stylesheet


__all__ = ["AUDIT", "PageParts"]

_WITHIN: Final = Router("/", before_request=let_in, route_handlers=[*views.HANDLERS, login.leave])
_WITHOUT: Final = Router(
    "/", before_request=same_origin, route_handlers=[login.ask, login.enter, stylesheet]
)

AUDIT: Final = Router(
    "/audit", exception_handlers={Exception: refused}, route_handlers=[_WITHOUT, _WITHIN]
)
