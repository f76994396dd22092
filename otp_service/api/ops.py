"""Health on the public listener; metrics and status on the admin listener."""

import asyncio
from typing import Final

import msgspec
from litestar import get
from litestar.response.base import ASGIResponse

from otp_service.api.request_context import AnonymousRequest, ApiContext, get_context
from otp_service.api.responses import build_json_response
from otp_service.core.errors import OtpError, Overloaded, StoreUnavailable
from otp_service.schemas import Health, Readiness


READY_TIMEOUT_SECONDS: Final = 1.0
"""Without a response of the store in this time the service is not ready."""

NOT_READY_PROBLEM: Final = (
    "not ready, so calls are 503: Redis does not answer, refuses writes, is unsafe or of another mode, or "
    "the log of events is full. The log has the reason"
)


@get("/health/live", response_body=Health)
async def check_liveness() -> ASGIResponse:
    """Check that the process serves.

    It ignores Redis, which a restart of the process would not repair.
    """
    return build_json_response(Health())


@get("/health/ready", response_body=Readiness, problems=("overloaded", "store-unavailable"))
async def check_readiness(request: AnonymousRequest) -> ASGIResponse:
    """Check that the process can serve requests.

    Redis is usable, and the process is not stopping.
    """
    context = get_context(request)
    if context.background_calls.is_draining:
        raise Overloaded("The service is stopping. Send requests elsewhere.")
    if not await _is_ready(context):
        raise StoreUnavailable
    return build_json_response(Readiness(context.mode))


async def _is_ready(context: ApiContext) -> bool:
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            return await context.is_ready()
    except (OtpError, TimeoutError):
        return False


@get("/metrics")
async def get_metrics(request: AnonymousRequest) -> ASGIResponse:
    """Return the metrics in the text format of Prometheus."""
    body, content_type = get_context(request).render_metrics()
    return ASGIResponse(body=body, headers={"Content-Type": content_type})


@get("/status")
async def get_status(request: AnonymousRequest) -> ASGIResponse:
    """Return which process runs which configuration, and what is wrong."""
    status = request.app.state.read_status()
    if not await _is_ready(get_context(request)):
        status = msgspec.structs.replace(status, problems=[*status.problems, NOT_READY_PROBLEM])
    return build_json_response(status)


HEALTH_HANDLERS: Final = (check_liveness, check_readiness)
