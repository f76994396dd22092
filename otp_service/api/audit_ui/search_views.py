"""The handlers of a search: the form, its results on a page, and all of them as a file."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.audit import get_lookup_fields, get_visible_tenant
from otp_service.api.audit_ui import search_form
from otp_service.api.audit_ui.deps import admit_call, get_dependencies
from otp_service.api.audit_ui.event_rows import build_event_row
from otp_service.api.audit_ui.renderer import PAGE_HEADERS, redirect, render_view
from otp_service.api.audit_ui.search_period import PERIOD_LABELS
from otp_service.api.request_body import parse_form_fields
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.audit.archive_format.event_copies import mark_copies
from otp_service.audit.exports.event_csv import format_csv
from otp_service.audit.query.reader import EventPage, EventQuery
from otp_service.core.errors import InvalidRequest
from otp_service.core.timestamps import to_datetime
from otp_service.schemas import AuditPage


SEARCH_PAGE_EVENTS: Final = 100

MAX_FILE_EVENTS: Final = 10_000
"""The newest events of a search that a file holds; `otp-service audit search` has no such bound."""

READ_EVENTS: Final = 1000
"""Events that are read at once for a file."""

FILE_TIMEOUT_SECONDS: Final = 20.0
"""How long events are read for a file."""

PageReader = Callable[[EventQuery], Awaitable[EventPage]]


@get("/search")
async def show_search_form(request: AuthenticatedRequest) -> ASGIResponse:
    """Show the search form."""
    return _render_search_page(request, search_form.SearchForm())


@post("/search", status_code=200)
async def show_search_results(request: AuthenticatedRequest) -> ASGIResponse:
    """Show events, newest first. A person is named in the body, and the lookup is an event."""
    form = search_form.parse_search_form(await parse_form_fields(request))
    if form.is_challenge_alone:
        return redirect(f"/audit/challenges/{form.challenge}", {})

    async def read_one_page(query: EventQuery) -> EventPage:
        return await get_context(request).reader.read_page(
            limit=SEARCH_PAGE_EVENTS, cursor=form.cursor or None, **query
        )

    try:
        found, following = await _search(request, form, read_one_page)
    except InvalidRequest as error:
        return _render_search_page(request, form, errors=_list_field_errors(error))
    currency = get_dependencies(request).currency
    lines = [build_event_row(event, currency) for event in found]
    return _render_search_page(request, form, lines=lines, following=following)


@post("/search/events.csv", status_code=200)
async def download_csv(request: AuthenticatedRequest) -> ASGIResponse:
    """Return the events of a search as a table, newest first."""
    events, following = await _search_for_file(request)
    body = await asyncio.to_thread(format_csv, events)
    return _build_file(request, body.encode(), "csv", "text/csv", is_cut=following is not None)


@post("/search/events.json", status_code=200)
async def download_json(request: AuthenticatedRequest) -> ASGIResponse:
    """Return the events of a search as `POST /v1/audit/search` does; its cursor continues there."""
    events, following = await _search_for_file(request)
    body = await asyncio.to_thread(msgspec.json.encode, AuditPage(events, following))
    return _build_file(request, body, "json", "application/json", is_cut=following is not None)


async def _search_for_file(request: AuthenticatedRequest) -> EventPage:
    form = search_form.parse_search_form(await parse_form_fields(request))

    async def read_pages(query: EventQuery) -> EventPage:
        return await _read_pages(request, query)

    return await _search(request, form, read_pages)


async def _search(
    request: AuthenticatedRequest, form: search_form.SearchForm, read: PageReader
) -> EventPage:
    """Return the events of a form, and record the lookup of a person before they are shown."""
    tenant, now = get_visible_tenant(request), get_dependencies(request).now()
    person, query = search_form.parse_search(form, tenant, now)
    with admit_call(request):
        found, following = await read(query)
    fields = get_lookup_fields(request) | {"reason": form.reason}
    record = get_context(request).record_lookup
    await record(*person, len(found), tenant=tenant, **fields)
    return found, following


async def _read_pages(request: AuthenticatedRequest, query: EventQuery) -> EventPage:
    """Return the newest events, and the cursor of the others if there are too many."""
    reader, loop = get_context(request).reader, asyncio.get_running_loop()
    ends_at = loop.time() + FILE_TIMEOUT_SECONDS
    events: list[dict[str, Any]] = []
    cursor: str | None = None
    while len(events) < MAX_FILE_EVENTS:
        limit = min(READ_EVENTS, MAX_FILE_EVENTS - len(events))
        page, cursor = await reader.read_page(limit=limit, cursor=cursor, **query)
        events += page
        if cursor is None or loop.time() >= ends_at:
            break
    await asyncio.to_thread(mark_copies, events)
    return events, cursor


def _build_file(
    request: AuthenticatedRequest, body: bytes, suffix: str, media_type: str, *, is_cut: bool
) -> ASGIResponse:
    """Return a download. The name of the file says if it lacks older events."""
    at = to_datetime(get_dependencies(request).now())
    name = f"otp-events-{at:%Y%m%dT%H%M%SZ}{'-newest-only' if is_cut else ''}.{suffix}"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    return ASGIResponse(body=body, headers=PAGE_HEADERS | disposition, media_type=media_type)


def _list_field_errors(error: InvalidRequest) -> dict[str, str]:
    """Return the messages by field of the form. Raises the error if it is about another field."""
    errors = dict(error.errors)
    if not errors.keys() <= set(search_form.SearchForm.__struct_fields__) - {"cursor"}:
        raise error
    return errors


def _render_search_page(
    request: AuthenticatedRequest, form: search_form.SearchForm, **values: Any
) -> ASGIResponse:
    """Show the form, with what was typed; after a search without the person, whom it need not show.

    Where the next page or a file needs the person, a hidden field has it.
    """
    given: dict[str, Any] = {"lines": None, "following": None, "errors": {}} | values
    typed = form if given["lines"] is None else form.forget_person()
    tenants = sorted(get_context(request).tenants) if get_visible_tenant(request) is None else []
    choices = {"periods": PERIOD_LABELS, "types": search_form.EVENT_TYPE_NAMES}
    return render_view(
        request, "search.html", asked=form, typed=typed, tenants=tenants, **choices, **given
    )


SEARCH_HANDLERS: Final = (show_search_form, show_search_results, download_csv, download_json)
