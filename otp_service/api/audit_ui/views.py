"""What the page shows: today, a search, a challenge's story, and how the archive stands."""

import asyncio
from contextlib import aclosing
from typing import Any, Final

from litestar import get, post
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.audit_ui.deps import AuditUiDependencies, get_dependencies, get_visible_tenant
from otp_service.api.audit_ui.event_rows import build_event_rows
from otp_service.api.audit_ui.renderer import redirect, render_page
from otp_service.api.audit_ui.search_form import (
    EVENT_TYPE_NAMES,
    PERIOD_LABELS,
    SearchForm,
    parse_search_form,
)
from otp_service.api.request_body import parse_form_fields, parse_query_fields
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.anomalies import find_anomalies
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.timeline import render_timeline
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import ChallengeNotFound, InvalidPhoneNumber, InvalidRequest
from otp_service.core.events import Issued
from otp_service.core.log_entry import Entry
from otp_service.core.tenant import Scope


SEARCH_PAGE_EVENTS: Final = 100
"""Events of a search that are shown at once."""

MAX_TIMELINE_EVENTS: Final = 500
"""Events of one challenge: its own take some twenty, and refusals fold."""

TIMELINE_TIMEOUT_SECONDS: Final = 10.0
"""Seconds for which a challenge is looked for: some gigabytes of an archive."""


def _render_session_page(
    request: AuthenticatedRequest, template: str, **values: Any
) -> ASGIResponse:
    """Return a page to somebody who has logged in."""
    sees = get_visible_tenant(request)
    return render_page(
        template, sees=sees, key=f"{request.user.tenant}/{request.user.id}", **values
    )


@get("/")
async def show_today(request: AuthenticatedRequest) -> ASGIResponse:
    """Show today in numbers, beside the day before."""
    parts = get_dependencies(request)
    tenant = _get_requested_tenant(request)
    day, before = await parts.days.get_today_and_yesterday(tenant)
    if parts.background_verifier:
        parts.background_verifier.start_if_due()
    return _render_session_page(
        request,
        "today.html",
        day=day,
        before=before,
        tenant=tenant,
        anomalies=find_anomalies(day.overview, before.overview),
        archive=_build_archive_status(parts),
    )


def _get_requested_tenant(request: AuthenticatedRequest) -> str | None:
    """Return whose day is asked for: one's own, or for who may see all, whichever he names."""
    own = get_visible_tenant(request)
    named = parse_query_fields(request).get("tenant")
    if own is None and named is not None and named not in get_context(request).tenants:
        raise InvalidRequest(("tenant", "is none of ours"))
    return named if own is None else own


@get("/search")
async def show_search_form(request: AuthenticatedRequest) -> ASGIResponse:
    """Show the form."""
    return _render_search_page(request, SearchForm())


@post("/search", status_code=200)
async def show_search_results(request: AuthenticatedRequest) -> ASGIResponse:
    """Show events, newest first; a number stands in the body, and looking it up is an event."""
    asked = parse_search_form(await parse_form_fields(request))
    if asked.is_challenge_alone:
        return redirect(f"/audit/challenges/{asked.challenge}", {})
    try:
        number, wanted = asked.parse_phone_number(), asked.normalize_address()
    except (InvalidPhoneNumber, InvalidRequest) as error:
        field, says = asked.describe_error(error)
        # Whatever was typed there may be somebody's number.
        return _render_search_page(request, replace(asked, **{field: ""}), error=(field, says))
    parts, sees = get_dependencies(request), get_visible_tenant(request)
    found, following = await get_context(request).reader.read_page(
        limit=SEARCH_PAGE_EVENTS,
        cursor=asked.cursor or None,
        **wanted.to_event_query(sees, parts.now(), number),
    )
    if number is not None:  # recorded before anything is shown
        await get_context(request).record_lookup(
            number, len(found), tenant=sees, **_build_lookup_fields(request, asked)
        )
    return _render_search_page(request, asked, lines=build_event_rows(found), following=following)


def _build_lookup_fields(request: AuthenticatedRequest, form: SearchForm) -> dict[str, str | None]:
    caller = request.auth
    return {
        "key_id": caller.key_id,
        "request": caller.request_id,
        "trace": caller.trace_id,
        "reason": form.reason,
    }


