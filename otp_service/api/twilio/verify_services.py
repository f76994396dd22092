"""GET /twilio/v2/Services: the Verify Services of a tenant, which are settings."""

from typing import Final

from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import decode_urlencoded, read_body
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_json_response
from otp_service.api.twilio.verification_views import ViewBuilder
from otp_service.core.errors import ChallengeNotFound, InvalidRequest
from otp_service.core.verify_service import VerifyAccount, VerifyService


SERVICES_PATH: Final = "/twilio/v2/Services"
SERVICE_PATH: Final = f"{SERVICES_PATH}/{{service_sid:str}}"

UNKNOWN_SERVICE_DETAIL: Final = (
    f"This account has no Verify Service with this id: GET {SERVICES_PATH} lists them."
)

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000
MAX_PAGE_NUMBER: Final = 1_000_000


@get(SERVICES_PATH)
async def list_services(request: AuthenticatedRequest) -> ASGIResponse:
    """List the Verify Services of the tenant, in pages."""
    await read_body(request)
    fields = decode_urlencoded(request.scope["query_string"])
    page_size = _parse_count(
        fields.get("PageSize"), "PageSize", 1, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE
    )
    page = _parse_count(fields.get("Page"), "Page", 0, MAX_PAGE_NUMBER, 0)
    return build_json_response(get_view_builder(request).build_page(page, page_size))


@get(SERVICE_PATH)
async def get_service(request: AuthenticatedRequest, service_sid: FromPath[str]) -> ASGIResponse:
    """Get a Verify Service."""
    await read_body(request)
    service = require_service(request, service_sid)
    return build_json_response(get_view_builder(request).build_service(service))


def require_service(request: AuthenticatedRequest, sid: str) -> VerifyService:
    """Return a Verify Service of the caller. Raises ChallengeNotFound, which is 20404."""
    service = _get_account(request).services.get(sid)
    if service is None:
        raise ChallengeNotFound(UNKNOWN_SERVICE_DETAIL)
    return service


def get_view_builder(request: AuthenticatedRequest) -> ViewBuilder:
    """Return what builds the bodies for the caller."""
    context = get_context(request)
    api_url = f"{context.public_url}/twilio/v2"
    return ViewBuilder(_get_account(request), api_url, context.code_length)


def _get_account(request: AuthenticatedRequest) -> VerifyAccount:
    return get_context(request).verify_accounts[request.auth.tenant.name]


def _parse_count(text: str | None, name: str, minimum: int, maximum: int, default: int) -> int:
    if text is None:
        return default
    is_short = text.isascii() and text.isdigit() and len(text) <= len(str(maximum))
    if not is_short or not minimum <= int(text) <= maximum:
        raise InvalidRequest((name, f"must be from {minimum} to {maximum}"))
    return int(text)


VERIFY_SERVICE_HANDLERS: Final = (list_services, get_service)
