"""The handlers of the page: today, a search, the timeline of a challenge, and the archive."""

import asyncio
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final

from litestar import get, post
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.audit import get_lookup_fields, get_visible_tenant
from otp_service.api.audit_ui import search_form
from otp_service.api.audit_ui.deps import AuditUiDependencies, get_dependencies
from otp_service.api.audit_ui.event_rows import build_event_row
from otp_service.api.audit_ui.renderer import redirect, render_page
from otp_service.api.request_body import parse_form_fields, parse_query_fields
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.audit.archive_format.event_copies import mark_copies
from otp_service.audit.event_decoder import DecodedEvent
from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.anomalies import describe_baseline, find_anomalies
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.factor_stats import FACTOR_COLUMNS, sum_by_factor
from otp_service.audit.reports.timeline import render_timeline
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import ChallengeNotFound, InvalidPhoneNumber, InvalidRequest
from otp_service.core.events import Issued


SEARCH_PAGE_EVENTS: Final = 100

MAX_TIMELINE_EVENTS: Final = 500
"""Events of one challenge: it has some twenty, and refusals are folded."""

AFTER_ISSUE_SECONDS: Final = 2.0
"""How long the search goes on after the issue of the challenge. An attacker with write access to Redis
can copy that event, and a search that ended there would not find what is older."""

TIMELINE_TIMEOUT_SECONDS: Final = 10.0
"""The longest search for a challenge: some gigabytes of an archive."""


def _admit_call(request: AuthenticatedRequest) -> AbstractContextManager[None]:
    """Count a call that reads events. Raises RateLimited and Overloaded."""
    return get_context(request).audit_admission.admit(request.user)


def _render_view(request: AuthenticatedRequest, template: str, **values: Any) -> ASGIResponse:
    sees, key = get_visible_tenant(request), f"{request.user.tenant}/{request.user.id}"
    return render_page(template, sees=sees, key=key, **values)


@get("/")
async def show_today(request: AuthenticatedRequest) -> ASGIResponse:
    """Show the statistics of today and yesterday."""
    dependencies = get_dependencies(request)
    tenant = _get_requested_tenant(request)
    with _admit_call(request):
        day, before = await dependencies.days.get_today_and_yesterday(tenant)
    if dependencies.background_verifier:
        dependencies.background_verifier.start_if_due()
    anomalies = find_anomalies(day.overview, before.overview, tenant)
    baseline = describe_baseline(before.overview)
    status = {"tenant": tenant, "archive": _build_archive_status(dependencies)}
    table = {"factors": sum_by_factor(day.overview.factors), "factor_columns": FACTOR_COLUMNS}
    return _render_view(
        request,
        "today.html",
        day=day,
        before=before,
        anomalies=anomalies,
        baseline=baseline,
        **status,
        **table,
    )


def _get_requested_tenant(request: AuthenticatedRequest) -> str | None:
    """Return the key's tenant, or the one in the query if the key may see all tenants."""
    own = get_visible_tenant(request)
    named = parse_query_fields(request).get("tenant")
    if own is None and named is not None and named not in get_context(request).tenants:
        raise InvalidRequest(("tenant", "is unknown"))
    return named if own is None else own


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
    try:
        person = form.parse_person()
        form.check_client_ip()
    except (InvalidPhoneNumber, InvalidRequest) as error:
        field, message = form.describe_error(error)
        # The text in the invalid field may be a phone number, or the name of an account.
        return _render_search_page(request, replace(form, **{field: ""}), error=(field, message))
    dependencies, visible_tenant = get_dependencies(request), get_visible_tenant(request)
    with _admit_call(request):
        found, following = await get_context(request).reader.read_page(
            limit=SEARCH_PAGE_EVENTS,
            cursor=form.cursor or None,
            **form.to_event_query(visible_tenant, dependencies.now(), person),
        )
    fields = get_lookup_fields(request) | {"reason": form.reason}
    record = get_context(request).record_lookup  # before anything is shown
    await record(*person, len(found), tenant=visible_tenant, **fields)
    lines = [build_event_row(event) for event in found]
    return _render_search_page(request, form, lines=lines, following=following)


