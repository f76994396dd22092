"""The dependencies of the page, and how a handler reaches them."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from otp_service.api.audit_ui.sessions import SessionStore
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.audit.reports.daily_stats import DayStatsCache
from otp_service.audit.verification.background import BackgroundVerifier


class AuditUiDependencies(msgspec.Struct, frozen=True, kw_only=True):
    """Built by `app`."""

    session_store: SessionStore
    days: DayStatsCache
    background_verifier: BackgroundVerifier | None
    """None without an archive."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    currency: str
    """The code of the currency that events have amounts of."""


def get_dependencies(request: AuthenticatedRequest) -> AuditUiDependencies:
    dependencies: AuditUiDependencies = request.app.state.ui_dependencies
    return dependencies


def admit_call(request: AuthenticatedRequest) -> AbstractContextManager[None]:
    """Count a call that reads events. Raises RateLimited and Overloaded."""
    return get_context(request).audit_admission.admit(request.user)
