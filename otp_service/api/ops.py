"""Health on the public listener, and metrics on the admin listener."""

import asyncio
from typing import Any, Final

from litestar import Request, get
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from otp_service.api.context import context
from otp_service.api.responses import answer
from otp_service.core.errors import OtpError, Overloaded, StoreUnavailable
from otp_service.schemas import Health


Visit = Request[Any, Any, State]

PATIENCE: Final = 1.0
"""Seconds in which the store has to answer, or the service is not ready."""


@get("/health/live", answer=Health)
async def live() -> ASGIResponse:
    """Whether the process serves; what is wrong with Redis is not cured by a restart."""
    return answer(Health())


@get("/health/ready", answer=Health, problems=("overloaded", "store-unavailable"))
async def ready(request: Visit) -> ASGIResponse:
    """Whether requests should be sent here."""
    parts = context(request)
    if parts.in_flight.draining:
        raise Overloaded("The service is stopping. Send requests elsewhere.")
    try:
        async with asyncio.timeout(PATIENCE):
            is_ready = await parts.ready()
    except (OtpError, TimeoutError):
        is_ready = False
    if not is_ready:
        raise StoreUnavailable
    return answer(Health())


@get("/metrics")
async def metrics(request: Visit) -> ASGIResponse:
    """Give the numbers for Prometheus."""
    body, content_type = context(request).metrics()
    return ASGIResponse(body=body, headers={"Content-Type": content_type})


PUBLIC: Final = (live, ready)
