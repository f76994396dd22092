"""The HTTP API: two applications, one for login back ends and one for operators."""

from otp_service.api.applications import admin_app, public_app
from otp_service.api.audit_ui import PageParts
from otp_service.api.context import Answered, ApiContext
from otp_service.api.in_flight import InFlight


__all__ = ["Answered", "ApiContext", "InFlight", "PageParts", "admin_app", "public_app"]