def _render_search_page(
    request: AuthenticatedRequest, form: SearchForm, **values: Any
) -> ASGIResponse:
    given: dict[str, Any] = {"lines": None, "following": None, "error": None} | values
    tenants = sorted(get_context(request).tenants) if get_visible_tenant(request) is None else []
    return _render_session_page(
        request,
        "search.html",
        asked=form,
        periods=PERIOD_LABELS,
        types=EVENT_TYPE_NAMES,
        tenants=tenants,
        **given,
    )


@get("/challenges/{challenge:str}")
async def show_timeline(request: AuthenticatedRequest) -> ASGIResponse:
    """Show one challenge's story, and each of its events."""
    challenge: str = request.path_params["challenge"]
    if parse_partition(challenge) is None:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    reader = get_context(request).reader
    entries, is_cut = await _collect_entries(reader, challenge, get_visible_tenant(request))
    if not entries:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    events = [reader.decode_event(entry) for entry in entries]
    records = [record for event in events if (record := build_event_record(event))]
    return _render_session_page(
        request,
        "challenge.html",
        challenge=challenge,
        story=render_timeline(records, get_dependencies(request).now()) if records else [],
        lines=build_event_rows([event.to_public() for event in events]),
        is_cut=is_cut,
        forged=len(events) - len(records),
    )


_UNKNOWN_CHALLENGE_MESSAGE: Final = "No event speaks of this challenge, or none that you may see."


async def _collect_entries(
    reader: EventReader, challenge: str, tenant: str | None
) -> tuple[list[Entry], bool]:
    """Return the events of a challenge, oldest first, and whether that may not be all of them."""
    found: list[Entry] = []
    entries = reader.iterate_entries(challenge=challenge, tenant=tenant)
    try:
        async with asyncio.timeout(TIMELINE_TIMEOUT_SECONDS), aclosing(entries):
            async for entry in entries:
                found.insert(0, entry)
                if _is_first(reader, entry) or len(found) == MAX_TIMELINE_EVENTS:
                    break
    except TimeoutError:
        return found, True
    return found, len(found) == MAX_TIMELINE_EVENTS


def _is_first(reader: EventReader, entry: Entry) -> bool:
    """Whether nothing older is told of its challenge: archives are long."""
    record = build_event_record(reader.decode_event(entry))
    return record is not None and record.type == Issued.__struct_config__.tag


@get("/archive")
async def show_archive(request: AuthenticatedRequest) -> ASGIResponse:
    """Show whether the archive is sound, and up to where."""
    parts = get_dependencies(request)
    if parts.background_verifier:
        parts.background_verifier.start_if_due()
        await _wait_for_verification(parts)
    return _render_session_page(
        request,
        "archive.html",
        archive=_build_archive_status(parts),
        may_ask=_can_verify_archive(request),
    )


@post("/archive", status_code=200)
async def verify_archive(request: AuthenticatedRequest) -> ASGIResponse:
    """Verify it now, unless that is being done."""
    parts = get_dependencies(request)
    if parts.background_verifier and _can_verify_archive(request):
        parts.background_verifier.start_run()
        await _wait_for_verification(parts)
    return redirect("/audit/archive", {})


async def _wait_for_verification(dependencies: AuditUiDependencies) -> None:
    """Wait for what is nearly done: a small archive takes no longer than this."""
    if dependencies.background_verifier:
        done = asyncio.ensure_future(dependencies.background_verifier.wait_until_done())
        await asyncio.wait([done], timeout=1)


def _can_verify_archive(request: AuthenticatedRequest) -> bool:
    """Whether he may see what is wrong where: the archive is everybody's."""
    return Scope.AUDIT_ALL in request.user.scopes


def _build_archive_status(dependencies: AuditUiDependencies) -> dict[str, Any]:
    checked = dependencies.background_verifier
    return {
        "is_there": checked is not None,
        "is_running": checked is not None and checked.is_running,
        "last": checked.last_run if checked else None,
    }


HANDLERS: Final = (
    show_today,
    show_search_form,
    show_search_results,
    show_timeline,
    show_archive,
    verify_archive,
)
