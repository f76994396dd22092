"""/v1/audit: what happened, for the security team; a number to look for never stands in a URL."""

from typing import Final

from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.context import Call, context
from otp_service.api.request_body import into, query_fields, read, read_nothing
from otp_service.api.responses import answer, milliseconds
from otp_service.audit.query.reader import Page
from otp_service.core.phone_number import PhoneNumber, identify
from otp_service.core.tenant import Scope
from otp_service.schemas import AuditPage, AuditQuery, AuditSearch


SCOPES: Final = {Scope.AUDIT, Scope.AUDIT_ALL}


@get("/v1/audit/events", scopes=SCOPES, query=AuditQuery, answer=AuditPage)
async def events(request: Call) -> ASGIResponse:
    """Give events, newest first."""
    await read_nothing(request)
    fields = query_fields(request)
    limit = fields.get("limit", "")
    if limit.isascii() and limit.isdigit() and len(limit) < 9:  # noqa: PLR2004  # int() is bounded
        fields["limit"] = int(limit)
    return await _page(request, into(fields, AuditQuery))


@post(
    "/v1/audit/search",
    scopes=SCOPES,
    status_code=200,
    ask=AuditSearch,
    answer=AuditPage,
    problems=("invalid-phone-number", "number-not-allowed"),
)
async def search(request: Call) -> ASGIResponse:
    """Give events, newest first, also those about one number."""
    return await _page(request, await read(request, AuditSearch))


async def _page(request: Call, query: AuditQuery) -> ASGIResponse:
    number = query.phone_number if isinstance(query, AuditSearch) else None
    phone = identify(number)[0] if number is not None else None
    found, following = await context(request).in_flight.run(_looked_for(request, query, phone))
    return answer(AuditPage(events=found, next=following))


async def _looked_for(request: Call, query: AuditQuery, phone: PhoneNumber | None) -> Page:
    """Return the page; whoever looks for a number is recorded before anything is shown."""
    tenant = None if Scope.AUDIT_ALL in request.user.scopes else request.auth.tenant.name
    page = await context(request).reader.page(
        tenant=tenant,
        number=phone,
        since=milliseconds(query.since) if query.since else None,
        until=milliseconds(query.until) if query.until else None,
        type=query.type,
        challenge=query.challenge,
        limit=query.limit,
        cursor=query.cursor,
    )
    if phone is not None:
        caller = request.auth
        await context(request).looked_up(
            phone,
            len(page[0]),
            tenant=tenant,
            key_id=caller.key_id,
            request=caller.request,
            trace=caller.trace,
        )
    return page


HANDLERS = (events, search)
