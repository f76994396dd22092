"""The HTTP API: two applications, one for login back ends and one for operators."""

from otp_service.api.applications import create_admin_api, create_public_api
from otp_service.api.audit_ui import AuditUiDependencies
from otp_service.api.in_flight import BackgroundCalls
from otp_service.api.request_context import ApiContext, RequestSummary


__all__ = [
    "ApiContext",
    "AuditUiDependencies",
    "BackgroundCalls",
    "RequestSummary",
    "create_admin_api",
    "create_public_api",
]