def _render_search_page(
    request: AuthenticatedRequest, form: search_form.SearchForm, **values: Any
) -> ASGIResponse:
    given: dict[str, Any] = {"lines": None, "following": None, "error": None} | values
    tenants = sorted(get_context(request).tenants) if get_visible_tenant(request) is None else []
    choices = {"periods": search_form.PERIOD_LABELS, "types": search_form.EVENT_TYPE_NAMES}
    return _render_view(request, "search.html", asked=form, tenants=tenants, **choices, **given)


@get("/challenges/{challenge:str}")
async def show_timeline(request: AuthenticatedRequest) -> ASGIResponse:
    """Show the timeline of a challenge, and each of its events."""
    challenge: str = request.path_params["challenge"]
    if parse_partition(challenge) is None:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    reader = get_context(request).reader
    with _admit_call(request):
        events, is_cut = await _collect_events(reader, challenge, get_visible_tenant(request))
    if not events:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    records = [record for event in events if (record := build_event_record(event))]
    shown = [event.to_public() for event in events]
    mark_copies(shown[::-1])
    return _render_view(
        request,
        "challenge.html",
        challenge=challenge,
        story=render_timeline(records, get_dependencies(request).now()) if records else [],
        lines=[build_event_row(event) for event in shown],
        is_cut=is_cut,
        forged=len(events) - len(records),
    )


_UNKNOWN_CHALLENGE_MESSAGE: Final = "There is no event of this challenge, or none that you may see."


async def _collect_events(
    reader: EventReader, challenge: str, tenant: str | None
) -> tuple[list[DecodedEvent], bool]:
    """Return the events of a challenge, oldest first, and whether some may be missing."""
    events: list[DecodedEvent] = []
    entries = reader.iterate_entries(challenge=challenge, tenant=tenant)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + TIMELINE_TIMEOUT_SECONDS
    try:
        async with asyncio.timeout_at(ends_at) as timeout, aclosing(entries):
            async for entry in entries:
                events.insert(0, reader.decode_event(entry))
                if len(events) == MAX_TIMELINE_EVENTS:
                    break
                if _is_issue(events[0]):
                    ends_at = min(ends_at, loop.time() + AFTER_ISSUE_SECONDS)
                    timeout.reschedule(ends_at)
    except TimeoutError:
        return events, not any(map(_is_issue, events))
    return events, len(events) == MAX_TIMELINE_EVENTS


def _is_issue(event: DecodedEvent) -> bool:
    return event.is_authentic and event.event.get("type") == Issued.__struct_config__.tag


@get("/archive")
async def show_archive(request: AuthenticatedRequest) -> ASGIResponse:
    """Show whether the archive is sound, and up to where."""
    dependencies = get_dependencies(request)
    if dependencies.background_verifier:
        dependencies.background_verifier.start_if_due()
        await _wait_for_verification(dependencies)
    archive, may_ask = _build_archive_status(dependencies), _may_see_findings(request)
    return _render_view(request, "archive.html", archive=archive, may_ask=may_ask)


@post("/archive", status_code=200)
async def verify_archive(request: AuthenticatedRequest) -> ASGIResponse:
    """Verify the archive now, unless it is being verified."""
    dependencies = get_dependencies(request)
    if dependencies.background_verifier and _may_see_findings(request):
        dependencies.background_verifier.start_run()
        await _wait_for_verification(dependencies)
    return redirect("/audit/archive", {})


async def _wait_for_verification(dependencies: AuditUiDependencies) -> None:
    """Wait up to a second, which is enough for a small archive."""
    if dependencies.background_verifier:
        done = asyncio.ensure_future(dependencies.background_verifier.wait_until_done())
        await asyncio.wait([done], timeout=1)


def _may_see_findings(request: AuthenticatedRequest) -> bool:
    return get_visible_tenant(request) is None  # the archive holds the events of all tenants


def _build_archive_status(dependencies: AuditUiDependencies) -> dict[str, Any]:
    verifier = dependencies.background_verifier
    return {
        "is_there": verifier is not None,
        "is_running": verifier is not None and verifier.is_running,
        "last": verifier.last_run if verifier else None,
    }


AUDIT_PAGE_HANDLERS: Final = (
    *(show_today, show_search_form, show_search_results, show_timeline),
    *(show_archive, verify_archive),
)
