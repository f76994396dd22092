"""What the page is made of, and how a handler reaches it."""

from collections.abc import Callable

import msgspec

from otp_service.api.audit_ui.sessions import Sessions
from otp_service.api.context import Call
from otp_service.audit.reports.daily_stats import Days
from otp_service.audit.verification.background import Verifications
from otp_service.core.tenant import Scope


class PageParts(msgspec.Struct, frozen=True, kw_only=True):
    """Put together by `app`."""

    sessions: Sessions
    days: Days
    verifications: Verifications | None
    """None: there is no archive."""
    now: Callable[[], int]
    """Milliseconds since 1970."""


def parts_of(request: Call) -> PageParts:
    """Return what the page that is asked for is made of."""
    found: PageParts = request.app.state.pages
    return found


def tenant_of(request: Call) -> str | None:
    """Return whose events the key may see; None for everybody's."""
    return None if Scope.AUDIT_ALL in request.user.scopes else request.auth.tenant.name
