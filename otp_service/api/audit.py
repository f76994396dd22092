"""/v1/audit: events for the security team.

A phone number or an account is only accepted in a body, not in a URL.
"""

from typing import Any, Final, cast

from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import parse_body, parse_query
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_json_response
from otp_service.audit.query.reader import EventPage, EventQuery
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import to_epoch_ms
from otp_service.schemas import AuditPage, AuditQuery, AuditSearch, EmptyBody


SEARCH_FILTERS: Final = (
    *("pseudonym", "client_ip", "client_ip_changed", "event_reason", "event_limit"),
    *("country", "provider"),
)
"""The members of a search, besides the person, that a query in a URL does not have."""

AUDIT_SCOPES: Final = {Scope.AUDIT, Scope.AUDIT_ALL}


@get(
    "/v1/audit/events",
    scopes=AUDIT_SCOPES,
    query=AuditQuery,
    response_body=AuditPage,
    problems=("rate-limited", "overloaded"),
)
async def list_events(request: AuthenticatedRequest) -> ASGIResponse:
    """List events of the audit log, newest first.

    A page may be short or empty while `next` is not null: the search goes on there.
    """
    await parse_body(request, EmptyBody)
    return await _respond_with_events(request, parse_query(request, AuditQuery))


@post(
    "/v1/audit/search",
    scopes=AUDIT_SCOPES,
    status_code=200,
    request_body=AuditSearch,
    response_body=AuditPage,
    problems=("invalid-phone-number", "number-not-allowed", "rate-limited", "overloaded"),
)
async def search_events(request: AuthenticatedRequest) -> ASGIResponse:
    """Search events of the audit log, also those of one phone number, account or client IP.

    The search for a number or an account is itself recorded as an event.
    """
    return await _respond_with_events(request, await parse_body(request, AuditSearch))


async def _respond_with_events(request: AuthenticatedRequest, query: AuditQuery) -> ASGIResponse:
    search = query if isinstance(query, AuditSearch) else AuditSearch()
    phone = None if search.phone_number is None else classify_number(search.phone_number)[0]
    call = _fetch_page(request, query, phone, search.account)
    events, cursor = await get_context(request).background_calls.run_shielded(call)
    return build_json_response(AuditPage(events=events, next=cursor))


async def _fetch_page(
    request: AuthenticatedRequest, query: AuditQuery, phone: PhoneNumber | None, account: str | None
) -> EventPage:
    """Return the page. A search for a person is recorded before its result is returned."""
    tenant, context = get_visible_tenant(request), get_context(request)
    filters = _list_filters(query) | {"tenant": tenant, "number": phone, "account": account}
    # Here, because a call whose client has disconnected goes on.
    with context.audit_admission.admit(request.user):
        page = await context.reader.read_page(
            limit=query.limit, cursor=query.cursor, **cast("EventQuery", filters)
        )
        fields = get_lookup_fields(request)
        await context.record_lookup(phone, account, len(page[0]), tenant=tenant, **fields)
    return page


def _list_filters(query: AuditQuery) -> dict[str, Any]:
    """Return the filters that name no person, with those that only a body may have."""
    filters: dict[str, Any] = {
        "since": to_epoch_ms(query.since) if query.since else None,
        "until": to_epoch_ms(query.until) if query.until else None,
        "type": query.type,
        "challenge": query.challenge,
    }
    if isinstance(query, AuditSearch):
        given = {name: getattr(query, name) for name in SEARCH_FILTERS}
        filters |= {name: value for name, value in given.items() if value is not None}
    return filters


def get_visible_tenant(request: AuthenticatedRequest) -> str | None:
    """Return the tenant whose events the key may see; None for all tenants."""
    return None if Scope.AUDIT_ALL in request.user.scopes else request.auth.tenant.name


def get_lookup_fields(request: AuthenticatedRequest) -> dict[str, str | None]:
    """Return the members of `audit.lookup` that identify the request."""
    caller = request.auth
    return {"key_id": caller.key_id, "request": caller.request_id, "trace": caller.trace_id}


AUDIT_HANDLERS: Final = (list_events, search_events)
