"""What the API is made of, and how a handler reaches it."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from otp_service.api.in_flight import BackgroundCalls
from otp_service.audit.query.reader import EventReader
from otp_service.core.tenant import ApiKey, Tenant
from otp_service.service import Caller, OtpService
from otp_service.sms.aws.certificates import CertificateCache
from otp_service.sms.receipt_callbacks import CallbackUrls, ReceiptDialect


AuthenticatedRequest = Request[ApiKey, Caller, State]
"""A request after `auth.authenticate`: `user` is its key, `auth` is whom the use cases serve."""

_LOOPBACK_HOST: Final = re.compile(
    rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE
)


class RequestSummary(msgspec.Struct, frozen=True):
    """One request, as logs and metrics may tell it: no value of the caller's is in it."""

    method: str
    route: str
    """The template of its path; empty where none matched."""
    status: int
    """499 if it was canceled before there was an answer."""
    seconds: float
    request: str
    """Its random id, which its events carry too."""
    tenant: str | None
    trace: str | None
    problem: str | None
    """The slug of its problem."""


class ApiContext(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that both applications need, put together by `app`."""

    service: OtpService
    now: Callable[[], int]
    """The clock: milliseconds since 1970."""
    api_keys: Sequence[ApiKey]
    tenants: Mapping[str, Tenant]
    reader: EventReader
    record_lookup: Callable[..., Awaitable[None]]
    """Records that somebody looked for a number's events: the number, how many, and who."""
    is_ready: Callable[[], Awaitable[bool]]
    """Whether the store can be used; False, an OtpError and silence for a second all mean no."""
    render_metrics: Callable[[], tuple[bytes, str]]
    """What /metrics answers: body and content type."""
    record_request: Callable[[RequestSummary], None]
    """Called once for each request, after its answer."""
    count_denied_access: Callable[[str], None]
    """Called for each call without a key that is valid and may do it, with the reason."""
    count_rejected_callback: Callable[[str, str], None]
    """Called for each callback that is refused, with the provider it names and the reason."""
    count_receipt: Callable[[str, str], None]
    """Called for each receipt, with its provider and its status, or `unknown` if it is none of ours."""
    background_calls: BackgroundCalls
    callback_urls: CallbackUrls
    """Knows the tokens in the addresses that providers were given."""
    certificates: CertificateCache
    """Fetches what a vendor signs its receipts with, where that has to be fetched."""
    receipt_dialects: Mapping[str, ReceiptDialect]
    """Who understands the receipts of which provider."""
    loopback_only: bool = False
    """Answer only requests whose Host is a name of this machine (DNS rebinding)."""
    admin_handlers: Sequence[ControllerRouterHandler] = ()
    """What else the admin listener serves."""


def get_context(request: Request[Any, Any, State]) -> ApiContext:
    """Return the context of the application that serves the request."""
    found: ApiContext = request.app.state.context
    return found


def get_header_values(request: Request[Any, Any, Any], name: bytes) -> list[bytes]:
    """Return the values of a header, each time it was sent; `name` in lower case."""
    return [value for key, value in request.scope["headers"] if key == name]


def is_loopback_host(scope: Any) -> bool:
    """Whether whoever asks has called this machine by one of its own names."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and _LOOPBACK_HOST.fullmatch(hosts[0]) is not None
