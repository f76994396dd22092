"""What the API is made of, and how a handler reaches it."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from otp_service.api.in_flight import InFlight
from otp_service.audit.query.reader import Reader
from otp_service.core.tenant import ApiKey, Tenant
from otp_service.service import Caller, OtpService
from otp_service.sms.aws.certificates import Certificates
from otp_service.sms.callbacks import Addresses, Receiver


Call = Request[ApiKey, Caller, State]
"""A request after `auth.authenticate`: `user` is its key, `auth` is whom the use cases serve."""

_LOOPBACK: Final = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class Answered(msgspec.Struct, frozen=True):
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
    api_keys: Sequence[ApiKey]
    tenants: Mapping[str, Tenant]
    reader: Reader
    looked_up: Callable[..., Awaitable[None]]
    """Records that somebody looked for a number's events: the number, how many, and who."""
    ready: Callable[[], Awaitable[bool]]
    """Whether the store can be used; False, an OtpError and silence for a second all mean no."""
    metrics: Callable[[], tuple[bytes, str]]
    """What /metrics answers: body and content type."""
    observe: Callable[[Answered], None]
    """Called once for each request, after its answer."""
    count_denied: Callable[[str], None]
    """Called for each call without a key that is valid and may do it, with the reason."""
    count_rejected: Callable[[str, str], None]
    """Called for each callback that is refused, with the provider it names and the reason."""
    count_receipt: Callable[[str, str], None]
    """Called for each receipt, with its provider and its status, or `unknown` if it is none of ours."""
    in_flight: InFlight
    callbacks: Addresses
    """Knows the tokens in the addresses that providers were given."""
    certificates: Certificates
    """Fetches what a vendor signs its receipts with, where that has to be fetched."""
    receivers: Mapping[str, Receiver]
    """Who understands the receipts of which provider."""
    loopback_only: bool = False
    """Answer only requests whose Host is a name of this machine (DNS rebinding)."""
    admin_handlers: Sequence[ControllerRouterHandler] = ()
    """What else the admin listener serves."""


def context(request: Request[Any, Any, State]) -> ApiContext:
    """Return the context of the application that serves the request."""
    found: ApiContext = request.app.state.context
    return found


def header(request: Request[Any, Any, Any], name: bytes) -> list[bytes]:
    """Return the values of a header, each time it was sent; `name` in lower case."""
    return [value for key, value in request.scope["headers"] if key == name]


def names_loopback(scope: Any) -> bool:
    """Whether whoever asks has called this machine by one of its own names."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and _LOOPBACK.fullmatch(hosts[0]) is not None
