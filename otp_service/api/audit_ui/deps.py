"""What the page is made of, and how a handler reaches it."""

from collections.abc import Callable

import msgspec

from otp_service.api.audit_ui.sessions import SessionStore
from otp_service.api.request_context import AuthenticatedRequest
from otp_service.audit.reports.daily_stats import DayStatsCache
from otp_service.audit.verification.background import BackgroundVerifier
from otp_service.core.tenant import Scope


class AuditUiDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """Put together by `app`."""

    session_store: SessionStore
    days: DayStatsCache
    background_verifier: BackgroundVerifier | None
    """None: there is no archive."""
    now: Callable[[], int]
    """Milliseconds since 1970."""


def get_dependencies(request: AuthenticatedRequest) -> AuditUiDependencies:
    """Return what the page that is asked for is made of."""
    found: AuditUiDependencies = request.app.state.ui_dependencies
    return found


def get_visible_tenant(request: AuthenticatedRequest) -> str | None:
    """Return whose events the key may see; None for everybody's."""
    return None if Scope.AUDIT_ALL in request.user.scopes else request.auth.tenant.name
