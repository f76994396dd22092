"""What the page shows: today, a search, a challenge's story, and how the archive stands."""

import asyncio
from contextlib import aclosing
from typing import Any, Final

from litestar import get, post
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.audit_ui.deps import PageParts, parts_of, tenant_of
from otp_service.api.audit_ui.event_rows import lines_of
from otp_service.api.audit_ui.renderer import going_to, shown
from otp_service.api.audit_ui.search_form import PERIODS, TYPES, Asked, asked_in
from otp_service.api.context import Call, context
from otp_service.api.request_body import form_fields, query_fields
from otp_service.audit.query.reader import Reader
from otp_service.audit.reports.anomalies import anomalies
from otp_service.audit.reports.event_record import told_by
from otp_service.audit.reports.timeline import story
from otp_service.core.challenge import partition_of
from otp_service.core.errors import ChallengeNotFound, InvalidPhoneNumber, InvalidRequest
from otp_service.core.events import Issued
from otp_service.core.log_entry import Entry
from otp_service.core.tenant import Scope


PAGE: Final = 100
"""Events of a search that are shown at once."""

LONGEST: Final = 500
"""Events of one challenge: its own take some twenty, and refusals fold."""

PATIENCE: Final = 10.0
"""Seconds for which a challenge is looked for: some gigabytes of an archive."""


def _shown(request: Call, template: str, **values: Any) -> ASGIResponse:
    """Return a page to somebody who has logged in."""
    sees = tenant_of(request)
    return shown(template, sees=sees, key=f"{request.user.tenant}/{request.user.id}", **values)


@get("/")
async def today(request: Call) -> ASGIResponse:
    """Show today in numbers, beside the day before."""
    parts = parts_of(request)
    tenant = _tenant_asked(request)
    day, before = await parts.days.both(tenant)
    if parts.verifications:
        parts.verifications.start_if_due()
    return _shown(
        request,
        "today.html",
        day=day,
        before=before,
        tenant=tenant,
        anomalies=anomalies(day.overview, before.overview),
        archive=_archive(parts),
    )


def _tenant_asked(request: Call) -> str | None:
    """Return whose day is asked for: one's own, or for who may see all, whichever he names."""
    own = tenant_of(request)
    named = query_fields(request).get("tenant")
    if own is None and named is not None and named not in context(request).tenants:
        raise InvalidRequest(("tenant", "is none of ours"))
    return named if own is None else own


@get("/search")
async def search_form(request: Call) -> ASGIResponse:
    """Show the form."""
    return _searched(request, Asked())


@post("/search", status_code=200)
async def search(request: Call) -> ASGIResponse:
    """Show events, newest first; a number stands in the body, and looking it up is an event."""
    asked = asked_in(await form_fields(request))
    if asked.is_challenge_alone:
        return going_to(f"/audit/challenges/{asked.challenge}", {})
    try:
        number, wanted = asked.phone(), asked.found_as()
    except (InvalidPhoneNumber, InvalidRequest) as error:
        field, says = asked.told(error)
        # Whatever was typed there may be somebody's number.
        return _searched(request, replace(asked, **{field: ""}), error=(field, says))
    parts, sees = parts_of(request), tenant_of(request)
    found, following = await context(request).reader.page(
        limit=PAGE, cursor=asked.cursor or None, **wanted.filters(sees, parts.now(), number)
    )
    if number is not None:  # recorded before anything is shown
        await context(request).looked_up(number, len(found), tenant=sees, **_who(request, asked))
    return _searched(request, asked, lines=lines_of(found), following=following)


def _who(request: Call, asked: Asked) -> dict[str, str | None]:
    caller = request.auth
    return {
        "key_id": caller.key_id,
        "request": caller.request,
        "trace": caller.trace,
        "reason": asked.reason,
    }


def _searched(request: Call, asked: Asked, **values: Any) -> ASGIResponse:
    given: dict[str, Any] = {"lines": None, "following": None, "error": None} | values
    tenants = sorted(context(request).tenants) if tenant_of(request) is None else []
    return _shown(
        request,
        "search.html",
        asked=asked,
        periods=PERIODS,
        types=TYPES,
        tenants=tenants,
        **given,
    )


@get("/challenges/{challenge:str}")
async def timeline(request: Call) -> ASGIResponse:
    """Show one challenge's story, and each of its events."""
    challenge: str = request.path_params["challenge"]
    if partition_of(challenge) is None:
        raise ChallengeNotFound(_NO_CHALLENGE)
    reader = context(request).reader
    entries, is_cut = await _entries(reader, challenge, tenant_of(request))
    if not entries:
        raise ChallengeNotFound(_NO_CHALLENGE)
    told = [one for entry in entries if reader.is_ours(entry) and (one := told_by(entry))]
    return _shown(
        request,
        "challenge.html",
        challenge=challenge,
        story=story(told, parts_of(request).now()) if told else [],
        lines=lines_of([reader.shown(entry) for entry in entries]),
        is_cut=is_cut,
        forged=len(entries) - len(told),
    )


_NO_CHALLENGE: Final = "No event speaks of this challenge, or none that you may see."


async def _entries(reader: Reader, challenge: str, tenant: str | None) -> tuple[list[Entry], bool]:
    """Return the events of a challenge, oldest first, and whether that may not be all of them."""
    found: list[Entry] = []
    entries = reader.entries(challenge=challenge, tenant=tenant)
    try:
        async with asyncio.timeout(PATIENCE), aclosing(entries):
            async for entry in entries:
                found.insert(0, entry)
                if _is_first(reader, entry) or len(found) == LONGEST:
                    break
    except TimeoutError:
        return found, True
    return found, len(found) == LONGEST


def _is_first(reader: Reader, entry: Entry) -> bool:
    """Whether nothing older is told of its challenge: archives are long."""
    told = told_by(entry)
    return told is not None and told.type == Issued.__struct_config__.tag and reader.is_ours(entry)


@get("/archive")
async def archive(request: Call) -> ASGIResponse:
    """Show whether the archive is sound, and up to where."""
    parts = parts_of(request)
    if parts.verifications:
        parts.verifications.start_if_due()
        await _a_moment(parts)
    return _shown(request, "archive.html", archive=_archive(parts), may_ask=_may_ask(request))


@post("/archive", status_code=200)
async def verify_now(request: Call) -> ASGIResponse:
    """Verify it now, unless that is being done."""
    parts = parts_of(request)
    if parts.verifications and _may_ask(request):
        parts.verifications.start()
        await _a_moment(parts)
    return going_to("/audit/archive", {})


async def _a_moment(parts: PageParts) -> None:
    """Wait for what is nearly done: a small archive takes no longer than this."""
    if parts.verifications:
        done = asyncio.ensure_future(parts.verifications.done())
        await asyncio.wait([done], timeout=1)


def _may_ask(request: Call) -> bool:
    """Whether he may see what is wrong where: the archive is everybody's."""
    return Scope.AUDIT_ALL in request.user.scopes


def _archive(parts: PageParts) -> dict[str, Any]:
    checked = parts.verifications
    return {
        "is_there": checked is not None,
        "is_running": checked is not None and checked.is_running,
        "last": checked.last if checked else None,
    }


HANDLERS: Final = (today, search_form, search, timeline, archive, verify_now)
