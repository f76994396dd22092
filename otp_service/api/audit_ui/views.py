"""The handlers of the page: the last day, the timeline of a challenge, and the archive."""

import asyncio
from contextlib import aclosing
from typing import Any, Final

from litestar import get, post
from litestar.response.base import ASGIResponse

from otp_service.api.audit import get_visible_tenant
from otp_service.api.audit_ui.deps import AuditUiDependencies, admit_call, get_dependencies
from otp_service.api.audit_ui.event_rows import build_event_row
from otp_service.api.audit_ui.evidence_download import can_prove
from otp_service.api.audit_ui.finding_forms import build_finding
from otp_service.api.audit_ui.renderer import redirect, render_view
from otp_service.api.request_body import parse_query_fields
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.audit.archive_format.event_copies import mark_copies
from otp_service.audit.event_decoder import DecodedEvent
from otp_service.audit.query.reader import EventReader
from otp_service.audit.reports.anomalies import describe_baseline, find_anomalies
from otp_service.audit.reports.brake_rules import list_scope_examples
from otp_service.audit.reports.brake_stats import (
    DENIED_TYPES,
    RANGE_COLUMNS,
    REFUSAL_COLUMNS,
    SEND_TYPES,
)
from otp_service.audit.reports.delivery_stats import DELIVERY_COLUMNS
from otp_service.audit.reports.event_record import build_event_record
from otp_service.audit.reports.factor_stats import FACTOR_COLUMNS, sum_by_factor
from otp_service.audit.reports.opt_out_stats import (
    ANSWER_TYPES,
    OPT_OUT_COLUMNS,
    REFUSED_SEND_TYPES,
)
from otp_service.audit.reports.timeline import render_timeline
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import ChallengeNotFound, InvalidRequest
from otp_service.core.events import Issued


MAX_TIMELINE_EVENTS: Final = 500
"""Events of one challenge: it has some twenty, and refusals are folded."""

AFTER_ISSUE_SECONDS: Final = 2.0
"""How long the search goes on after the issue of the challenge. An attacker with write access to Redis
can copy that event, and a search that ended there would not find what is older."""

TIMELINE_TIMEOUT_SECONDS: Final = 10.0
"""The longest search for a challenge: some gigabytes of an archive."""


@get("/")
async def show_last_day(request: AuthenticatedRequest) -> ASGIResponse:
    """Show what to look at and the statistics of the last 24 hours, with those of the 24 before."""
    dependencies = get_dependencies(request)
    tenant = _get_requested_tenant(request)
    with admit_call(request):
        day, before = await dependencies.days.get_last_days(tenant)
    if dependencies.background_verifier:
        dependencies.background_verifier.start_if_due()
    since = day.begins if day.since is None else day.since
    anomalies = find_anomalies(day.overview, before.overview, dependencies.currency, tenant)
    return render_view(
        request,
        "last_day.html",
        day=day,
        before=before,
        since=since,
        findings=[build_finding(anomaly, since) for anomaly in anomalies],
        baseline=describe_baseline(before.overview),
        tenant=tenant,
        archive=_build_archive_status(dependencies),
        factors=sum_by_factor(day.overview.factors),
        factor_columns=FACTOR_COLUMNS,
        delivery_columns=DELIVERY_COLUMNS,
        answer_columns=OPT_OUT_COLUMNS,
        answer_types=",".join(ANSWER_TYPES),
        refused_types=",".join(REFUSED_SEND_TYPES),
        brake_types=",".join((*SEND_TYPES, *DENIED_TYPES)),
        range_columns=RANGE_COLUMNS,
        refusal_columns=REFUSAL_COLUMNS,
        refused_scopes=list_scope_examples(day.overview.brake.refusals),
        currency=dependencies.currency,
    )


def _get_requested_tenant(request: AuthenticatedRequest) -> str | None:
    """Return the key's tenant, or the one in the query if the key may see all tenants."""
    own = get_visible_tenant(request)
    named = parse_query_fields(request).get("tenant")
    if own is None and named is not None and named not in get_context(request).tenants:
        raise InvalidRequest(("tenant", "is unknown"))
    return named if own is None else own


@get("/challenges/{challenge:str}")
async def show_timeline(request: AuthenticatedRequest) -> ASGIResponse:
    """Show the timeline of a challenge, and each of its events."""
    challenge: str = request.path_params["challenge"]
    if parse_partition(challenge) is None:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    reader, dependencies = get_context(request).reader, get_dependencies(request)
    currency = dependencies.currency
    with admit_call(request):
        events, is_cut = await _collect_events(reader, challenge, get_visible_tenant(request))
    if not events:
        raise ChallengeNotFound(_UNKNOWN_CHALLENGE_MESSAGE)
    records = [record for event in events if (record := build_event_record(event))]
    shown = [event.to_public() for event in events]
    mark_copies(shown[::-1])
    return render_view(
        request,
        "challenge.html",
        challenge=challenge,
        story=render_timeline(records, dependencies.now(), currency) if records else [],
        lines=[build_event_row(event, currency) for event in shown],
        is_cut=is_cut,
        can_prove=can_prove(request),
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
    return render_view(request, "archive.html", archive=archive, may_ask=may_ask)


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


AUDIT_PAGE_HANDLERS: Final = (*(show_last_day, show_timeline, show_archive, verify_archive),)
