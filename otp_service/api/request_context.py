"""The dependencies of the API, how a handler gets them, and what it reads of a request."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from otp_service.api.audit_admission import AuditAdmission
from otp_service.api.in_flight import BackgroundCalls
from otp_service.api.inbound_admission import InboundAdmission
from otp_service.api.request_head import HostAllowlist
from otp_service.audit.query.reader import EventReader
from otp_service.core.inbound import InboundMessage, InboundResult
from otp_service.core.policy import Policy
from otp_service.core.tenant import ApiKey, Tenant
from otp_service.core.verify_service import VerifyAccount
from otp_service.hooks import HookSettings
from otp_service.schemas import Mode
from otp_service.service import Caller, OtpService
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.provider_callbacks import CallbackDialect, CallbackUrls


AuthenticatedRequest = Request[ApiKey, Caller, State]
"""A request after `auth.authenticate_request`: `user` is its key, `auth` its caller."""
AnonymousRequest = Request[Any, Any, State]

_LOOPBACK_HOST: Final = re.compile(rb"(?i)(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")


class RequestSummary(msgspec.Struct, frozen=True):
    """One request for logs and metrics, without any value that the caller sent."""

    method: str
    route: str
    """The template of its path, or empty if no route matches."""
    status: int
    """499 if it was canceled before a response."""
    seconds: float
    request: str
    """Its random id, which its events also carry."""
    tenant: str | None
    trace: str | None
    problem: str | None
    """The type of its problem, without `/problems/`."""


class ApiContext(msgspec.Struct, frozen=True, kw_only=True):
    """The dependencies of both applications, created by `app`."""

    service: OtpService
    now: Callable[[], int]
    """The clock: milliseconds since 1970."""
    api_keys: Sequence[ApiKey]
    tenants: Mapping[str, Tenant]
    reader: EventReader
    audit_admission: AuditAdmission
    record_lookup: Callable[..., Awaitable[None]]
    """Records a search for a person's events: number, account, how many were found, the caller."""
    is_ready: Callable[[], Awaitable[bool]]
    """Whether the store is usable; an OtpError and a timeout of a second also mean no."""
    render_metrics: Callable[[], tuple[bytes, str]]
    """Returns the body and content type of /metrics."""
    record_request: Callable[[RequestSummary], None]
    """Called once for each request, after its response."""
    count_denied_access: Callable[[str], None]
    """Called with the reason for each request without a valid key or the scope."""
    count_rejected_callback: Callable[[str, str], None]
    """Called with the provider and the reason for each rejected callback."""
    count_hook_request: Callable[[str, str], None]
    """Called with the hook and the result for each request of an identity product."""
    handle_receipt: Callable[..., Awaitable[None]]
    """Handles and counts a receipt: the caller, the provider, the receipt, and `trusted`."""
    handle_inbound: Callable[[Caller, str, InboundMessage], Awaitable[InboundResult]]
    """Handles and counts a message from a phone; the text is the provider."""
    inbound_admission: InboundAdmission
    background_calls: BackgroundCalls
    callback_urls: CallbackUrls
    certificates: CertificateCache
    callback_dialects: Mapping[str, CallbackDialect]
    hooks: Mapping[str, HookSettings]
    verify_accounts: Mapping[str, VerifyAccount] = {}
    """By the name of the tenant: those that may use Twilio's API."""
    public_url: str = ""
    """The URL of the public listener, as its callers reach it."""
    code_length: int = Policy().digits
    mode: Mode = "live"
    """Outside of `live`, each response names it in a header."""
    host_allowlist: HostAllowlist | None = None
    """The values of Host that are served; None for all."""
    admin_handlers: Sequence[ControllerRouterHandler] = ()


def get_context(request: Request[Any, Any, State]) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


def get_header_values(request: Request[Any, Any, Any], name: bytes) -> list[bytes]:
    """Return every value of a header; `name` is in lower case."""
    return [value for key, value in request.scope["headers"] if key == name]


def is_loopback_host(scope: Any) -> bool:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and _LOOPBACK_HOST.fullmatch(hosts[0]) is not None
